"""PiPar's N on containers: the manager's epoch against the best of a measured search over N, on one scene.

``python -m tests.bench papers-pipar`` takes, for each N, as many epochs as ``ROUNDS`` says.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from controller.judge.results import Results
from controller.planners.planning import plan_all
from controller.trial.field_trial import field_trial
from controller.trial.watch import silent
from testbed.engine import Engine
from testbed.loading import load
from testbed.topology import SchemeChoice, Topology
from tests.bench.number import Number, at_most

SCENE = Path("topologies/papers/pipar-pi-4gplus.yaml")
ROUNDS = 2
RATIOS = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0)
"""The numbers of mini-batches that are tried, as multiples of the manager's."""
MANAGER = "manager"


def numbers() -> list[Number]:
    """By how much the manager's epoch is longer than the shortest that was measured, and all of them."""
    topology = search(load(SCENE))
    with tempfile.TemporaryDirectory() as folder:
        results = field_trial(Engine.connect(), topology, Path(folder), silent)
    epochs = {label: one.summary.round_s.median for label, one in results.schemes.items()}
    longer = 100 * (epochs[MANAGER] / min(epochs.values()) - 1)
    shown = [Number(f"pipar: epoch with {label}", "-", _said(results, label), True) for label in epochs]
    return [at_most("pipar: the manager's N above the best of a measured search", 4, longer, "%", 2), *shown]


def search(topology: Topology) -> Topology:
    """The scene with PiPar by its manager, and at the same cut with other numbers of mini-batches."""
    by_manager = SchemeChoice(scheme="pipar", planner="pipar", label=MANAGER)
    planned = plan_all(topology.model_copy(update={"schemes": (by_manager,)}))[0]
    ue = next(iter(planned.plan.ues.values()))
    cut, chosen = ue.cut, ue.micro_batches or planned.plan.micro_batches
    tried = sorted({1, *(max(1, round(chosen * ratio)) for ratio in RATIOS)} - {chosen})
    others = [SchemeChoice(scheme="pipar", planner="pipar", label=f"n-{n}", cut=cut, micro_batches=n) for n in tried]
    training = topology.training.model_copy(update={"rounds": ROUNDS, "evaluate_every": ROUNDS})
    return topology.model_copy(update={"schemes": (by_manager, *others), "training": training})


def _said(results: Results, label: str) -> str:
    one = results.schemes[label]
    counts = sorted({ue.get("micro_batches", one.plan["micro_batches"]) for ue in one.plan["ues"].values()})
    measured, planned = one.summary.round_s.median, one.predicted["round_s"]
    return f"N = {counts}: {measured:.3f} s, planned {planned:.3f} s"
