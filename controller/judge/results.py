"""``results.json``: what a trial writes, as models that validate it and give its JSON Schema."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of the document; frozen, nothing beyond the contract."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Round(Part):
    """One round as measured, in emulated seconds; ``predicted_…`` for the links, devices and plan of this round.

    ``charged_s``: what of both lengths is the planner's time.
    """

    round: int
    round_s: float
    bubble_rate: float
    bs_busy_s: float
    bs_idle_s: float
    train_loss: float
    degraded: bool
    predicted_s: float | None = None
    predicted_bubble_rate: float | None = None
    charged_s: float = 0.0


class Replanned(Part):
    """What came of planning anew before ``round``: the plan from then on, None where the one before was kept.

    ``planner_s``: wall seconds that it took; ``gained_s``: by how much the predicted round is shorter for it.
    ``why``: which UEs were lost or are back, where that was the reason.
    """

    round: int
    plan: dict[str, Any] | None
    planner_s: float
    gained_s: float
    why: str = ""


class FaultResult(Part):
    """A fault of the topology's as it was done, ``at_s`` emulated seconds after its round began, and what it cost.

    ``task``: in the middle of which it was to strike; None: as the round began. ``predicted_s`` is the round simulated
    with it, ``lost`` the samples of the round that nothing was learnt from. ``why_not``: nothing was broken. ``again``:
    the round was done again from a checkpoint, as this fault or another one ended the base station.
    """

    round: int
    ue: str
    kind: str
    task: str | None
    at_s: float
    for_s: float | None = None
    predicted_s: float | None = None
    measured_s: float | None = None
    lost: int | None = None
    why_not: str | None = None
    again: bool = False


class Spread(Part):
    """Median and the 5th and 95th percentile over rounds, round 1 left out as warm-up."""

    median: float
    p5: float
    p95: float


class Summary(Part):
    """The rounds in short, each against its own prediction: ``round_error`` is the median of measured / predicted − 1,
    ``bubble_rate_error`` that of the difference; ``predicted_…`` are medians of the rounds' own predictions."""

    round_s: Spread
    bubble_rate: float
    predicted_s: float
    predicted_bubble_rate: float
    round_error: float
    bubble_rate_error: float


class Target(Part):
    """The accuracy that was asked for, whether it was reached, and when."""

    accuracy: float
    reached: bool
    round: int
    emulated_s: float


class Accuracy(Part):
    """Test accuracy: at the end, per UE where halves differ, and along the way as (round, emulated s, accuracy).

    ``averaged`` is that of the mean of the UE halves, for schemes in which they never synchronise.
    """

    final: float
    per_ue: dict[str, float]
    curve: list[tuple[int, float, float]]
    averaged: float | None = None
    target: Target | None = None


class UeResult(Part):
    """Mean busy and idle time of a UE per round, and median goodput of its transfers (None: none happened).

    On gated links a transfer's time begins with the wait for its slot.
    """

    busy_s: float
    idle_s: float
    uplink_bps: float | None
    downlink_bps: float | None

    @property
    def idle_share(self) -> float:
        """The share of the rounds in which it did not compute."""
        return self.idle_s / (self.idle_s + self.busy_s)


class Scraped(Part):
    """Totals over all rounds as scraped from the BS's ``/metrics``, beside the same from events."""

    bs_idle_s: float
    bubble_rate: float
    events_bs_idle_s: float
    events_bubble_rate: float


class HostLoad(Part):
    """The busiest host while rounds ran, in shares of its cores' time: in use, by others than agents, taken by the
    hypervisor. ``throttled_share``: of the time of the agent most held back by its own quota. ``waited_share``: of
    the time in which computations wanted a core, that in which they had none. ``clock_jump_s``: the most that wall
    clock and monotonic clock went apart in one segment of a round.
    """

    busy_share: float
    others_share: float
    steal_share: float
    throttled_share: float
    waited_share: float
    clock_jump_s: float


class Explained(Part):
    """The error of the typical round by cause, in shares of the predicted round; together they are the error."""

    compute: float
    transfers: float
    wake_ups: float
    unexplained: float


class Fidelity(Part):
    """Whether the emulation can be believed; ``worst_overrun`` in emulated seconds.

    ``reasons`` say why not; ``notes`` what was seen that did not change the round. ``link_errors`` is each link's
    goodput against its plan (``ue1/up``).
    """

    ok: bool
    cpu_overruns: int
    worst_overrun: float
    link_error_max: float
    reasons: list[str]
    overrun_share: float
    notes: list[str]
    link_errors: dict[str, float]
    explained: Explained
    host: HostLoad


class SchemeResult(Part):
    """Everything about one scheme. ``partial``: it broke off, and what is here is what had been measured by then.

    ``paper``: the plan in the terms of the scheme's paper, to be seen beside what was predicted and measured;
    ``paper_measured`` what of that was measured, the mean of a round; ``replanned``: how the plan changed
    between rounds, where it was made anew; ``faults``: those that were done to it on purpose.
    """

    plan: dict[str, Any]
    predicted: dict[str, float]
    rounds: list[Round]
    summary: Summary
    accuracy: Accuracy | None
    ues: dict[str, UeResult]
    scraped: Scraped | None
    fidelity: Fidelity
    partial: bool = False
    paper: dict[str, Any] = {}
    paper_measured: dict[str, float] = {}
    replanned: list[Replanned] = []
    faults: list[FaultResult] = []


class Results(Part):
    """The whole document. ``error``: why the trial broke off, where it did."""

    topology: dict[str, Any]
    host: dict[str, Any]
    time_dilation: float
    schemes: dict[str, SchemeResult]
    error: str | None = None
