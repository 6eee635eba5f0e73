"""Memory: what each agent took at the most, by its cgroup, beside what was predicted.

``python -m tests.bench.memory FILE …`` runs topologies of one's own; two rounds of each scheme, and an evaluation.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from controller.judge.results import Results
from controller.trial.prepare import Prepared, bring_up, prepare
from controller.trial.rounds import Trial
from controller.trial.watch import silent
from testbed import deploy
from testbed.engine import Engine
from testbed.loading import load
from testbed.topology import Topology
from tests.bench.number import Number

SCENES = tuple(
    Path("topologies") / name for name in ("quickstart.yaml", "schemes.yaml", "papers/c2p2sl-table1-n4.yaml")
)
ROUNDS = 2
MOST = 1.3
"""Predicted over measured."""
_PEAK = "cat /sys/fs/cgroup/memory.peak 2>/dev/null || cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes"
_STAT = "cat /sys/fs/cgroup/memory.stat /sys/fs/cgroup/memory/memory.stat 2>/dev/null"
_CACHE = f"{_STAT} | awk '/^(file|total_cache) / {{print $2}}'"


def numbers(scenes: Sequence[Path] = SCENES) -> list[Number]:
    """The ratio of predicted to measured for each agent of each scene, and whether any was killed."""
    return [number for scene in scenes for number in run(_short(load(scene)))[1]]


def run(topology: Topology) -> tuple[Results, list[Number]]:
    """A whole trial, and what its agents took of memory, which is read before they are taken down."""
    engine = Engine.connect()
    prepared = prepare(engine, topology, silent)
    deployment = bring_up(engine, prepared, "up", silent)
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = Trial(engine, prepared, deployment, Path(folder), silent).run()
        return results, list(_measured(engine, prepared, deployment))
    finally:
        deploy.down(engine, topology.name)


def _measured(engine: Engine, prepared: Prepared, deployment: deploy.Deployment) -> Iterator[Number]:
    name = prepared.topology.name
    for agent, state in deployment.agents.items():
        peak, cache = (int(engine.exec_json(state.name, ["sh", "-c", read], None)[1]) for read in (_PEAK, _CACHE))
        predicted = prepared.memory[agent].peak_bytes
        ratio, killed = predicted / peak, engine.inspect(state.name).oom_killed
        said = f"{ratio:.2f} ({predicted / 1e6:.0f} / {peak / 1e6:.0f} MB, {cache / 1e6:.0f} of them files)"
        said += ", killed for memory" if killed else ""
        met = 1.0 <= ratio <= MOST and not killed
        yield Number(f"{name}, {agent}: predicted / measured peak", f"1 to {MOST}", said, met)


def _short(topology: Topology) -> Topology:
    training = topology.training.model_copy(update={"rounds": ROUNDS, "evaluate_every": ROUNDS})
    schemes = tuple(choice.model_copy(update={"rounds": None}) for choice in topology.schemes)
    name = f"memory-{topology.name}"[:31].rstrip("-")
    return topology.model_copy(update={"name": name, "training": training, "schemes": schemes})


if __name__ == "__main__":
    for number in numbers([Path(name) for name in sys.argv[1:]] or SCENES):
        print(f"{'met   ' if number.met else 'MISSED'} {number.what}: {number.measured}", flush=True)
