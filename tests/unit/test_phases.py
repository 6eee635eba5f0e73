"""Predicted rounds of every kind of row, by hand on two UEs.

With half the frame each, 10 samples take 10 ms forward, 100 ms up, 9 ms at the BS, 49.95 ms down and 20 ms backward;
the UE half's weights 10 ms up and 5 ms down.
"""

from __future__ import annotations

import numpy as np
import pytest

from agents.scheme import SCHEMES, order_of, phases
from controller.predict.instance import Decision
from controller.predict.timeline import predict, round_s, typical
from tests.unit.problems import problem

HALF = np.array([0.005, 0.005])
BATCH = np.array([10, 10], dtype=np.int64)


def decision(cut: int = 1, k: int = 1, **more: object) -> Decision:
    """Equal batches and slots."""
    return Decision(cut, k, BATCH, HALF, HALF, **more)  # type: ignore[arg-type]


def ends(timeline, task: str) -> dict[str, float]:
    """When each UE's last task of this kind ended."""
    return {e.ue: e.end_s for e in timeline.events if e.task == task}


def test_fl_trains_alone_and_then_moves_the_whole_model():
    # 10 samples x 4 ms forward, x 8 ms backward, three times; 1500 bytes up at 0.8 Mbit/s, down at 1.6
    timeline = predict(problem(ue_flops=np.array([1e9, 2e9])), SCHEMES["fl"], decision(cut=2, steps=3))
    assert ends(timeline, "ue_backward") == pytest.approx({"ue1": 0.36, "ue2": 0.18})
    assert ends(timeline, "weights_up") == pytest.approx({"ue1": 0.375, "ue2": 0.195})  # as soon as each is done
    assert timeline.round_s == pytest.approx(0.36 + 0.015 + 0.0075)
    assert timeline.bubble_rate == 1.0


def test_replicas_are_served_one_after_another_as_they_come():
    slow = problem(ue_flops=np.array([0.5e9, 1e9]))  # ue2 arrives first: at 110 ms, ue1 at 120
    timeline = predict(slow, SCHEMES["sfl"], decision())
    assert ends(timeline, "downlink") == pytest.approx({"ue2": 0.120 + 0.04995, "ue1": 0.129 + 0.04995})
    trained = 0.129 + 0.04995 + 0.040
    assert timeline.round_s == pytest.approx(trained + 0.010 + 0.005)
    assert timeline.bs_busy_s == pytest.approx(0.018)


def test_the_drawn_order_decides_who_is_served_first():
    for number in (1, 2, 3):
        timeline = predict(problem(), SCHEMES["sfl-v2"], decision(), seed=5, number=number)
        first = order_of(["ue1", "ue2"], 5, number, 0)[0]
        assert ends(timeline, "downlink")[first] == pytest.approx(0.119 + 0.04995)


def test_the_typical_round_is_the_median_over_the_orders_to_come():
    slow = problem(ue_flops=np.array([0.2e9, 1e9]))
    lengths = sorted(predict(slow, SCHEMES["sfl-v2"], decision(), 5, number).round_s for number in range(2, 9))
    assert typical(slow, SCHEMES["sfl-v2"], decision(), 5, rounds=8).round_s == lengths[3]


def test_clusters_take_turns_and_hand_their_mean_on():
    whole = np.array([0.01, 0.01])
    one_by_one = Decision(1, 1, BATCH, whole, whole, cluster=np.array([0, 1]), steps=2)
    timeline = predict(problem(), SCHEMES["cpsl"], one_by_one)
    batch_s = 0.010 + 0.050 + 0.009 + 0.024975 + 0.020
    assert timeline.round_s == pytest.approx(2 * (2 * batch_s + 0.005 + 0.0025))
    downs = [(e.ue, e.turn) for e in timeline.events if e.task == "weights_down"]
    assert downs == [("ue2", 0), ("ue1", 1)]


def test_shared_gradients_are_broadcast_once_at_the_slowest_ues_full_rate():
    # 5 of 10 rows paired: forward 20 + 5 rows, backward 20 - 5 rows; 5 rows at 1.6 Mbit/s, then 5 at half of its own
    uneven = problem(rate_down=np.array([3.2e6, 1.6e6]))
    timeline = predict(uneven, SCHEMES["epsl"], decision(phi=0.5))
    busy = 25 * 0.3e-3 + 15 * 0.6e-3
    broadcast = 5 * 999 * 8 / 1.6e6
    assert timeline.bs_busy_s == pytest.approx(busy)
    assert timeline.round_s == pytest.approx(0.110 + busy + broadcast + 5 * 999 * 8 / 0.8e6 + 0.020)
    seconds = [e.end_s - e.start_s for e in timeline.events if e.task == "broadcast"]
    assert seconds == pytest.approx([broadcast, broadcast])


def test_all_rows_paired_leave_nothing_to_unicast():
    timeline = predict(problem(), SCHEMES["epsl"], decision(phi=1.0))
    assert not ends(timeline, "downlink")
    assert timeline.round_s == pytest.approx(0.110 + 30 * 0.3e-3 + 10 * 0.6e-3 + 10 * 999 * 8 / 3.2e6 + 0.020)


def test_a_ue_of_pipar_goes_on_alone_where_both_directions_may_be_on_the_air():
    own = {"ue_cut": np.array([1, 1]), "ue_micro_batches": np.array([1, 2])}
    slow = problem(duplex="fdd", ue_flops=np.array([0.1e9, 1e9]))
    timeline = predict(slow, SCHEMES["pipar"], decision(steps=3, **own))
    starts = {}
    for event in timeline.events:
        if event.task == "ue_forward" and event.micro_batch == 0:
            starts.setdefault(event.ue, []).append(event.start_s)
    assert len(starts["ue1"]) == len(starts["ue2"]) == 3
    assert starts["ue2"][2] < starts["ue1"][1]  # ue2 is in its third batch while ue1 is in its first


def test_with_one_antenna_mode_at_a_time_every_batch_is_a_phase():
    clusters = {"ue1": 0, "ue2": 0}
    assert [p.steps for p in phases(SCHEMES["sfl"], clusters, 3, "tdd")] == [1, 1, 1, 0]
    assert [p.steps for p in phases(SCHEMES["sfl"], clusters, 3, "fdd")] == [3]
    assert [p.steps for p in phases(SCHEMES["fl"], clusters, 3, "tdd")] == [3]
    assert not any(p.syncs for p in phases(SCHEMES["sfl"], {"ue1": 0}, 3, "tdd"))


def test_the_bs_alone_is_never_idle():
    nothing = np.zeros(2)
    timeline = predict(problem(), SCHEMES["centralised"], Decision(0, 1, nothing.astype(np.int64), nothing, nothing))
    assert timeline.round_s == pytest.approx(20 * 1.2e-3)
    assert timeline.bubble_rate == 0.0


@pytest.mark.parametrize("scheme", ["psl", "c2p2sl"])
@pytest.mark.parametrize("duplex", ["tdd", "fdd"])
def test_the_short_way_to_a_round_agrees_with_its_events(scheme, duplex):
    for k in (1,) if scheme == "psl" else (1, 3, 7):
        d = decision(k=k)
        assert round_s(problem(duplex=duplex), SCHEMES[scheme], d) == pytest.approx(
            predict(problem(duplex=duplex), SCHEMES[scheme], d).round_s, rel=1e-12
        )
