"""Golden rounds in, the cause of their error out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from agents.plan import Plan, UePlan
from controller.judge.explain import Links, chain, explain
from controller.judge.measured import Happened, round_row
from controller.predict.latency import Gate, Latency

PLAN = Plan("t", "psl", "uniform", 1, 1, 1.0, {"ue1": UePlan(4, 0.005, 0.005, 8e3, 16e3)})
PERFECT = (  # forward 1 s, 1000 bytes up 1 s, BS 1 + 2 s, 1000 bytes down 0.5 s, backward 2 s
    Happened(2, "ue_forward", "ue1", 0, 0, 0.0, 1.0),
    Happened(2, "uplink", "ue1", 0, 0, 1.0, 2.0, bytes=1000),
    Happened(2, "bs_forward", "bs", 0, 0, 2.0, 3.0),
    Happened(2, "bs_backward", "bs", 0, 0, 3.0, 5.0),
    Happened(2, "downlink", "ue1", 0, 0, 5.0, 5.5, bytes=1000),
    Happened(2, "ue_backward", "ue1", 0, 0, 5.5, 7.5),
)
PREDICTED_S = 7.5


def disturbed(number: int, longer_s: float, gap_s: float = 0.0, **marks: float) -> list[Happened]:
    """The perfect round with one task begun late or stretched, and all after it moved."""
    rows = []
    for i, row in enumerate(PERFECT):
        begin, end = (
            (gap_s if i >= number else 0.0) + (longer_s if i > number else 0.0),
            (longer_s + gap_s if i >= number else 0.0),
        )
        row = dataclasses.replace(row, start_s=row.start_s + begin, end_s=row.end_s + end)
        rows.append(dataclasses.replace(row, **marks) if i == number else row)
    return rows


def causes(rows: list[Happened]) -> dict[str, float]:
    found = explain(PLAN, PREDICTED_S, [round_row(2, rows, 0.0)], rows).model_dump()
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
    rows = disturbed(1, 0.0, gap_s=0.3)
    found = explain(PLAN, PREDICTED_S + 0.2, [round_row(2, rows, 0.0)], rows, Latency(0.2))
    assert found.wake_ups * (PREDICTED_S + 0.2) == pytest.approx(0.1)
    assert found.unexplained == pytest.approx(0.0, abs=1e-9)


def test_a_round_is_held_against_its_own_prediction():
    slow_device = disturbed(5, 1.5)
    foreseen = round_row(2, slow_device, 0.0).model_copy(update={"predicted_s": PREDICTED_S + 1.5})
    assert explain(PLAN, PREDICTED_S, [foreseen], slow_device).unexplained == pytest.approx(0.0, abs=1e-9)


def test_the_wait_for_a_slot_is_part_of_the_plan():
    gate = Gate(np.array([0.4]), np.array([0.5]))  # of an uplink of a second: half of the third slot is used
    rows = disturbed(1, 0.3, gap_s=0.1)
    found = explain(PLAN, PREDICTED_S + 0.4, [round_row(2, rows, 0.0)], rows, Latency(0.1, gate))
    assert [found.compute, found.transfers, found.wake_ups, found.unexplained] == pytest.approx([0.0] * 4, abs=1e-9)


def test_a_processor_that_woke_up_late_and_made_up_for_it_has_delayed_nothing():
    rows = list(PERFECT)
    rows[2] = dataclasses.replace(rows[2], end_s=3.2, late_s=0.2)
    rows[3] = dataclasses.replace(rows[3], start_s=3.2)
    assert causes(rows) == {}


def test_only_the_chain_that_the_round_waited_for_counts():
    idle_ue = Happened(2, "ue_forward", "ue2", 0, 0, 0.0, 0.9, overrun_s=0.5)
    assert chain([*PERFECT, idle_ue], Links(PLAN)).compute_s == 0.0


def test_causes_add_up_to_the_error_of_the_typical_round():
    slow = disturbed(1, 0.3)
    rounds = {1: slow, 2: list(PERFECT), 3: slow, 4: slow, 5: disturbed(3, 3.0, overrun_s=3.0)}
    rows = [dataclasses.replace(row, round=number) for number, found in rounds.items() for row in found]
    found = explain(PLAN, PREDICTED_S, [round_row(n, rs, 0.0) for n, rs in rounds.items()], rows)
    assert found.transfers == pytest.approx(0.3 / PREDICTED_S)
    assert found.compute == found.wake_ups == 0.0
