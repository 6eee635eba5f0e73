"""Timing of a PiPar iteration of one UE (PiPar paper, eqs 5–14): pure functions of its times per sample.

Read with two corrections. A UE's downloads are serial, and its forward and backward passes share one processor,
as do the server's: in the printed table of predecessors downloads of different mini-batches may overlap. And
the server serves the replicas of all UEs, so that a UE sees it as slowed by their number; the paper profiles it
alone. Mini-batches hold whole samples, split as ``numpy.array_split`` splits them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from controller.predict.instance import Instance, Ints
from controller.predict.prediction import weights_noise_s
from controller.predict.timing import BITS, split_batches


@dataclass(frozen=True)
class Stages:
    """Seconds per sample of the six stages of one UE at one cut (eqs 5–10), and of its weights up and down.

    A pass takes ``ue_pass`` or ``bs_pass`` seconds besides, however few its samples.
    """

    ue_forward: float
    uplink: float
    bs_forward: float
    bs_backward: float
    downlink: float
    ue_backward: float
    weights_s: float = 0.0
    ue_pass: float = 0.0
    bs_pass: float = 0.0

    def forward_s(self, samples: int) -> float:
        """A forward pass of the UE."""
        return self.ue_pass + samples * self.ue_forward

    def server_s(self, samples: int) -> float:
        """A forward and a backward pass of the server."""
        return 2 * self.bs_pass + samples * (self.bs_forward + self.bs_backward)

    def backward_s(self, samples: int) -> float:
        """A backward pass of the UE."""
        return self.ue_pass + samples * self.ue_backward


def profile(instance: Instance, ue: int, cut: int, replicas: int) -> Stages:
    """The stages of a UE when the server divides itself among so many ``replicas``.

    On shared air the UE has an equal part of it: slots are ``frame / replicas``.
    """
    work = instance.workload
    air = replicas if instance.shared_air else 1
    up, down = instance.rate_up[ue] / air, instance.rate_down[ue] / air
    server = replicas * work.bs_forward_flops(cut) / instance.bs_flops
    return Stages(
        ue_forward=float(instance.ue_forward_s(cut)[ue]),
        uplink=work.up_bytes(cut) * BITS / up,
        bs_forward=server,
        bs_backward=server * work.backward_ratio,
        downlink=work.down_bytes(cut) * BITS / down,
        ue_backward=work.ue_forward_flops(cut) / instance.ue_flops[ue] * work.backward_ratio,
        weights_s=work.ue_weight_bytes(cut) * BITS * (1 / up + 1 / down) + float(weights_noise_s(instance, cut)[ue]),
        ue_pass=float(instance.ue_pass_s[ue]),
        bs_pass=instance.bs_pass_s * (replicas if instance.workers == "one" else 1),
    )


@lru_cache(maxsize=1 << 14)
def iteration_s(stages: Stages, batch: int, parallel: int, duplex: str) -> float:
    """T(b_N): length (s) of an iteration of ``batch`` samples in ``parallel`` mini-batches (eqs 11–13).

    Under ``tdd`` no download starts before the UE's last upload.
    """
    sizes = mini_batches(batch, parallel)
    forward = uplink = served = 0.0
    gradients = []
    for size in sizes:
        forward += stages.forward_s(size)
        uplink = max(forward, uplink) + size * stages.uplink
        served = max(uplink, served) + stages.server_s(size)
        gradients.append(served)
    downlink = uplink if duplex == "tdd" else 0.0
    backward = forward
    for size, ready in zip(sizes, gradients, strict=True):
        downlink = max(ready, downlink) + size * stages.downlink
        backward = max(downlink, backward) + stages.backward_s(size)
    return backward


def mini_batches(batch: int, parallel: int) -> list[int]:
    """Samples in each mini-batch; those that would be empty are left out."""
    sizes: Ints = split_batches(np.array([batch]), parallel)[0]
    return [int(size) for size in sizes if size]


def epoch_s(stages: Stages, batch: int, parallel: int, steps: int, duplex: str) -> float:
    """``steps`` iterations and the UE half's weights up and down (s)."""
    return steps * iteration_s(stages, batch, parallel, duplex) + stages.weights_s


def parallel_batches(stages: Stages, batch: int) -> int:
    """N of eq. 14: how many mini-batches keep the UE busy while the first is away; at most one per sample.

    As the paper profiles them: the stages of one whole batch, of which those of a mini-batch are an N-th.
    """
    away = batch * (stages.uplink + stages.downlink) + stages.server_s(batch)
    least = min(stages.forward_s(batch), stages.backward_s(batch))
    if least * batch <= away:
        return max(1, batch)
    return min(max(1, batch), 1 + math.ceil(away / least * (1 - 1e-12)))
