"""A calibration as its user reads it: how fast a core of the host is, and what its timers and messages cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from controller.predict.workload import Workload
from testbed.compute import Calibration

GIGA = 1e9


def speeds(calibration: Calibration, work: Workload) -> list[dict[str, Any]]:
    """Per unit of the model the GFLOP/s of one core, without what a call costs by itself (``…_fixed_s``)."""
    rows = []
    for unit, flops in zip(calibration.units, work.forward_flops.tolist(), strict=True):
        backward = flops * work.backward_ratio
        rows.append(
            {
                "unit": unit.unit,
                "forward_gflops": flops / unit.forward_s / GIGA if unit.forward_s else None,
                "backward_gflops": backward / unit.backward_s / GIGA if unit.backward_s else None,
                **{key: value for key, value in asdict(unit).items() if key != "unit"},
            }
        )
    return rows


def costs(calibration: Calibration) -> list[dict[str, Any]]:
    """Timers, messages and links, one row each: seconds, bytes or bits per second."""
    words = {
        "timer_s": "a sleep ends late by",
        "jitter_s": "at worst in a hundred",
        "message_s": "a message takes, besides its time on a link",
        "message_bytes": "bytes of a message besides its tensors",
        "link_bps": "all links together, bit/s (no more than)",
    }
    return [{"what": words[key], "measured": value} for key, value in asdict(calibration.transport).items()]
