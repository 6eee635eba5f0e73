"""Golden rounds in, the cause of their error out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from agents.plan import Plan, UePlan
from agents.schemes import SCHEMES
from controller.judge.explain import Links, chain, explain
from controller.judge.measured import Happened, round_row
from controller.judge.results import Explained, Round
from controller.predict.instance import Decision
from controller.predict.latency import NONE, Gate, Latency, latency
from controller.predict.prediction import costs_of, plan_of, predict
from tests.recorded import as_predicted
from tests.unit.problems import problem, three_units
from tests.unit.rows import row, schedule_of

PLAN = Plan("t", "psl", "uniform", 1, 1, 1.0, {"ue1": UePlan(4, 0.005, 0.005, 8e3, 16e3)})
PERFECT = (  # forward 1 s, 1000 bytes up 1 s, BS 1 + 2 s, 1000 bytes down 0.5 s, backward 2 s
    row(2, "ue_forward", "ue1", 0, 0.0, 1.0),
    row(2, "uplink", "ue1", 0, 1.0, 2.0, bytes=1000),
    row(2, "bs_forward", "ue1", 0, 2.0, 3.0),
    row(2, "bs_backward", "ue1", 0, 3.0, 5.0),
    row(2, "downlink", "ue1", 0, 5.0, 5.5, bytes=1000),
    row(2, "ue_backward", "ue1", 0, 5.5, 7.5),
)
PREDICTED_S = 7.5


def disturbed(number: int, longer_s: float, gap_s: float = 0.0, **marks: float) -> list[Happened]:
    """The perfect round with one task begun late or stretched, and all after it moved."""
    rows = []
    for i, one in enumerate(PERFECT):
        begin, end = (
            (gap_s if i >= number else 0.0) + (longer_s if i > number else 0.0),
            (longer_s + gap_s if i >= number else 0.0),
        )
        one = dataclasses.replace(one, start_s=one.start_s + begin, end_s=one.end_s + end)
        rows.append(dataclasses.replace(one, **marks) if i == number else one)
    return rows


def later(rows: list[Happened], number: int, gap_s: float) -> list[Happened]:
    """The same with a gap before one task."""
    return [
        dataclasses.replace(one, start_s=one.start_s + gap_s, end_s=one.end_s + gap_s) if i >= number else one
        for i, one in enumerate(rows)
    ]


def explained(rows: list[Happened], predicted_s: float, *rounds: Round, waits: Latency = NONE) -> Explained:
    """Rows of rounds of the plan (of round 2 unless they are given), taken apart."""
    found = list(rounds) or [round_row(2, rows, 0.0)]
    return explain(lambda _: Links(PLAN, waits), lambda _: schedule_of(PLAN), predicted_s, found, rows)


def causes(rows: list[Happened]) -> dict[str, float]:
    found = explained(rows, PREDICTED_S).model_dump()
    return {cause: share * PREDICTED_S for cause, share in found.items() if abs(share) > 1e-9}


def test_a_perfect_round_has_nothing_to_explain():
    assert causes(list(PERFECT)) == {}


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (disturbed(0, 0.3, overrun_s=0.3), "compute"),
        (disturbed(3, 0.3, overrun_s=0.3), "compute"),
        (disturbed(1, 0.3), "transfers"),
        (disturbed(4, 0.3), "transfers"),
        (disturbed(5, 0.3, late_s=0.3), "wake_ups"),
        (disturbed(1, 0.0, gap_s=0.3), "wake_ups"),
        (disturbed(4, 0.0, gap_s=0.3), "wake_ups"),
        (disturbed(5, 0.3), "unexplained"),
    ],
)
def test_each_delay_has_its_cause(rows, cause):
    assert causes(rows) == {cause: pytest.approx(0.3)}


def test_what_the_prediction_allows_for_passing_a_message_on_is_no_delay():
    rows = later(later(list(PERFECT), 1, 0.3), 4, 0.2)  # the way up 0.1 s later than foreseen, the way down as foreseen
    found = explained(rows, PREDICTED_S + 0.4, waits=Latency(0.2))
    assert found.wake_ups * (PREDICTED_S + 0.4) == pytest.approx(0.1)
    assert found.unexplained == pytest.approx(0.0, abs=1e-9)


def test_a_round_is_held_against_its_own_prediction():
    slow_device = disturbed(5, 1.5)
    foreseen = round_row(2, slow_device, 0.0).model_copy(update={"predicted_s": PREDICTED_S + 1.5})
    assert explained(slow_device, PREDICTED_S, foreseen).unexplained == pytest.approx(0.0, abs=1e-9)


def test_the_wait_for_a_slot_is_part_of_the_plan():
    gate = Gate(np.array([0.4]), np.array([0.5]))  # of an uplink of a second: half of the third slot is used
    rows = later(disturbed(1, 0.3, gap_s=0.1), 4, 0.1)
    found = explained(rows, PREDICTED_S + 0.5, waits=Latency(0.1, gate))
    assert [found.compute, found.transfers, found.wake_ups, found.unexplained] == pytest.approx([0.0] * 4, abs=1e-9)


def test_a_processor_that_woke_up_late_and_made_up_for_it_has_delayed_nothing():
    rows = list(PERFECT)
    rows[2] = dataclasses.replace(rows[2], end_s=3.2, late_s=0.2)
    rows[3] = dataclasses.replace(rows[3], start_s=3.2)
    assert causes(rows) == {}


def test_only_the_chain_that_the_round_waited_for_counts():
    both = dataclasses.replace(PLAN, ues={**PLAN.ues, "ue2": PLAN.ues["ue1"]})
    joint = [dataclasses.replace(one, ue="bs") if one.place == "bs" else one for one in PERFECT]
    idle_ue = [
        row(2, "ue_forward", "ue2", 0, 0.0, 0.9, overrun_s=0.5),
        row(2, "uplink", "ue2", 0, 0.9, 1.9, bytes=1000),
        row(2, "downlink", "ue2", 0, 5.0, 5.4, bytes=800),
        row(2, "ue_backward", "ue2", 0, 5.4, 7.3, overrun_s=0.5),
    ]
    found = chain([*joint, *idle_ue], schedule_of(both), Links(both))
    assert found.compute_s == 0.0
    assert [key.kind for key in found.tasks] == [one.task for one in PERFECT]
    assert {key.ue for key in found.tasks} == {"ue1", "bs"}


def test_causes_add_up_to_the_error_of_the_typical_round():
    slow = disturbed(1, 0.3)
    rounds = {1: slow, 2: list(PERFECT), 3: slow, 4: slow, 5: disturbed(3, 3.0, overrun_s=3.0)}
    rows = [dataclasses.replace(one, round=number) for number, some in rounds.items() for one in some]
    found = explained(rows, PREDICTED_S, *(round_row(n, some, 0.0) for n, some in rounds.items()))
    assert found.transfers == pytest.approx(0.3 / PREDICTED_S)
    assert found.compute == found.wake_ups == 0.0


def as_foreseen(name: str, duplex: str, k: int, message_s: float, workers: str = "one") -> tuple[Explained, float]:
    """A round of a scheme that went exactly as predicted, taken apart; and what its chain misses of the round (s)."""
    scheme = SCHEMES[name]
    costly = problem(
        n=3, duplex=duplex, workload=three_units(), message_s=message_s, message_bytes=130,
        ue_flops=np.array([1e9, 0.4e9, 2e9]), workers=workers,
    )  # fmt: skip
    batch, slots = np.array([9, 5, 6]) * (scheme.turns != "none"), np.full(3, 0.003)
    more = {"steps": 2 if scheme.trains else 1, "phi": 0.5 if "phi" in scheme.keys else 0.0}
    cut, clusters, head_cut = scheme.allowed_cuts(3)[0], np.array([0, 1, 0]), scheme.head_cut(3)
    decision = Decision(cut, k, batch, slots, slots, clusters, head_cut=head_cut, **more)
    plan, timeline = plan_of(costly, scheme, decision), predict(costly, scheme, decision)
    schedule, links = scheme.schedule(plan, 3, duplex), Links(plan, latency(costly, decision))
    rows = as_predicted(timeline, schedule, costs_of(costly))
    found = explain(lambda _: links, lambda _: schedule, timeline.round_s, [round_row(2, rows, 0.0)], rows)
    return found, timeline.round_s - chain(rows, schedule, links).planned_s


@pytest.mark.parametrize("duplex", ["tdd", "fdd"])
@pytest.mark.parametrize("name", SCHEMES)
def test_a_round_of_any_scheme_that_goes_as_predicted_has_nothing_to_explain(name, duplex):
    """The chain is walked on the schedule from which the round was predicted, to its very start."""
    for k in (1, 3) if SCHEMES[name].pipelined else (1,):
        for workers in ("one", "per_ue") if SCHEMES[name].replicas else ("one",):
            for message_s in (0.0, 0.0005):
                found, missing_s = as_foreseen(name, duplex, k, message_s=message_s, workers=workers)
                assert max(map(abs, found.model_dump().values())) < 1e-9
                assert missing_s == pytest.approx(0.0, abs=1e-9)


def test_a_bs_that_serves_as_they_come_has_made_others_wait_for_whom_it_served_first():
    slow_bs, scheme = problem(bs_flops=1e9, duplex="fdd"), SCHEMES["sfl"]
    slots = np.full(2, 0.005)
    decision = Decision(1, 1, np.array([10, 10]), slots, slots)
    plan, timeline = plan_of(slow_bs, scheme, decision), predict(slow_bs, scheme, decision)
    schedule = scheme.schedule(plan, 2, "fdd")
    rows = as_predicted(timeline, schedule, costs_of(slow_bs))
    found = chain(rows, schedule, Links(plan))
    assert found.planned_s == pytest.approx(timeline.round_s) and found.wake_ups_s == pytest.approx(0.0, abs=1e-9)
    assert [(key.kind, key.ue) for key in found.tasks if key.kind.startswith("bs")] == [
        *(("bs_forward", "ue1"), ("bs_backward", "ue1"), ("bs_forward", "ue2"), ("bs_backward", "ue2")),
    ]


def test_a_message_that_got_ready_while_its_link_was_busy_has_waited_since_then():
    found, _ = as_foreseen("c2p2sl", "fdd", 4, message_s=0.02)
    assert max(map(abs, found.model_dump().values())) < 1e-9


def test_rows_that_wait_for_each_other_end_in_an_error_and_not_never():
    *before, last = PERFECT
    around = [*before, dataclasses.replace(last, start_s=-1.0)]  # so its UE did it before its first task
    with pytest.raises(ValueError, match="waited for itself"):
        chain(around, schedule_of(PLAN), Links(PLAN))
