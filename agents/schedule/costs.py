"""What work costs, in emulated seconds and bytes: the same figures for whoever predicts and whoever paces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

from agents.plan import Plan
from agents.schedule.task import (
    BROADCAST_PLACE,
    Activations,
    Compute,
    Gradients,
    Noise,
    Task,
    Weights,
    at_the_bs,
    goes_up,
    owner,
)

BITS = 8.0
BYTES_PER_WEIGHT = 4.0

_UNIFORM, _ELEMENTARY, _ROOT = 12.0, 20.0, 8.0
_CLIPPED, _ADDED, _CHANGE = 3.0, 2.0, 2.0
NOISE_FLOPS: Mapping[str, float] = {
    "gaussian": _CLIPPED + _ADDED + (2 * _UNIFORM + _ROOT + 3 * _ELEMENTARY + 4) / 2,
    "laplace": _CLIPPED + _ADDED + _UNIFORM + _ELEMENTARY + 4,
}
"""FLOPs that a clipped and noised value takes, by mechanism, from a count of operations and not from a measurement.

Clipping squares, sums and scales (3); noise is scaled and added (2). A uniform number is ten integer operations of the
generator and two to make it a float (12), ln, sin or cos a polynomial of eight steps and its range reduction (20), a
root 8. Two Gaussian values (Box-Muller) are two uniform ones, ln, root, sin, cos and 4 products; a Laplace value is
a uniform one, ln, and 4 for shift, sign, double and product. For weights the change is taken and added back (2).
"""


@dataclass(frozen=True)
class Costs:
    """The profile of the model, and the speeds of the devices.

    Per unit, for one sample: forward FLOPs, bytes of its output; and bytes of its weights. Backward is
    ``backward_ratio`` times forward. Devices compute so many FLOP/s, UEs by name, and a pass takes so many seconds
    besides, however few its rows. A transfer carries ``message_bytes`` besides its tensors. A sample is
    ``sample_values`` numbers, for noise that is added to them.
    """

    forward_flops: tuple[float, ...]
    output_bytes: tuple[float, ...]
    weight_bytes: tuple[float, ...]
    backward_ratio: float
    label_bytes: float
    ue_flops: Mapping[str, float]
    bs_flops: float
    message_bytes: float = 0.0
    ue_pass_s: Mapping[str, float] = field(default_factory=dict)
    bs_pass_s: float = 0.0
    sample_values: float = 0.0

    def seconds(self, task: Task, plan: Plan) -> float:
        """How long a task keeps its place busy (C²P²SL paper, eqs 7–12). A rate of 0 gives an infinite time."""
        if isinstance(task.work, Compute | Noise):
            return self.compute_s(task.work, task.place)
        size = self.bytes(task)
        if size is None:
            return 0.0
        rate_bps = link_bps(task, plan)
        return (size + self.message_bytes) * BITS / rate_bps if rate_bps > 0 else float("inf")

    def compute_s(self, work: Compute | Noise, place: str) -> float:
        """Seconds of a pass at a processor, with the noise on its samples, or of noise on weights.

        Linear in rows, but for what every pass takes.
        """
        if at_the_bs(place):
            speed = self.bs_flops / (work.among if isinstance(work, Compute) else 1)
            pass_s = self.bs_pass_s
        else:
            speed, pass_s = self.ue_flops[owner(place)], self.ue_pass_s.get(owner(place), 0.0)
        noise_s = self.noise_flops(work) / speed
        if isinstance(work, Noise):
            return noise_s
        flops = self._cumulative[work.last] - self._cumulative[work.first]
        return pass_s + noise_s + work.rows * (flops / speed) * (self.backward_ratio if work.backward else 1.0)

    def noised_values(self, work: Compute | Noise) -> float:
        """How many values a task clips and adds noise to."""
        if isinstance(work, Noise):
            return sum(self.weight_bytes[work.first : work.last]) / BYTES_PER_WEIGHT
        return work.rows * self.sample_values if work.noise else 0.0

    def noise_flops(self, work: Compute | Noise) -> float:
        """FLOPs of the noise in a task."""
        if isinstance(work, Noise):
            return self.noised_values(work) * (NOISE_FLOPS[work.mechanism] + _CHANGE)
        return self.noised_values(work) * NOISE_FLOPS[work.noise] if work.noise else 0.0

    def bytes(self, task: Task) -> float | None:
        """Payload bytes of a transfer; None for what is none."""
        match task.work:
            case Activations(unit=unit, samples=samples, labels=labels):
                return samples * (self.output_bytes[unit - 1] + (self.label_bytes if labels else 0.0))
            case Gradients(unit=unit, samples=samples):
                return samples * self.output_bytes[unit - 1]
            case Weights(first=first, last=last, momentum=momentum):
                return sum(self.weight_bytes[first:last]) * (2 if momentum else 1)
            case _:
                return None

    @cached_property
    def _cumulative(self) -> tuple[float, ...]:
        return tuple(accumulate(self.forward_flops, initial=0.0))

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Costs:
        """What ``to_json`` wrote."""
        lists = {key: tuple(data[key]) for key in ("forward_flops", "output_bytes", "weight_bytes")}
        return Costs(**{**data, **lists})


def link_bps(task: Task, plan: Plan) -> float:
    """The payload rate (bit/s) at which a transfer goes, before time dilation."""
    if task.place == BROADCAST_PLACE:
        return plan.broadcast_bps
    ue = plan.ues[owner(task.place)]
    return ue.uplink_bps if goes_up(task.place) else ue.downlink_bps
