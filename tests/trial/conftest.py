"""Trials on real containers; every test leaves the engine as it found it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.container import LABEL
from testbed.deploy import down
from testbed.engine import Engine

SMALL = Path(__file__).parent / "small.yaml"
TRIAL = "small"


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that ``make test`` has started."""
    return Engine.connect()


@pytest.fixture(autouse=True)
def tidy(engine: Engine) -> Iterator[None]:
    """Nothing of the trial before the test, and nothing after it."""
    down(engine, TRIAL)
    yield
    down(engine, TRIAL)


@pytest.fixture
def leftovers(engine: Engine) -> Callable[[], list[str]]:
    """What the engine still has of the trial: containers, networks, volumes."""

    def look() -> list[str]:
        filters = {"label": [f"{LABEL}={TRIAL}"]}
        api = engine.client.api
        containers = [c["Names"][0] for c in api.containers(all=True, filters=filters)]
        networks = [n["Name"] for n in api.networks(filters=filters)]
        volumes = [v["Name"] for v in api.volumes(filters=filters)["Volumes"] or []]
        return containers + networks + volumes

    return look


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, check=False)


def command(*arguments: str) -> list[str]:
    """How ``testbed ARGUMENTS`` is started."""
    return [sys.executable, "-c", "from controller.cli import main; main()", *arguments]
