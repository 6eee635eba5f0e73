"""Small planning problems with round numbers."""

from __future__ import annotations

import numpy as np

from controller.predict.instance import Instance
from controller.predict.workload import Workload


def workload(**changes: object) -> Workload:
    """Two units of 1 MFLOP and 3 MFLOP per sample; 1000 bytes between them; 100 bytes of UE weights."""
    values = {
        "units": ("a", "b"),
        "forward_flops": np.array([1e6, 3e6]),
        "output_bytes": np.array([999.0, 40.0]),
        "weight_bytes": np.array([1000.0, 500.0]),
        "backward_ratio": 2.0,
        "label_bytes": 1.0,
        **changes,
    }
    return Workload(**values)  # type: ignore[arg-type]


def three_units(**changes: object) -> Workload:
    """Three units, so two cuts, or one cut in two places."""
    values = {
        "units": ("a", "b", "c"),
        "forward_flops": np.array([1e6, 1e6, 3e6]),
        "output_bytes": np.array([999.0, 500.0, 40.0]),
        "weight_bytes": np.array([1000.0, 500.0, 500.0]),
        **changes,
    }
    return workload(**values)


def problem(n: int = 2, batch: int = 20, duplex: str = "tdd", **changes: object) -> Instance:
    """``n`` UEs of 1 GFLOP/s, a BS of 10 GFLOP/s, 1.6 Mbit/s up and 3.2 Mbit/s down with the whole frame."""
    values = {
        "workload": workload(),
        "ues": tuple(f"ue{i + 1}" for i in range(n)),
        "ue_flops": np.full(n, 1e9),
        "bs_flops": 10e9,
        "rate_up": np.full(n, 1.6e6),
        "rate_down": np.full(n, 3.2e6),
        "capacity_flop": np.full(n, 1e12),
        "min_batch": np.ones(n, dtype=np.int64),
        "batch": batch,
        "frame_s": 0.01,
        "shared_air": True,
        "duplex": duplex,
        **changes,
    }
    return Instance(**values)  # type: ignore[arg-type]
