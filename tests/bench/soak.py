"""Many rounds of a small scene: what the controller and the agents take of memory and files does not grow."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from controller.trial.prepare import bring_up, prepare
from controller.trial.rounds import Trial
from controller.trial.watch import Event, RoundEnded, silent
from testbed import deploy
from testbed.engine import Engine
from testbed.loading import load
from tests.bench.number import Number, at_most

SCENE = Path("tests/trial/small.yaml")
ROUNDS, EVERY, WARM, WINDOW = 200, 10, 20, 50
OF_AN_AGENT = """
import json, os, re
def stat(key, *paths):
    for path in paths:
        if os.path.exists(path):
            return int(re.search(rf"^{key} (\\d+)$", open(path).read(), re.M)[1])
def number(*paths):
    return next(int(open(path).read()) for path in paths if os.path.exists(path))
v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
used = number(f"{v2}/memory.current", f"{v1}/memory.usage_in_bytes")
files = stat("file", f"{v2}/memory.stat") or stat("total_cache", f"{v1}/memory.stat")
print(json.dumps([used - files, len(os.listdir("/proc/1/fd"))]))
"""
Taken = tuple[int, int]
"""Bytes of memory without file cache, and open files."""


class Soak:
    """A watcher that looks at everybody every few rounds."""

    def __init__(self, engine: Engine, deployment: deploy.Deployment) -> None:
        self._engine, self._deployment = engine, deployment
        self.taken: dict[int, dict[str, Taken]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, RoundEnded) and event.row.round % EVERY == 0:
            self.taken[event.row.round] = {"controller": _of_this_process(), **self._of_agents()}

    def _of_agents(self) -> dict[str, Taken]:
        found = {}
        for agent, state in self._deployment.agents.items():
            _, (used, files) = self._engine.exec_json(state.name, ["python3", "-c", OF_AN_AGENT], None)
            found[agent] = used, files
        return found


def numbers(rounds: int = ROUNDS) -> list[Number]:
    """How much more everybody takes in the last rounds than from round 20 on."""
    engine = Engine.connect()
    training = {"rounds": rounds, "evaluate_every": EVERY}
    topology = load(SCENE)
    topology = topology.model_copy(
        update={
            "name": "soak",
            "training": topology.training.model_copy(update=training),
            "schemes": tuple(choice for choice in topology.schemes if choice.key == "pipelined"),
        }
    )
    prepared = prepare(engine, topology, silent)
    deployment = bring_up(engine, prepared, "up", silent)
    try:
        soak = Soak(engine, deployment)
        with tempfile.TemporaryDirectory() as folder:
            Trial(engine, prepared, deployment, Path(folder), soak).run()
    finally:
        deploy.down(engine, topology.name)
    for number, taken in soak.taken.items():
        said = ", ".join(f"{who} {used / 1e6:.1f} MB {files} files" for who, (used, files) in taken.items())
        print(f"round {number}: {said}", flush=True)
    early = [soak.taken[number] for number in range(WARM, WARM + WINDOW, EVERY)]
    late = [soak.taken[number] for number in range(rounds - WINDOW + EVERY, rounds + EVERY, EVERY)]
    found = []
    for who in early[0]:
        (used, files), (used_late, files_late) = (_typical(taken, who) for taken in (early, late))
        growth = 100 * (used_late / used - 1)
        found.append(at_most(f"{who}: growth of memory, rounds {WARM} to {rounds}", 5, growth, "%"))
        found.append(at_most(f"{who}: more open files", 0, files_late - files, "", 0))
    return found


def _typical(taken: Sequence[Mapping[str, Taken]], who: str) -> tuple[float, float]:
    """Of several looks the median: what a pass takes, for a moment, is no growth."""
    used, files = zip(*(one[who] for one in taken), strict=True)
    return median(used), median(files)


def _of_this_process() -> Taken:
    """Bytes that are its own or its share of what it shares, and open files."""
    rollup = Path("/proc/self/smaps_rollup").read_text().splitlines()
    private_kb = sum(int(line.split()[1]) for line in rollup if line.startswith("Pss_Anon:"))
    return private_kb * 1024, len(os.listdir("/proc/self/fd"))


if __name__ == "__main__":
    print(*numbers(*map(int, sys.argv[1:])), sep="\n")
