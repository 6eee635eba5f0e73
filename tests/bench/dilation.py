"""Time dilation and pacing: the same emulated rounds at D, 2 D and 4 D, and tasks that take what the model says.

D is the automatic one: 1 where the host keeps up with quickstart.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents.schedule.task import Key, is_link
from controller.judge.results import Results
from controller.trial import journal
from controller.trial.prepare import Prepared, bring_up, prepare
from controller.trial.rounds import Trial
from controller.trial.watch import silent
from testbed import deploy
from testbed.deploy import Deployment
from testbed.engine import Engine
from testbed.loading import load
from testbed.topology import SchemeChoice, Topology
from tests.bench.calm import calmest, stolen
from tests.bench.number import Number, at_most

QUICKSTART = Path("topologies/quickstart.yaml")
TIMES = (2.0, 4.0)
ROUNDS = 10
LEAST_TASK_S = 0.002
PACED_RUNS = 5
SCHEMES = (SchemeChoice(scheme="psl", cut=2), SchemeChoice(scheme="c2p2sl", cut=2, micro_batches=8))


@dataclasses.dataclass(frozen=True)
class Ran:
    """A trial, and the tasks in its journal."""

    results: Results
    rows: list[dict[str, Any]]


def numbers() -> list[Number]:
    """Quickstart's parallel schemes at each dilation on one deployment."""
    engine, topology = Engine.connect(), _chosen(load(QUICKSTART))
    automatic = prepare(engine, topology, silent)
    deployment = bring_up(engine, automatic, "up", silent)
    try:
        runs = [_calm(engine, automatic, deployment) for _ in range(PACED_RUNS)]
        rounds = {automatic.dilation: _medians(runs[0].results)}
        for dilation in (automatic.dilation * times for times in TIMES):
            prepared = prepare(engine, topology.model_copy(update={"time_dilation": dilation}), silent)
            rounds[dilation] = _medians(_calm(engine, prepared, deployment).results)
    finally:
        deploy.down(engine, topology.name)
    return [*_paced(automatic, [pacing(automatic, run.rows) for run in runs]), *_agree(rounds)]


def _calm(engine: Engine, prepared: Prepared, deployment: Deployment) -> Ran:
    ran = calmest(partial(_run, engine, prepared, deployment), lambda ran: stolen(ran.results))
    print(f"D = {prepared.dilation:g}: the hypervisor took {stolen(ran.results):.2%}", flush=True)
    return ran


def _run(engine: Engine, prepared: Prepared, deployment: Deployment) -> Ran:
    with tempfile.TemporaryDirectory() as folder:
        results = Trial(engine, prepared, deployment, Path(folder), silent).run()
        rows = [line for line in journal.read(Path(folder)) if line["event"] == "task"]
    return Ran(results, rows)


def _chosen(topology: Topology) -> Topology:
    training = topology.training.model_copy(update={"rounds": ROUNDS, "evaluate_every": ROUNDS})
    return topology.model_copy(update={"name": "bench-dilation", "training": training, "schemes": SCHEMES})


def _medians(results: Results) -> dict[str, float]:
    return {label: one.summary.round_s.median for label, one in results.schemes.items()}


def _agree(rounds: dict[float, dict[str, float]]) -> Iterator[Number]:
    first, *others = rounds
    for dilation in others:
        for label, seconds in rounds[dilation].items():
            off = 100 * abs(seconds / rounds[first][label] - 1)
            yield at_most(f"{label}: round at D = {dilation:g} against D = {first:g}", 1, off, "%")


@dataclasses.dataclass(frozen=True)
class Paced:
    """The kinds of task (scheme, task, place) of a run whose mean and whose spread are worst, and how bad these are."""

    mean: tuple[float, tuple[str, str, str]]
    cv: tuple[float, tuple[str, str, str]]


def pacing(prepared: Prepared, rows: Iterable[Mapping[str, Any]]) -> Paced:
    """Mean and spread of each task's duration over its modelled one, worst kind of task, after the first round."""
    modelled = {(p.label, e.key): e.end_s - e.start_s for p in prepared.planned for e in p.timeline.events}
    ratios: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        asked_s = modelled[row["scheme"], Key(row["turn"], row["step"], row["micro_batch"], row["task"], row["ue"])]
        if not is_link(row["place"]) and row["round"] > 1 and asked_s * prepared.dilation >= LEAST_TASK_S:
            ratios[row["scheme"], row["task"], row["place"]].append((row["end_s"] - row["start_s"]) / asked_s)
    return Paced(
        max((abs(float(np.mean(found)) - 1), key) for key, found in ratios.items()),
        max((float(np.std(found) / np.mean(found)), key) for key, found in ratios.items()),
    )


def _paced(prepared: Prepared, runs: Sequence[Paced]) -> list[Number]:
    """The median run: into which of them a thread falls that wakes up late is chance."""
    where = f"worst kind of task, median of {len(runs)} runs, D = {prepared.dilation:g}"
    off, spread = (sorted(found)[len(runs) // 2] for found in ([r.mean for r in runs], [r.cv for r in runs]))
    mean = at_most(f"mean of paced tasks, {where}", 1, 100 * off[0], "%")
    cv = at_most(f"cv of paced tasks, {where}", 0.03, spread[0], "")
    return [
        dataclasses.replace(mean, measured=_say(off, 100)),
        dataclasses.replace(cv, measured=f"{_say(spread, 1)}; {', '.join(f'{r.cv[0]:.3f}' for r in runs)}"),
    ]


def _say(found: tuple[float, tuple[str, str, str]], scale: float) -> str:
    return f"{scale * found[0]:.3f} ({' '.join(found[1])})"
