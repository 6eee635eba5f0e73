"""Does the verdict tell a good run from a bad one? Short runs beside 0, 2, 8 and 32 busy processes.

They are busy while there are rounds. What is not judged (a model is built, its accuracy measured) runs undisturbed.
A run is undisturbed when there are none, and the hypervisor took next to nothing either.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from controller.trial.prepare import Prepared, bring_up, prepare
from controller.trial.rounds import Trial
from controller.trial.watch import Event, RoundBegins, RoundEnded, Watcher, silent
from testbed import deploy
from testbed.deploy import Deployment
from testbed.engine import Engine
from testbed.errors import TrialError
from testbed.loading import load
from testbed.topology import Topology
from tests.bench.calm import QUIET
from tests.bench.number import Number, at_least, at_most

QUICKSTART = Path("topologies/quickstart.yaml")
LOADS = (0, 2, 8, 32)
REPEATS = int(os.environ.get("TESTBED_BENCH_REPEATS", "20"))
ROUNDS = 9
GOOD, BAD = 0.015, 0.03
BUSY = ("sh", "-c", "while :; do :; done")


@dataclass(frozen=True)
class Judged:
    """A run: the busy processes beside it, its round error, and the verdict; an error of infinity broke down.

    ``stolen``: the share of the host's CPU time that the hypervisor took meanwhile.
    """

    load: int
    error: float
    ok: bool
    stolen: float = 0.0
    reasons: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """How far its round time was off, in words."""
        return "good" if abs(self.error) <= GOOD else "bad" if abs(self.error) > BAD else "between"


def numbers() -> list[Number]:
    """The confusion table, and what is asked of it."""
    runs = measure(LOADS, REPEATS)
    show(runs)
    calm = [run for run in runs if run.load == 0 and run.stolen <= QUIET]
    return [
        at_most("runs more than 3 % off that pass", 0, sum(r.ok for r in runs if r.kind == "bad"), "", 0),
        at_most("runs within 1.5 % that do not pass", 0, sum(not r.ok for r in runs if r.kind == "good"), "", 0),
        at_least(f"undisturbed runs that pass, of {len(calm)}", len(calm), sum(r.ok for r in calm), "", 0),
        at_most("median round error, undisturbed", 1.5, 100 * float(np.median([abs(r.error) for r in calm])), "%"),
    ]


def measure(loads: Sequence[int], repeats: int) -> list[Judged]:
    """Runs on one deployment, the loads in turn, so that a slow drift of the host meets them all."""
    engine, topology = Engine.connect(), short(load(QUICKSTART))
    prepared = prepare(engine, topology, silent)
    deployment = bring_up(engine, prepared, "up", silent)
    try:
        runs = []
        for _ in range(repeats):
            for count in loads:
                runs.append(_one(engine, prepared, deployment, count))
                print(runs[-1], flush=True)
        return runs
    finally:
        deploy.down(engine, topology.name)


def short(topology: Topology) -> Topology:
    """One pipelined scheme, a few rounds, evaluated once."""
    training = topology.training.model_copy(update={"rounds": ROUNDS, "evaluate_every": ROUNDS})
    pipelined = topology.schemes[-1:]
    return topology.model_copy(update={"name": "bench-verdict", "training": training, "schemes": pipelined})


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that use all the CPU they get, every other one at nice −20 (which takes root)."""
    processes = [subprocess.Popen((*(("nice", "-n", "-20") * (i % 2)), *BUSY)) for i in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextmanager
def busy_in_rounds(count: int) -> Iterator[Watcher]:
    """A watcher of a trial that keeps so many processes busy from before its first round until after its last."""
    with ExitStack() as stack:

        def watch(event: Event) -> None:
            if isinstance(event, RoundBegins) and event.number == 1:
                stack.enter_context(busy(count))
            elif isinstance(event, RoundEnded) and event.row.round == ROUNDS:
                stack.close()

        yield watch


def _one(engine: Engine, prepared: Prepared, deployment: Deployment, count: int) -> Judged:
    with tempfile.TemporaryDirectory() as out, busy_in_rounds(count) as watcher:
        try:
            result = Trial(engine, prepared, deployment, Path(out), watcher).run().schemes["c2p2sl"]
        except TrialError as error:
            return Judged(count, float("inf"), False, reasons=(str(error),))
    found = result.fidelity
    return Judged(count, result.summary.round_error, found.ok, found.host.steal_share, tuple(found.reasons))


def show(runs: Sequence[Judged]) -> None:
    """Prints the confusion table: by load and round error, how many passed of how many."""
    table = Table(title="passed of runs, by how far the round was off", title_justify="left")
    for heading in ("busy processes", "within 1.5 %", "1.5 to 3 %", "more than 3 %", "round error, median and worst"):
        table.add_column(heading)
    for count in sorted({run.load for run in runs}):
        mine = [run for run in runs if run.load == count]
        total, passed = Counter(r.kind for r in mine), Counter(r.kind for r in mine if r.ok)
        cells = [f"{passed[kind]} of {total[kind]}" for kind in ("good", "between", "bad")]
        errors = [100 * abs(run.error) for run in mine]
        table.add_row(str(count), *cells, f"{np.median(errors):.2f} %, {max(errors):.1f} %")
    Console(width=120).print(table)
