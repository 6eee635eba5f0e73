"""A hundred faults of all kinds in half an hour: nothing hangs, every round is accounted for, nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

from controller.judge.results import FaultResult, Results
from controller.trial.journal import RESULTS, read_all
from tests.bench.number import Number, at_least, at_most

SCENE = Path("tests/bench/scenes/chaos.yaml")
MOST_S = 3600.0
FAULTS, LEAST_DONE, MOST_OFF = 100, 80, 0.10
"""Faults that are drawn, and those that at least find something to break: who is gone already is left alone."""


def numbers() -> list[Number]:
    """One trial of six UEs under four schemes, as ``testbed chaos`` runs and checks it."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(SCENE, Path(folder) / "run", [])


def measured(scene: Path, out: Path, options: list[str]) -> list[Number]:
    """What came of ``testbed chaos`` of a scene. TimeoutExpired when it hangs."""
    program = "import sys; from controller.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", program, "chaos", str(scene), "--out", str(out), "--json", "--quiet", *options]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_S)
    wall_min = (time.monotonic() - start) / 60
    told = json.loads(done.stdout) if done.stdout else {"findings": [{"text": done.stderr[-200:]}], "left": {}}
    schemes = Results.model_validate_json((out / RESULTS).read_bytes()).schemes
    lines = [line for line in read_all(out) if line["event"] == "injected"]  # also in rounds that were done again
    struck = [fault for scheme in schemes.values() for fault in scheme.faults if fault.why_not is None]
    done_kinds = Counter(line["kind"] for line in lines if not {"skipped", "failed"} & line.keys())
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(done_kinds.items()))
    rounds = sum(len(scheme.rounds) for scheme in schemes.values())
    return [
        Number(
            f"{len(lines)} faults in {wall_min:.0f} min, {rounds} rounds",
            "exit 0",
            str(done.returncode),
            done.returncode == 0,
        ),
        at_least(f"of them done ({kinds})", LEAST_DONE * len(lines) / FAULTS, done_kinds.total(), "", 0),
        at_most("rounds that are not accounted for", 0, len(told["findings"]), "", 0),
        at_most("things left on the host", 0, len(told["left"].get("things", ["?"])), "", 0),
        at_most("a round with a fault over the predicted one, median", 100 * MOST_OFF, _off(struck), "%", 1),
    ]


def _off(faults: list[FaultResult]) -> float:
    """By how many per cent measured rounds with a fault are off those that were predicted with it; the median."""
    errors = [abs(f.measured_s / f.predicted_s - 1) for f in faults if f.measured_s and f.predicted_s]
    return 100 * median(errors) if errors else float("inf")
