"""Which trials there are to scrape: a file for each in a folder that Prometheus reads again whenever it changes.

Whoever has containers up writes it, whether anybody watches or not, and takes it away with them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agents.ports import METRICS_PORT
from testbed.deploy import MGMT, Deployment
from testbed.files import write_atomically
from testbed.kept import state_folder

CONTROLLER = "controller"
"""The ``agent`` label of what the controller itself tells."""


def folder() -> Path:
    """Where the files are."""
    return state_folder() / "targets"


def groups(trial: str, addresses: Mapping[str, str], controller: str = "") -> list[dict[str, Any]]:
    """Prometheus' ``file_sd`` document of a trial: agents by their mgmt address, and the controller's own exporter.

    Instances are named, not addressed, so that a trial that is run again goes on with the same series.
    """
    listening = {agent: f"{address}:{METRICS_PORT}" for agent, address in addresses.items()}
    if controller:
        listening[CONTROLLER] = controller
    return [
        {"targets": [at], "labels": {"trial": trial, "agent": agent, "instance": f"{trial}/{agent}"}}
        for agent, at in listening.items()
    ]


def write(deployment: Deployment, controller: str = "") -> str:
    """Lets a deployment be found; why nobody will find it where nothing can be written, else ''."""
    path, found = _file(deployment.trial), groups(deployment.trial, deployment.addresses(MGMT), controller)
    try:
        make_folder()
        write_atomically(path, json.dumps(found, indent=1) + "\n")
        path.chmod(0o644)
    except OSError as error:
        return f"no Prometheus will find {deployment.trial}: {path}: {error.strerror}"
    return ""


def make_folder() -> Path:
    """The folder, which Prometheus may read whatever user it runs as."""
    found = folder()
    found.mkdir(parents=True, exist_ok=True)
    found.chmod(0o755)
    return found


def remove(trial: str) -> None:
    """Nobody is to look for this trial any more."""
    with suppress(OSError):
        _file(trial).unlink(missing_ok=True)


def tidy(trials: Collection[str]) -> None:
    """Removes what is there of trials other than these: their testbed was killed."""
    for file in folder().glob("*.json"):
        if file.stem not in trials:
            remove(file.stem)


@contextmanager
def found_with(deployment: Deployment, controller: str) -> Iterator[str]:
    """Meanwhile the controller of a deployment is found, too; gives why not, or ''.

    Afterwards nothing is, unless the deployment stays.
    """
    try:
        yield write(deployment, controller)
    finally:
        remove(deployment.trial)
        if deployment.owner == "up":
            write(deployment)


def _file(trial: str) -> Path:
    return folder() / f"{trial}.json"
