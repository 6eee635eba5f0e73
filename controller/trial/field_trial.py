"""A whole field trial: up, rounds, results, down; whatever happens, nothing is left running."""

from __future__ import annotations

import math
from pathlib import Path

from controller.judge.results import Results
from controller.trial.duration import in_words
from controller.trial.exporter import exported
from controller.trial.journal import finished
from controller.trial.prepare import bring_up, prepare, save_logs
from controller.trial.resume import Begun, begun, check_fits
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


def go_on(engine: Engine, name: str, out: Path, watcher: Watcher) -> Results:
    """Goes on with a trial of this name whose controller has died, from its last checkpoint, under the same plans.

    What that left running is taken down first. InputError, before anything is changed, where the run directory does not
    fit; DeployError when another process is at work on a trial of this name.
    """
    with deploy.at_work(engine, name, "run"), findable(name, out, watcher) as watching:
        trial = begun(out)  # which nobody changes from now on
        return _field_trial(engine, trial.topology, out, watching, math.inf, trial.cores, trial)


def _field_trial(
    engine: Engine,
    topology: Topology,
    out: Path,
    watcher: Watcher,
    most_s: float,
    most_cores: int | None,
    before: Begun | None = None,
) -> Results:
    prepared = prepare(engine, topology, watcher, before.calibrations if before else None, most_cores)
    if before is not None:
        check_fits(out, before, prepared)
        if deploy.owner(engine, topology.name) != "up":
            watcher(Stage("taking down what was left running"))
            deploy.down(engine, topology.name)
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
                return Trial(engine, prepared, deployment, out, watching, before).run()
        finally:
            with undisturbed():
                save_logs(engine, deployment, out, watcher)
                if deployment.owner == "run":
                    watcher(Stage("taking everything down"))
    finally:
        with undisturbed():
            deploy.remove_mine(engine, mine)
