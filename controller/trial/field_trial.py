"""A whole field trial: up, rounds, results, down; whatever happens, nothing is left running."""

from __future__ import annotations

import math
from pathlib import Path

from controller.judge.results import Results
from controller.trial.duration import in_words
from controller.trial.exporter import exported
from controller.trial.journal import finished
from controller.trial.prepare import bring_up, prepare, save_logs
from controller.trial.rounds import Trial
from controller.trial.undisturbed import undisturbed
from controller.trial.watch import Stage, Watcher
from controller.trial.whereabouts import findable
from testbed import deploy
from testbed.engine import Engine
from testbed.errors import InputError
from testbed.files import writing
from testbed.loading import own_files
from testbed.topology import Topology


def field_trial(
    engine: Engine,
    topology: Topology,
    out: Path,
    watcher: Watcher,
    force: bool = False,
    most_s: float = math.inf,
    most_cores: int | None = None,
) -> Results:
    """Runs every scheme of the topology and writes the run directory; with ``force`` over a finished trial's.

    A deployment that ``testbed up`` made of this very topology is used and left up. InputError, before anything is
    started, for a trial that will take longer than ``most_s`` on the wall clock; DeployError, before anything is
    planned, when another process is at work on a trial of this name, or other trials leave none of ``most_cores``.
    """
    if finished(out) and not force:
        raise InputError("--out", f"{out} holds a finished trial", "choose another directory, or add --force")
    with deploy.at_work(engine, topology.name, "run"), findable(topology.name, out, watcher) as watching:
        return _field_trial(engine, topology, out, watching, most_s, most_cores)


def _field_trial(
    engine: Engine, topology: Topology, out: Path, watcher: Watcher, most_s: float, most_cores: int | None
) -> Results:
    prepared = prepare(engine, topology, watcher, most_cores=most_cores)
    if prepared.fitted.takes.wall_s > most_s:
        message = f"this takes longer than {in_words(most_s)}: {prepared.fitted}"
        raise InputError("--max-wall", message, "add --yes, or a longer --max-wall; or take fewer --rounds")
    with writing("--out", out, "give a directory that can be written"):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in own_files(topology).items():  # what the results are derived with
            (out / name).write_bytes(content)
    mine = deploy.new_id()
    try:
        deployment = bring_up(engine, prepared, "run", watcher, mine)
        try:
            with exported(deployment, watcher) as watching:
                return Trial(engine, prepared, deployment, out, watching).run()
        finally:
            with undisturbed():
                save_logs(engine, deployment, out, watcher)
                if deployment.owner == "run":
                    watcher(Stage("taking everything down"))
    finally:
        with undisturbed():
            deploy.remove_mine(engine, mine)
