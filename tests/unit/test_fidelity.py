"""Golden evidence in, the verdict and its reasons out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.plan import Plan, UePlan
from controller.judge.explain import Links
from controller.judge.host_load import host_load
from controller.judge.results import Explained, HostLoad, Spread, Summary
from controller.judge.verdict import Evidence, judge, link_errors, steady_error
from tests.unit.rows import row

CALM = HostLoad(
    busy_share=0.5, others_share=0.01, steal_share=0.0, throttled_share=0.0, waited_share=0.1, clock_jump_s=0.0
)
NOTHING = Explained(compute=0.0, transfers=0.0, wake_ups=0.0, unexplained=0.0)
SATURATED = CALM.model_copy(update={"busy_share": 0.999, "others_share": 0.8})


def summary(error: float = 0.0, bubbles: float = 0.0) -> Summary:
    spread = Spread(median=1.0 + error, p5=1.0, p95=1.1)
    predicted = {"predicted_s": 1.0, "predicted_bubble_rate": 0.5 - bubbles}
    return Summary(round_s=spread, bubble_rate=0.5, **predicted, round_error=error, bubble_rate_error=bubbles)


GOOD = Evidence(summary(), 100, (), {"ue1/up": 0.004, "ue1/down": -0.01}, {"ue1/up": 0.0}, NOTHING, CALM)
DOUBTFUL = replace(GOOD, summary=summary(0.02))


def test_nothing_against_it():
    verdict = judge(GOOD)
    assert (verdict.ok, verdict.reasons, verdict.notes) == (True, [], [])
    assert verdict.link_error_max == 0.01


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (replace(GOOD, summary=summary(0.031)), "the round took +3.1% against prediction"),
        (replace(GOOD, summary=summary(-0.031)), "the round took -3.1% against prediction"),
        (replace(GOOD, summary=summary(0.0, 0.03)), "the bubble rate is off by +0.030"),
        (replace(GOOD, steady_link_errors={"ue2/down": -0.05}), "goodput of ue2/down is -5.0% off its plan most"),
        (replace(GOOD, host=CALM.model_copy(update={"clock_jump_s": 1.5})), "a clock of the host jumped by 1.50 s"),
    ],
)
def test_a_number_off_its_limit_is_a_reason(evidence, words):
    verdict = judge(evidence)
    assert not verdict.ok
    assert words in verdict.reasons[0]


CAUSES = [
    ({"link_errors": {"ue1/up": 0.01, "ue2/up": -0.04}}, "the median goodput of ue2/up is -4.0% off its plan"),
    ({"overruns": (0.1, 0.2, 0.3)}, "3.0% of the tasks overran their time"),
    ({"host": SATURATED}, "the host's cores were busy 100% of the time (limit 95%), 80% by other programs"),
    ({"host": CALM.model_copy(update={"steal_share": 0.04})}, "the hypervisor took 4.0%"),
    ({"explained": NOTHING.model_copy(update={"wake_ups": 0.018})}, "late wake-ups made the round 1.8% longer"),
]


@pytest.mark.parametrize(("change", "words"), CAUSES)
def test_a_cause_is_a_reason_where_the_round_is_doubtful(change, words):
    verdict = judge(replace(DOUBTFUL, **change))
    assert not verdict.ok
    assert words in verdict.reasons[0]


@pytest.mark.parametrize(("change", "words"), CAUSES)
def test_a_cause_that_did_not_touch_the_round_is_a_note(change, words):
    verdict = judge(replace(GOOD, **change))
    assert verdict.ok
    assert words in verdict.notes[0]


def test_a_doubtful_round_without_a_cause_is_believed():
    assert judge(DOUBTFUL).ok


def test_a_wrong_round_says_what_made_it_long_and_what_caused_that():
    explained = Explained(compute=0.05, transfers=0.01, wake_ups=0.02, unexplained=-0.01)
    verdict = judge(replace(GOOD, summary=summary(0.07), explained=explained, host=SATURATED))
    assert "computing +5.0%, transfers +1.0%, late wake-ups +2.0%, unexplained -1.0%" in verdict.reasons[0]
    assert any("by other programs: end them" in reason for reason in verdict.reasons[1:])


PLAN = Plan("t", "psl", "uniform", 1, 1, 1.0, {"ue1": UePlan(4, 0.005, 0.005, 8e3, 16e3)})


@pytest.mark.parametrize(
    ("seconds", "median", "steady"),
    [
        ([1.0] * 11 + [1.5], 0.0, 0.0),  # late once
        ([1.0] + [1.1] * 10 + [1.2], 1 / 1.1 - 1, 1 / 1.1 - 1),  # a slow link, but for a burst
        ([1.0] * 2 + [1.1] * 10, 1 / 1.1 - 1, 0.0),  # most of the time, but it can be as fast as planned
        ([0.9] * 12, 1 / 0.9 - 1, 1 / 0.9 - 1),  # too fast
    ],
)
def test_a_wrong_link_is_wrong_nearly_always(seconds, median, steady):
    rows = [row(2 + i, "uplink", "ue1", 0, 0.0, s, bytes=1000) for i, s in enumerate(seconds)]
    ((link, (low, half, high)),) = link_errors(lambda _: Links(PLAN), rows, (0.1, 0.5, 0.9)).items()
    assert (link, half) == ("ue1/up", pytest.approx(median))
    assert steady_error(low, high) == pytest.approx(steady)


def sight(kernel: str = "a", **changes: float) -> dict[str, float | str]:
    """Ten seconds on two cores, half idle, one agent's CPU second among them."""
    values = {"cpu_s": 20.0, "idle_s": 10.0, "steal_s": 0.0, "own_s": 1.0, "throttled_s": 0.0}
    return {"kernel": kernel, "monotonic_s": 10.0, "realtime_s": 10.0, **values, **changes}


def test_what_agents_of_one_host_use_is_not_other_programs():
    load = host_load([{"bs": sight(own_s=4.0), "ue1": sight(own_s=5.0, monotonic_s=9.0)}])
    assert (load.busy_share, load.others_share) == (0.5, pytest.approx(0.05))


def test_of_several_hosts_the_busiest_counts():
    load = host_load([{"bs": sight(), "ue1": sight("b", idle_s=1.0, steal_s=2.0)}])
    assert (load.busy_share, load.steal_share) == (0.95, 0.1)


def test_throttling_and_jumps_are_those_of_the_worst_agent():
    load = host_load([{"bs": sight(), "ue1": sight(throttled_s=3.0)}, {"bs": sight(realtime_s=9.5), "ue1": sight()}])
    assert (load.throttled_share, load.clock_jump_s) == (0.15, 0.5)


def test_what_computations_waited_for_a_core_is_a_share_of_what_they_wanted_of_it():
    rows = [row(2, "ue_forward", "ue1", m, 0.0, 1.0, cpu_s=0.03, wait_s=0.01) for m in range(3)]
    assert host_load([], rows).waited_share == pytest.approx(0.25)


def test_a_host_that_shows_nothing_is_not_accused():
    assert host_load([{"bs": {"kernel": "", "monotonic_s": 1.0, "realtime_s": 1.0}}]).busy_share == 0.0
