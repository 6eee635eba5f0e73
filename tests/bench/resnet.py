"""ResNet-18 at the paper's rates on real containers: tensors of megabytes, transfers of many seconds of wall time."""

from __future__ import annotations

import tempfile
from pathlib import Path

from controller.trial.field_trial import field_trial
from controller.trial.watch import silent
from testbed.engine import Engine
from testbed.loading import load
from tests.bench.number import Number, at_most

SCENE = Path(__file__).parent / "scenes" / "resnet18.yaml"


def numbers() -> list[Number]:
    """Round error of each scheme, and the longest transfer, which no heartbeat cut off."""
    with tempfile.TemporaryDirectory() as folder:
        results = field_trial(Engine.connect(), load(SCENE), Path(folder), silent)
    found = []
    for label, one in results.schemes.items():
        found += [
            at_most(f"ResNet-18, {label}: round error", 1, 100 * abs(one.summary.round_error), "%"),
            at_most(f"ResNet-18, {label}: bubble rate error", 0.01, abs(one.summary.bubble_rate_error), "", 4),
        ]
    return found
