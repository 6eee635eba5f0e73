"""The job: all that an agent needs to know before the first round of a scheme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from agents.models.catalog import DatasetInfo
from agents.plan import Plan
from agents.schedule.costs import Costs
from agents.schedule.footprint import Footprint
from agents.schedule.task import at_the_bs
from agents.schemes.own import scheme_named
from agents.schemes.seam import Rounds

CONFIGURE_S = 120.0
"""Wall seconds for taking up a job: a model is built and run once, which is half a minute on an emulated processor."""


@dataclass(frozen=True)
class Job:
    """All that an agent needs to know before the first round of a scheme.

    ``costs`` say how long the modelled processors take, in emulated seconds; agents multiply by the time dilation
    themselves. With ``paced`` false the kernel's CPU quota alone sets the speed. ``deadline_s`` bounds, in wall
    seconds, every wait for a peer. ``shares`` is each UE's share of the training data (λ_i = D_i / D). A packet is
    ``delay_s`` (emulated) on its way. ``bs_lr`` is the learning rate at the BS, ``lr`` unless it is given, and
    ``bs_threads`` the cores that it computes on. ``group_sizes``: how many units of the model each unit of plan and
    costs stands for, all one if left out. ``dealing``: which of a trial's ways to deal samples to UEs is this scheme's.
    ``footprint``: what those units take of memory; passes are computed in chunks where it is given.
    """

    trial: str
    label: str
    plan: Plan
    costs: Costs
    model: str
    norm: str
    dataset_info: DatasetInfo
    lr: float
    momentum: float
    seed: int
    paced: bool
    duplex: str
    deadline_s: float
    bs_address: str
    shares: Mapping[str, float]
    delay_s: float = 0.0
    bs_lr: float | None = None
    bs_threads: int = 1
    group_sizes: Sequence[int] = ()
    dealing: int = 0
    footprint: Footprint | None = None

    def lr_of(self, model: str) -> float:
        """The learning rate of a model's parts: the BS's own for its model and for replicas there, if it has one."""
        return self.lr if self.bs_lr is None or not at_the_bs(model) else self.bs_lr

    @cached_property
    def schedule(self) -> Rounds:
        """What happens in each round."""
        units = len(self.costs.forward_flops)
        return Rounds(scheme_named(self.plan.scheme), self.plan, units, self.duplex, self.seed)

    def changed(self, plan: Plan, costs: Costs, deadline_s: float) -> Job:
        """The same job from now on by another plan, at other speeds."""
        return replace(self, plan=plan, costs=costs, deadline_s=deadline_s)

    def to_json(self) -> dict[str, Any]:
        """The job as plain data, for the wire."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        nested = {part: plain[part].to_json() for part in ("plan", "costs", "dataset_info")}
        return {**plain, **nested, "footprint": self.footprint and self.footprint.to_json()}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Job:
        """The job that ``to_json`` wrote."""
        nested = {
            "plan": Plan.from_json(data["plan"]),
            "costs": Costs.from_json(data["costs"]),
            "dataset_info": DatasetInfo(**data["dataset_info"]),
            "footprint": Footprint.from_json(data["footprint"]) if data.get("footprint") else None,
        }
        return Job(**{**data, **nested, "group_sizes": tuple(data["group_sizes"])})
