"""Every scheme on real containers: how close rounds and bubble rates come to the timeline."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from controller.trial.field_trial import field_trial
from controller.trial.watch import silent
from testbed.engine import Engine
from testbed.loading import load
from tests.bench.number import Number, at_most

SCHEMES = Path("topologies/schemes.yaml")


def numbers() -> list[Number]:
    """Round error (%) and bubble rate error of each scheme, and how long all of them took."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = field_trial(Engine.connect(), load(SCHEMES), Path(folder), silent)
    wall_s = time.monotonic() - start
    found = [at_most("schemes.yaml on this host", 360, wall_s, "s", 0)]
    for label, one in results.schemes.items():
        error, bubble = 100 * abs(one.summary.round_error), abs(one.summary.bubble_rate_error)
        taken = f"{one.fidelity.host.steal_share:.1%} of the CPU taken by the hypervisor"
        found += [
            at_most(f"{label}: round error, {taken}", 1, error, "%"),
            at_most(f"{label}: bubble rate error", 0.005, bubble, "", 4),
        ]
    errors = [100 * abs(one.summary.round_error) for one in results.schemes.values()]
    return [*found, at_most("median round error of the schemes", 0.5, median(errors), "%")]
