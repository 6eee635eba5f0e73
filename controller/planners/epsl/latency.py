"""Latency of an EPSL round (EPSL summary): pure functions of cut, batches, rates, φ and the way of aggregating.

A round is what the scheme's schedule says: UE forward, uplink, BS forward on all rows, BS backward on the rows that
are left when the last-layer gradients of m rows per UE are aggregated, one broadcast of the m aggregated cut gradients
that keeps all downlinks busy, unicast of the rest, and UE backward on all rows. The BS waits for all UEs; the round
ends with the last UE. m = ⌈φ b⌉ for the least batch b, so that every UE has m rows to pair; the broadcast goes at the
rate of the slowest UE with the whole band. What links wait for TDMA slots is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.schemes.epsl import AGGREGATES, paired_rows
from controller.predict.instance import Floats, Instance, Ints
from controller.predict.timing import BITS


@dataclass(frozen=True)
class Stages:
    """A round at one cut: seconds of compute, bits of traffic; (n,) per UE, zeros for a UE without samples.

    A transfer begins ``wait_s`` after it could. ``broadcast_s`` is when the broadcast has arrived, from the end of the
    BS's work.
    """

    forward_s: Floats
    up_bits: Floats
    bs_s: float
    broadcast_s: float
    down_bits: Floats
    backward_s: Floats
    wait_s: float = 0.0


def aggregated_rows(batch: Ints, phi: float) -> int:
    """Rows m of each UE whose last-layer gradients are aggregated with the other UEs': ``⌈φ b⌉``, b the least batch."""
    taking_part = batch[batch > 0]
    return paired_rows(phi, taking_part.tolist())


def stages(instance: Instance, cut: int, batch: Ints, phi: float, aggregate: str = "virtual") -> Stages:
    """The stages of a round with ``batch`` (n,) samples and aggregation ratio ``phi`` in [0, 1]."""
    work, rows, part = instance.workload, aggregated_rows(batch, phi), batch > 0
    passes_s = part * instance.ue_pass_s
    merged = rows if AGGREGATES[aggregate].merges else 0
    forward_rows = int(batch.sum()) + merged
    backward_rows = int(batch.sum()) - merged * (int(part.sum()) - 1)
    bs_flops = work.bs_forward_flops(cut) * (forward_rows + work.backward_ratio * backward_rows)
    wait_s, message_bits = instance.message_s + instance.delay_s, instance.message_bytes * BITS
    broadcast_s = 0.0
    if rows:
        broadcast_s = wait_s + (rows * work.down_bytes(cut) * BITS + message_bits) / float(
            instance.rate_down[part].min()
        )
    left = np.where(part, batch - rows, 0)
    return Stages(
        forward_s=batch * instance.ue_forward_s(cut) + passes_s,
        up_bits=np.asarray(batch * work.up_bytes(cut) * BITS + part * message_bits),
        bs_s=bs_flops / instance.bs_flops + 2 * instance.bs_pass_s,
        broadcast_s=broadcast_s,
        down_bits=np.asarray(left * work.down_bytes(cut) * BITS + (left > 0) * message_bits),
        backward_s=batch * work.ue_forward_flops(cut) / instance.ue_flops * work.backward_ratio + passes_s,
        wait_s=wait_s,
    )


def up_s(stage: Stages, rate_up: Floats) -> Floats:
    """When each UE's smashed data has arrived (s), at these rates (n,) in bit/s; 0 for a UE without samples."""
    return stage.forward_s + _transfer(stage.up_bits, rate_up) + stage.wait_s * (stage.up_bits > 0)


def down_s(stage: Stages, rate_down: Floats) -> Floats:
    """From the end of the BS's work to the end of each UE's backward pass (s)."""
    begin_s = np.where(stage.down_bits > 0, max(stage.wait_s, stage.broadcast_s), stage.broadcast_s)
    return begin_s + _transfer(stage.down_bits, rate_down) + stage.backward_s


def round_s(stage: Stages, rate_up: Floats, rate_down: Floats) -> float:
    """Length of the round (s)."""
    return float(up_s(stage, rate_up).max() + stage.bs_s + down_s(stage, rate_down).max())


def _transfer(bits: Floats, rate: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.where(bits > 0, bits / np.where(bits > 0, rate, 1.0), 0.0)
