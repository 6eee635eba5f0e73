"""Latency of an EPSL round (EPSL summary; readings below): pure functions of cut, batches, rates and φ.

A round is UE forward, uplink, BS forward on all rows, BS backward on the rows that are left when the last-layer
gradients of m rows per UE are aggregated, one broadcast of the m aggregated cut gradients, unicast of the rest,
and UE backward. The BS waits for all UEs; the round ends with the last UE. Readings: m = ⌈φ b⌉ for the least
batch b, so that every UE has m rows to pair; the broadcast goes at the rate of the slowest UE with the whole
band; on dedicated links nothing is shared, and each UE gets the m rows at its own rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.schemes.epsl import paired_rows
from controller.predict.instance import Floats, Instance, Ints
from controller.predict.timing import BITS


@dataclass(frozen=True)
class Stages:
    """A round at one cut: seconds of compute, bits of traffic; (n,) per UE, zeros for a UE without samples."""

    forward_s: Floats
    up_bits: Floats
    bs_s: float
    broadcast_s: Floats
    down_bits: Floats
    backward_s: Floats


def aggregated_rows(batch: Ints, phi: float) -> int:
    """Rows m of each UE whose last-layer gradients are aggregated with the other UEs': ``⌈φ b⌉``, b the least batch."""
    taking_part = batch[batch > 0]
    return paired_rows(phi, taking_part.tolist())


def stages(instance: Instance, cut: int, batch: Ints, phi: float) -> Stages:
    """The stages of a round with ``batch`` (n,) samples and aggregation ratio ``phi`` in [0, 1]."""
    work, rows = instance.workload, aggregated_rows(batch, phi)
    part = batch > 0
    forward_s = batch * work.ue_forward_flops(cut) / instance.ue_flops
    backward_rows = rows + int((batch - rows)[part].sum())
    bs_flops = work.bs_forward_flops(cut) * (int(batch.sum()) + work.backward_ratio * backward_rows)
    rate = instance.rate_down
    if instance.shared_air and part.any():
        rate = np.full(instance.n, rate[part].min())
    return Stages(
        forward_s=forward_s,
        up_bits=np.asarray(batch * work.up_bytes(cut) * BITS),
        bs_s=bs_flops / instance.bs_flops,
        broadcast_s=np.where(part, rows * work.down_bytes(cut) * BITS / rate, 0.0),
        down_bits=np.where(part, (batch - rows) * work.down_bytes(cut) * BITS, 0.0),
        backward_s=np.asarray(forward_s * work.backward_ratio),
    )


def up_s(stage: Stages, rate_up: Floats) -> Floats:
    """When each UE's smashed data has arrived (s), at these rates (n,) in bit/s."""
    return stage.forward_s + _transfer(stage.up_bits, rate_up)


def down_s(stage: Stages, rate_down: Floats) -> Floats:
    """From the end of the BS's work to the end of each UE's backward pass (s)."""
    return stage.broadcast_s + _transfer(stage.down_bits, rate_down) + stage.backward_s


def round_s(stage: Stages, rate_up: Floats, rate_down: Floats) -> float:
    """Length of the round (s)."""
    return float(up_s(stage, rate_up).max() + stage.bs_s + down_s(stage, rate_down).max())


def _transfer(bits: Floats, rate: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.where(bits > 0, bits / np.where(bits > 0, rate, 1.0), 0.0)
