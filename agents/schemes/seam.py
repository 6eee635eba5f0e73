"""What a scheme is to the rest of the house: a function that writes rounds, and what a plan for it may choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from agents.plan import Plan
from agents.schedule.check import checked
from agents.schedule.order import half_duplex
from agents.schedule.task import Schedule
from agents.schedule.vocabulary import Round
from agents.schemes.moving import Halves, bring

Write = Callable[[Round], None]
Turns = Literal["all", "one", "cluster", "none"]
Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Scheme:
    """A scheme: ``write`` says what happens in a round, the rest what a plan for it may choose.

    ``turns``: which UEs are on the air together, all, one after another, a cluster, or none. ``micro_batches``: a
    batch flows as ``one``, as the plan's ``k``, or as a number for ``each`` UE. ``cuts``: the model is cut
    ``inside``, ``nowhere`` (all of it on the UE), stays ``at the bs``, or is cut ``twice`` (the last units on the UE
    too). ``trains``: what a UE trains between two exchanges of weights unless the topology says otherwise, a batch or
    an epoch; None where weights are never exchanged. ``keys`` of the topology's entry are used. ``planners`` are those
    that know the scheme. ``recursion``: its rounds follow ``controller.predict.recursion``, which planners search with.
    ``halves``: how UE halves stand to the BS's between rounds, which says what a change of the cut moves
    (``agents.schemes.moving``); None where a plan stays as it is.
    """

    name: str
    title: str
    write: Write
    turns: Turns = "all"
    micro_batches: Literal["one", "k", "each"] = "one"
    cuts: Literal["inside", "nowhere", "at the bs", "twice"] = "inside"
    trains: Literal["batch", "epoch"] | None = None
    keys: frozenset[str] = frozenset()
    planners: tuple[str, ...] = ("uniform",)
    recursion: bool = False
    halves: Halves | None = None

    @property
    def pipelined(self) -> bool:
        """Whether the plan may choose more than one micro-batch."""
        return self.micro_batches != "one"

    @property
    def replicas(self) -> bool:
        """Whether each UE has a BS model of its own, which workers of the BS need."""
        return self.halves == "replicas"

    @property
    def one_model(self) -> bool:
        """Whether the BS has one model for all UEs, not one for each or none."""
        return not self.replicas and self.cuts != "nowhere"

    def allowed_cuts(self, units: int) -> range:
        """The cuts that it allows for a model of so many units (C1; all or nothing where one side trains alone)."""
        found = {"nowhere": range(units, units + 1), "at the bs": range(1), "twice": range(1, units - 1)}
        return found.get(self.cuts, range(1, units))

    def head_cut(self, units: int, asked: int | None = None) -> int | None:
        """After which unit a UE has the rest again; the last one alone unless more is asked for."""
        return (asked or units - 1) if self.cuts == "twice" else None

    def group_size(self, ues: int, cluster_size: int) -> int:
        """How many of so many UEs are on the air together at the most."""
        return min(ues, {"all": ues, "cluster": cluster_size, "one": 1, "none": 0}[self.turns])

    def groups(self, clusters: Mapping[str, int]) -> Groups:
        """The UEs of each turn of a round, in order; ``clusters`` maps the UEs that take part to their cluster."""
        return groups(self.turns, clusters)

    def schedule(self, plan: Plan, units: int, duplex: str, seed: int = 0, number: int = 1) -> Schedule:
        """Round ``number`` under a plan for a model of so many units; ``seed`` is what drawn orders start from.

        ScheduleError when it cannot be done, or loses samples.
        """
        made = Round(plan, units, seed, number)
        if plan.moving:
            bring(made, plan.moving, self.halves, self.groups(plan.clusters)[0])
        self.write(made)
        found = made.schedule()
        return checked(half_duplex(found) if duplex == "tdd" else found, plan)


class Rounds:
    """The schedules of the rounds of one plan; all of them are one where nothing is drawn."""

    def __init__(self, scheme: Scheme, plan: Plan, units: int, duplex: str, seed: int = 0) -> None:
        self._write = partial(scheme.schedule, plan, units, duplex, seed)
        self._all: Schedule | None = None

    def __call__(self, number: int) -> Schedule:
        """The schedule of round ``number``. ScheduleError when it cannot be done."""
        if self._all is not None:
            return self._all
        found = self._write(number)
        if not found.drawn:
            self._all = found
        return found


def groups(turns: Turns, clusters: Mapping[str, int]) -> Groups:
    """The UEs of each turn, in order."""
    match turns:
        case "none":
            return ((),)
        case "one":
            return tuple((ue,) for ue in clusters)
        case "all":
            return (tuple(clusters),)
        case "cluster":
            return tuple(tuple(ue for ue in clusters if clusters[ue] == c) for c in sorted(set(clusters.values())))
