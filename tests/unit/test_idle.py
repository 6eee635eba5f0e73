"""Idle times of PiPar's section V-B2, beside those of the whole BS."""

from __future__ import annotations

import numpy as np
import pytest

from agents.schemes import SCHEMES
from controller.judge.measured import Happened, idle_times, round_row
from controller.predict.idle import idle
from controller.predict.prediction import predict
from tests.unit.problems import problem
from tests.unit.rows import row
from tests.unit.test_simulate import decision


@pytest.mark.parametrize("workers", ["one", "per_ue"])
def test_a_process_waits_for_its_device_until_it_has_its_weights(workers):
    # ue2 is slower by far: its weights are there at the end but for 5 ms down, ue1's long before
    slow = problem(duplex="fdd", workers=workers, ue_flops=np.array([1e9, 0.1e9]))
    timeline = predict(slow, SCHEMES["sfl"], decision())
    ends = {e.key.ue: e.end_s for e in timeline.events if e.key.kind == "weights_up"}
    served_s = 0.009 if workers == "one" else 0.018
    found = idle(timeline.events, timeline.round_s)
    assert found.bs_idle_s == pytest.approx((ends["ue1"] + ends["ue2"]) / 2 - served_s)
    assert found.ue_idle_s == pytest.approx(timeline.round_s - (0.03 + 0.3) / 2)
    assert ends["ue2"] == pytest.approx(timeline.round_s - 0.005)
    assert found.bs_idle_s < timeline.bs_idle_s


def test_under_fl_a_process_waits_for_all_that_its_device_does():
    timeline = predict(problem(), SCHEMES["fl"], decision(cut=2))
    found = idle(timeline.events, timeline.round_s)
    assert found.bs_idle_s == pytest.approx(max(e.end_s for e in timeline.events if e.key.kind == "weights_up"))
    assert found.ue_idle_s == pytest.approx(timeline.round_s - 0.120)


def test_what_was_measured_is_the_mean_of_the_rounds_after_the_first():
    def round_of(number: int, wait_s: float) -> list[Happened]:
        return [
            row(number, "ue_forward", "ue1", 0, 0.0, 1.0),
            row(number, "uplink", "ue1", 0, 1.0, 2.0 + wait_s),
            row(number, "bs_forward", "ue1", 0, 2.0 + wait_s, 3.0 + wait_s),
            row(number, "downlink", "ue1", 0, 3.0 + wait_s, 4.0 + wait_s),
            row(number, "ue_backward", "ue1", 0, 4.0 + wait_s, 5.0 + wait_s),
        ]

    rows = [one for number, wait_s in ((1, 9.0), (2, 1.0), (3, 2.0)) for one in round_of(number, wait_s)]
    rounds = [round_row(number, [one for one in rows if one.round == number], 0.0) for number in (1, 2, 3)]
    assert idle_times(rows, rounds) == pytest.approx({"bs_idle_s": 5.5, "ue_idle_s": 4.5})
