"""The verdict: whether what was measured is what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agents.schedule.task import BROADCAST_PLACE, Schedule, is_link
from controller.judge.explain import Links, explain
from controller.judge.host_load import Counters, host_load
from controller.judge.measured import Happened, after_warm_up, at_places, speeds
from controller.judge.results import Explained, Fidelity, HostLoad, Round, Summary

ROUND_ERROR = 0.03
"""Beyond this nothing excuses a round; below ``DOUBT`` its length was not disturbed, whatever went on."""
DOUBT = 0.015
BUBBLE_RATE_ERROR = 0.02
LINK_ERROR = 0.03
OVERRUN_SHARE = 0.02
BUSY_SHARE = 0.95
STEAL_SHARE = 0.02
CLOCK_JUMP_S = 0.05
WAKE_UPS = 0.01


@dataclass(frozen=True)
class Evidence:
    """All that a verdict rests on, of one scheme's rounds after the first."""

    summary: Summary
    computed: int
    overruns: Sequence[float]
    link_errors: Mapping[str, float]
    steady_link_errors: Mapping[str, float]
    explained: Explained
    host: HostLoad

    @property
    def overrun_share(self) -> float:
        """Share of the computations that took longer than the modelled device would have."""
        return len(self.overruns) / max(1, self.computed)


def gather(
    links_of: Callable[[int], Links],
    schedule_of: Callable[[int], Schedule],
    predicted_s: float,
    rounds: Sequence[Round],
    summary: Summary,
    rows: Sequence[Happened],
    counters: Sequence[Counters],
) -> Evidence:
    """The evidence in a scheme's rounds, its events and what its agents counted on their hosts.

    ``links_of`` and ``schedule_of`` give the links and the schedule of a round.
    """
    numbers = {r.round for r in after_warm_up(rounds)}
    counted = [row for row in rows if row.round in numbers]
    computed = [row for row in counted if row.computed]
    errors = link_errors(links_of, counted, (0.1, 0.5, 0.9))
    return Evidence(
        summary=summary,
        computed=len(computed),
        overruns=[row.overrun_s for row in computed if row.overrun_s > 0],
        link_errors={link: median for link, (_, median, _) in errors.items()},
        steady_link_errors={link: steady_error(low, high) for link, (low, _, high) in errors.items()},
        explained=explain(links_of, schedule_of, predicted_s, rounds, rows),
        host=host_load(counters, computed),
    )


def judge(evidence: Evidence) -> Fidelity:
    """The verdict: no when a number is off its limit, or when it is doubtful and a cause was seen.

    What was seen while the round kept its time becomes a note: the numbers are then as good as any.
    """
    faults, causes = list(_faults(evidence)), list(_causes(evidence))
    doubtful = bool(faults) or abs(evidence.summary.round_error) > DOUBT
    reasons = [*faults, *causes] if doubtful else []
    return Fidelity(
        ok=not reasons,
        cpu_overruns=len(evidence.overruns),
        worst_overrun=max(evidence.overruns, default=0.0),
        link_error_max=max(map(abs, evidence.link_errors.values()), default=0.0),
        reasons=reasons,
        overrun_share=evidence.overrun_share,
        notes=[] if doubtful else causes,
        link_errors=dict(evidence.link_errors),
        explained=evidence.explained,
        host=evidence.host,
    )


def _faults(e: Evidence) -> Iterator[str]:
    """Numbers that are wrong, whatever the cause."""
    error, bubbles = e.summary.round_error, e.summary.bubble_rate_error
    if abs(error) > ROUND_ERROR:
        yield f"the round took {error:+.1%} against prediction (limit {ROUND_ERROR:.0%}): {_shares(e.explained)}"
    if abs(bubbles) > BUBBLE_RATE_ERROR:
        yield f"the bubble rate is off by {bubbles:+.3f} (limit {BUBBLE_RATE_ERROR})"
    for link, off in e.steady_link_errors.items():
        if abs(off) > LINK_ERROR:
            yield f"the goodput of {link} is {off:+.1%} off its plan most of the time (limit {LINK_ERROR:.0%})"
    if e.host.clock_jump_s > CLOCK_JUMP_S:
        yield f"a clock of the host jumped by {e.host.clock_jump_s:.2f} s within a round: the host was paused or set"


def _causes(e: Evidence) -> Iterator[str]:
    """What can make a round wrong; enough only where it is doubtful."""
    host = e.host
    worst = max(e.link_errors.items(), key=lambda found: abs(found[1]), default=("", 0.0))
    if abs(worst[1]) > LINK_ERROR:
        yield f"the median goodput of {worst[0]} is {worst[1]:+.1%} off its plan (limit {LINK_ERROR:.0%})"
    if e.overrun_share > OVERRUN_SHARE:
        yield f"{e.overrun_share:.1%} of the tasks overran their time (limit {OVERRUN_SHARE:.0%}): raise time_dilation"
    if host.busy_share > BUSY_SHARE:
        others = f"{host.others_share:.0%} by other programs: end them, or raise time_dilation"
        yield f"the host's cores were busy {host.busy_share:.0%} of the time (limit {BUSY_SHARE:.0%}), {others}"
    if host.steal_share > STEAL_SHARE:
        yield f"the hypervisor took {host.steal_share:.1%} of the host's CPU time (limit {STEAL_SHARE:.0%})"
    if e.explained.wake_ups > WAKE_UPS:
        yield f"late wake-ups made the round {e.explained.wake_ups:.1%} longer (limit {WAKE_UPS:.0%})"


def _shares(e: Explained) -> str:
    causes = {"computing": e.compute, "transfers": e.transfers, "late wake-ups": e.wake_ups}
    named = ", ".join(f"{name} {value:+.1%}" for name, value in causes.items())
    return f"{named}, unexplained {e.unexplained:+.1%}"


def link_errors(
    links_of: Callable[[int], Links], rows: Sequence[Happened], shares: Sequence[float]
) -> dict[str, tuple[float, ...]]:
    """Relative distance of each link's goodput from its plan, if it sent: at most this for these shares of its bytes.

    The plan is that of each round: a rate, and on a gated link the wait for the first slot.
    """

    def planned_s(burst: Happened) -> float:
        links = links_of(burst.round)
        return links.on_air_s(burst) + links.slot_s(burst)

    of = {link: mine for link, mine in at_places(rows).items() if is_link(link) and link != BROADCAST_PLACE}
    found = {link: speeds(mine, planned_s, shares) for link, mine in of.items()}
    return {link: tuple(speed - 1.0 for speed in each) for link, each in found.items() if each}


def steady_error(low: float, high: float) -> float:
    """How far a link is off that is off, to one side, with nine of ten bytes: from ``low`` to ``high``.

    A wrong link is wrong with every burst; a thread that wakes up late is late now and then.
    """
    return low if low > 0 else min(high, 0.0)
