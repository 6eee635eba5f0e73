"""Rounds of every kind in time, worked by hand on two UEs; and the planners' fast path, which must say the same.

With half the frame each, 10 samples take 10 ms forward, 100 ms up, 9 ms at the BS, 49.95 ms down and 20 ms backward;
the UE half's weights 10 ms up and 5 ms down.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.schedule.task import BS, Compute, Key, Schedule, Task
from agents.schemes import SCHEMES
from controller.predict.instance import Decision, Instance
from controller.predict.latency import Gate
from controller.predict.prediction import plan_of, predict, round_s, typical
from controller.predict.simulate import Timeline, simulate
from tests.unit.problems import problem, three_units

HALF, WHOLE = np.array([0.005, 0.005]), np.array([0.01, 0.01])
RECURSIVE = [name for name, scheme in SCHEMES.items() if scheme.recursion]


def decision(batch: tuple[int, int] = (10, 10), k: int = 1, cut: int = 1, **more: object) -> Decision:
    """Half of the frame for each."""
    return Decision(cut, k, np.array(batch, dtype=np.int64), HALF, HALF, **more)  # type: ignore[arg-type]


def decision_of_three(**more: object) -> Decision:
    """A third of the frame for each."""
    third = np.full(3, 0.01 / 3)
    return Decision(1, 1, np.array([6, 6, 6], dtype=np.int64), third, third, **more)  # type: ignore[arg-type]


def ends(timeline: Timeline, kind: str) -> dict[str, float]:
    """When each UE's last task of this kind ended."""
    return {e.key.ue: e.end_s for e in timeline.events if e.key.kind == kind}


def end_of(timeline: Timeline, kind: str, ue: str, micro_batch: int) -> float:
    """When a micro-batch's task ended."""
    return next(e.end_s for e in timeline.events if e.key[2:] == (micro_batch, kind, ue))


def test_psl_is_six_stages_one_after_another():
    # forward 10 ms, up 100 ms, BS 20 samples x 0.9 ms = 18 ms, down 49.95 ms, backward 20 ms
    timeline = predict(problem(), SCHEMES["psl"], decision())
    assert timeline.round_s == pytest.approx(0.010 + 0.100 + 0.018 + 0.04995 + 0.020)
    assert timeline.bs_busy_s == pytest.approx(0.018)
    assert timeline.bubble_rate == pytest.approx(1 - 0.018 / 0.19795)


def test_two_micro_batches_overlap_by_hand():
    # F 5|10, U ends 55|105, BS 9 ms each: 55-64, 105-114; tdd: downlinks from 105: 129.975, 154.95
    # backwards 10 ms each: first 129.975-139.975, second 154.95-164.95
    timeline = predict(problem(), SCHEMES["c2p2sl"], decision(k=2))
    assert timeline.round_s == pytest.approx(0.16495)
    assert end_of(timeline, "uplink", "ue1", 1) == pytest.approx(0.105)
    assert end_of(timeline, "bs_backward", BS, 0) == pytest.approx(0.064)
    assert end_of(timeline, "downlink", "ue2", 0) == pytest.approx(0.129975)


def test_full_duplex_sends_a_gradient_as_soon_as_it_exists():
    timeline = predict(problem(duplex="fdd"), SCHEMES["c2p2sl"], decision(k=2))
    assert end_of(timeline, "downlink", "ue1", 0) == pytest.approx(0.064 + 0.024975)
    assert timeline.round_s == pytest.approx(0.114 + 0.024975 + 0.010)


def test_all_forward_passes_come_before_the_first_backward_one_under_gpipe():
    # BS forward 3 ms each: 55-58, 105-108, then backward 6 ms each: 114, 120; downlinks from there
    timeline = predict(problem(), SCHEMES["gpipe"], decision(k=2))
    assert end_of(timeline, "bs_forward", BS, 0) == pytest.approx(0.058)
    assert end_of(timeline, "bs_backward", BS, 0) == pytest.approx(0.114)
    assert timeline.round_s == pytest.approx(0.114 + 2 * 0.024975 + 0.010)


def test_labels_that_stay_make_two_more_trips_through_the_air():
    # 2 MFLOP on a UE forward, 1 MFLOP at the BS; 998 bytes up (no labels), 500 down, 500 up, 999 down, a sample
    timeline = predict(problem(workload=three_units()), SCHEMES["ushape"], decision(head_cut=2))
    head_s = 10 * 3 * 3e-3  # forward and twice that backward of 3 MFLOP
    middle_s = 20 * 0.1e-3
    trips_s = 10 * (999 / 0.8e6 + 500 / 1.6e6 + 500 / 0.8e6 + 999 / 1.6e6) * 8
    assert timeline.round_s == pytest.approx(0.010 + 3 * middle_s + head_s + trips_s + 0.020)
    assert ends(timeline, "head_backward").keys() == {"ue1", "ue2"}


def test_sl_is_turns_with_weights_on_the_air():
    timeline = predict(problem(), SCHEMES["sl"], Decision(1, 1, np.array([10, 10]), WHOLE, WHOLE))
    turn_s = 0.010 + 0.050 + 0.009 + 0.024975 + 0.020
    handover_s = 1000 * 8 / 1.6e6 + 1000 * 8 / 3.2e6
    assert timeline.round_s == pytest.approx(2 * (turn_s + handover_s))
    assert [e.key.kind for e in timeline.events].count("weights_down") == 2


def test_sl_with_one_ue_has_nobody_to_hand_over_to():
    whole = np.array([0.01])
    timeline = predict(problem(n=1), SCHEMES["sl"], Decision(1, 1, np.array([20]), whole, whole))
    assert not [e for e in timeline.events if e.weights]


def test_a_ue_without_samples_in_a_micro_batch_is_not_waited_for():
    timeline = predict(problem(), SCHEMES["c2p2sl"], decision((10, 1), k=4))
    assert {e.key.micro_batch for e in timeline.events if e.key.ue == "ue2"} == {0}
    assert {e.key.micro_batch for e in timeline.events if e.key.ue == "ue1"} == {0, 1, 2, 3}


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


def test_the_order_of_the_round_decides_who_is_served_first():
    slow = problem(n=3, ue_flops=np.array([0.5e9, 1e9, 2e9]))
    even, orders = decision_of_three(), set()
    for number in range(1, 30):
        timeline = predict(slow, SCHEMES["sfl-v2"], even, seed=5, number=number)
        again = predict(slow, SCHEMES["sfl-v2"], even, seed=5, number=number)
        order = [e.key.ue for e in timeline.events if e.key.kind == "bs_forward"]
        assert order == [e.key.ue for e in again.events if e.key.kind == "bs_forward"]
        arrived, clock_s = ends(timeline, "uplink"), 0.0
        for ue in order:  # whoever is not next waits, though it may be there
            clock_s = max(arrived[ue], clock_s) + 6 * 0.9e-3
            assert ends(timeline, "bs_backward")[ue] == pytest.approx(clock_s)
        orders.add(tuple(order))
    assert len(orders) == 6


def test_the_typical_round_is_the_median_over_the_orders_to_come():
    slow, asked = problem(n=3, bs_flops=1e9, ue_flops=np.array([0.2e9, 1e9, 1e9])), decision_of_three()
    lengths = sorted(predict(slow, SCHEMES["sfl-v2"], asked, 5, number).round_s for number in range(2, 9))
    assert lengths[0] < lengths[3] < lengths[-1]
    assert typical(slow, SCHEMES["sfl-v2"], asked, 5, rounds=8).round_s == lengths[3]


def test_clusters_take_turns_and_hand_their_mean_on():
    one_by_one = Decision(1, 1, np.array([10, 10]), WHOLE, WHOLE, cluster=np.array([0, 1]), steps=2)
    timeline = predict(problem(), SCHEMES["cpsl"], one_by_one)
    batch_s = 0.010 + 0.050 + 0.009 + 0.024975 + 0.020
    assert timeline.round_s == pytest.approx(2 * (2 * batch_s + 0.005 + 0.0025))
    downs = [(e.key.ue, e.key.turn) for e in timeline.events if e.key.kind == "weights_down"]
    assert downs == [("ue2", 0), ("ue1", 1)]


def test_a_ue_of_the_next_cluster_begins_as_soon_as_it_has_the_weights():
    slow_link = problem(n=3, duplex="fdd", rate_down=np.array([3.2e6, 3.2e6, 0.32e6]))
    timeline = predict(slow_link, SCHEMES["cpsl"], decision_of_three(cluster=np.array([0, 1, 1])))
    begins = {e.key.ue: e.start_s for e in timeline.events if e.key.kind == "ue_forward"}
    got = {e.key.ue: e.end_s for e in timeline.events if e.key.kind == "weights_down" and e.key.turn == 0}
    assert begins["ue2"] == pytest.approx(got["ue2"]) and begins["ue3"] == pytest.approx(got["ue3"])
    assert begins["ue2"] < got["ue3"]


def test_shared_gradients_are_broadcast_once_at_the_slowest_ues_full_rate():
    # 5 of 10 rows paired: forward 20 + 5 rows, backward 20 - 5 rows; 5 rows at 1.6 Mbit/s, then 5 at half of its own
    uneven = problem(rate_down=np.array([3.2e6, 1.6e6]))
    timeline = predict(uneven, SCHEMES["epsl"], decision(phi=0.5))
    busy = 25 * 0.3e-3 + 15 * 0.6e-3
    broadcast = 5 * 999 * 8 / 1.6e6
    assert timeline.bs_busy_s == pytest.approx(busy)
    assert timeline.round_s == pytest.approx(0.110 + busy + broadcast + 5 * 999 * 8 / 0.8e6 + 0.020)
    (event,) = (e for e in timeline.events if e.key.kind == "broadcast")
    assert event.end_s - event.start_s == pytest.approx(broadcast)
    starts = [e.start_s for e in timeline.events if e.key.kind == "downlink"]
    assert starts == [pytest.approx(event.end_s)] * 2  # no UE hears two things at a time


def test_all_rows_paired_leave_nothing_to_unicast():
    timeline = predict(problem(), SCHEMES["epsl"], decision(phi=1.0))
    assert not ends(timeline, "downlink")
    assert timeline.round_s == pytest.approx(0.110 + 30 * 0.3e-3 + 10 * 0.6e-3 + 10 * 999 * 8 / 3.2e6 + 0.020)


def test_a_ue_of_pipar_goes_on_alone_where_both_directions_may_be_on_the_air():
    own = {"ue_cut": np.array([1, 1]), "ue_micro_batches": np.array([1, 2])}
    slow = problem(duplex="fdd", ue_flops=np.array([0.1e9, 1e9]))
    timeline = predict(slow, SCHEMES["pipar"], decision(steps=3, **own))
    starts: dict[str, list[float]] = {}
    for event in timeline.events:
        if event.key.kind == "ue_forward" and event.key.micro_batch == 0:
            starts.setdefault(event.key.ue, []).append(event.start_s)
    assert len(starts["ue1"]) == len(starts["ue2"]) == 3
    assert starts["ue2"][2] < starts["ue1"][1]  # ue2 is in its third batch while ue1 is in its first


def test_each_ue_of_pipar_is_cut_where_it_was_asked_to():
    own = {"ue_cut": np.array([1, 2]), "ue_micro_batches": np.array([1, 1])}
    timeline = predict(problem(workload=three_units()), SCHEMES["pipar"], decision(**own))
    forward = {e.key.ue: e.end_s - e.start_s for e in timeline.events if e.key.kind == "ue_forward"}
    uplink = {e.key.ue: e.end_s - e.start_s for e in timeline.events if e.key.kind == "uplink"}
    served = {e.key.ue: e.end_s - e.start_s for e in timeline.events if e.key.kind == "bs_forward"}
    assert forward == pytest.approx({"ue1": 0.010, "ue2": 0.020})
    assert uplink == pytest.approx({"ue1": 0.1, "ue2": 10 * 501 * 8 / 0.8e6})
    assert served == pytest.approx({"ue1": 0.004, "ue2": 0.003})


def test_the_bs_alone_is_never_idle():
    nothing = np.zeros(2)
    timeline = predict(problem(), SCHEMES["centralised"], Decision(0, 1, nothing.astype(np.int64), nothing, nothing))
    assert timeline.round_s == pytest.approx(20 * 1.2e-3)
    assert timeline.bubble_rate == 0.0


@pytest.mark.parametrize(
    ("name", "duplex", "count"),
    [("sfl", "tdd", 4), ("sfl", "fdd", 1), ("sfl-v2", "tdd", 4), ("fl", "tdd", 1), ("psl", "tdd", 1), ("sl", "tdd", 1)],
)
def test_only_what_no_message_says_is_waited_for_together(name, duplex, count):
    """With one antenna mode at a time every batch of SFL is a segment, and so are the weights: all downlinks first."""
    asked = decision(steps=3 if SCHEMES[name].trains else 1, cut=2 if name == "fl" else 1)
    timeline = predict(problem(duplex=duplex), SCHEMES[name], asked)
    assert len(timeline.segments_s) == count
    assert timeline.round_s == pytest.approx(max(e.end_s for e in timeline.events))


def test_a_batch_of_sfl_begins_when_all_ues_are_done_with_the_one_before_under_tdd():
    uneven = problem(ue_flops=np.array([0.1e9, 1e9]))
    scheme, asked = SCHEMES["sfl"], decision(steps=2)
    timeline = predict(uneven, scheme, asked)
    schedule = scheme.schedule(plan_of(uneven, scheme, asked), 2, "tdd")
    segment_of = schedule.segment_of
    first_s = timeline.segments_s[0]
    assert {segment_of[e.key] for e in timeline.events if e.key.step == 0 and not e.weights} == {0}
    begins = {e.key.ue: e.start_s for e in timeline.events if e.key.kind == "ue_forward" and e.key.step == 1}
    assert begins == pytest.approx({"ue1": first_s, "ue2": first_s})
    assert first_s == pytest.approx(max(e.end_s for e in timeline.events if segment_of[e.key] == 0))


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, Instance, Decision]:
    """UEs that differ a hundredfold, some of them without samples or with fewer than micro-batches, at any cost."""
    n, k, name = draw(st.integers(1, 5)), draw(st.integers(1, 7)), draw(st.sampled_from(RECURSIVE))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = rng.integers(0, draw(st.sampled_from([2, 9, 40])), n)
    batch[rng.integers(n)] += 1
    up_s, down_s = (np.where(batch > 0, 0.01 * rng.dirichlet(np.full(n, 3.0)), 0.0) for _ in range(2))
    air = draw(st.sampled_from(["dedicated", "average", "gated"]))
    instance = problem(
        n,
        int(batch.sum()),
        draw(st.sampled_from(["tdd", "fdd"])),
        shared_air=air != "dedicated",
        ue_flops=1e9 * 10 ** rng.uniform(-1, 1, n),
        bs_flops=10 ** rng.uniform(8, 11),
        rate_up=1.6e6 * 10 ** rng.uniform(-1, 1, n),
        rate_down=3.2e6 * 10 ** rng.uniform(-1, 1, n),
        message_s=draw(st.sampled_from([0.0, 0.001, 0.1])),
        message_bytes=draw(st.sampled_from([0.0, 130.0, 5000.0])),
        delay_s=draw(st.sampled_from([0.0, 0.02])),
        gated=air == "gated",
        ue_pass_s=rng.uniform(0, draw(st.sampled_from([0.0, 0.02])), n),
        bs_pass_s=draw(st.sampled_from([0.0, 0.003])),
    )
    k = k if SCHEMES[name].pipelined else 1
    first = draw(st.integers(0, k - 1)) if air != "gated" else 0
    return name, instance, Decision(1, k, batch, up_s, down_s, first_micro_batch=first)


@settings(max_examples=1200, deadline=None)
@given(cases())
def test_the_short_way_to_a_round_is_what_events_give(case):
    name, instance, asked = case
    expected = predict(instance, SCHEMES[name], asked).round_s
    assert np.isfinite(expected)
    assert round_s(instance, SCHEMES[name], asked) == pytest.approx(expected, rel=1e-9)


def test_a_worker_per_ue_serves_its_own_at_its_share_of_the_speed():
    # both arrive at 110 ms; one BS serves 9 ms each, two workers 18 ms both at once; down 49.95 from 128, backward 20
    shared, own = (predict(problem(workers=workers), SCHEMES["sfl"], decision()) for workers in ("one", "per_ue"))
    assert ends(shared, "bs_backward") == pytest.approx({"ue1": 0.119, "ue2": 0.128})
    assert ends(own, "bs_backward") == pytest.approx({"ue1": 0.128, "ue2": 0.128})
    assert {e.place for e in own.events if e.key.kind == "bs_forward"} == {"bs/ue1", "bs/ue2"}
    assert ends(own, "ue_backward")["ue1"] == pytest.approx(0.128 + 0.04995 + 0.020)
    assert own.bs_busy_s == pytest.approx(shared.bs_busy_s) == pytest.approx(0.018)


def test_who_takes_no_part_has_no_worker():
    own = predict(problem(workers="per_ue"), SCHEMES["sfl"], decision((10, 0)))
    assert own.bs_busy_s == pytest.approx(0.009)
    assert ends(own, "bs_backward") == pytest.approx({"ue1": 0.119})


@pytest.mark.parametrize("name", ["psl", "sfl", "fl"])
def test_every_pass_takes_its_fixed_time_besides(name):
    cut = 2 if name == "fl" else 1
    free, slow = (problem(ue_pass_s=np.full(2, 0.003 * x), bs_pass_s=0.007 * x) for x in (0, 1))
    before, after = (predict(p, SCHEMES[name], decision(cut=cut)) for p in (free, slow))
    seconds = [{e.key: e.end_s - e.start_s for e in timeline.events} for timeline in (before, after)]
    for key, was_s in seconds[0].items():
        more_s = {"ue": 0.003, "bs": 0.007}.get(key.kind[:2], 0.0)
        assert seconds[1][key] == pytest.approx(was_s + more_s)


def test_a_micro_batch_more_is_a_pass_more():
    # F 3+5|3+5 -> 8, 16; U 50 each: 58|108; BS 9+2x7 = 23 each: 81, 131; down 24.975 each from 108; B 13
    timeline = predict(problem(ue_pass_s=np.full(2, 0.003), bs_pass_s=0.007), SCHEMES["c2p2sl"], decision(k=2))
    assert timeline.bs_busy_s == pytest.approx(0.018 + 4 * 0.007)
    assert end_of(timeline, "bs_backward", "bs", 1) == pytest.approx(0.131)
    assert timeline.round_s == pytest.approx(0.108 + 2 * 0.024975 + 0.013)


@pytest.mark.parametrize("duplex", ["tdd", "fdd"])
def test_what_is_not_sent_waits_for_no_slot(duplex):
    rates = {"rate_up": np.array([160e6, 1.6e6]), "rate_down": np.array([320e6, 3.2e6])}
    gated = problem(duplex=duplex, gated=True, ue_flops=np.full(2, 100e9), **rates)
    scheme, asked = SCHEMES["c2p2sl"], decision((10, 1), k=2, first_micro_batch=1)
    assert round_s(gated, scheme, asked) == pytest.approx(predict(gated, scheme, asked).round_s, rel=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("duplex", ["tdd", "fdd"])
def test_the_short_way_to_a_round_knows_what_messages_cost(k, duplex):
    scheme = SCHEMES["c2p2sl"]
    for batch in ((10, 10), (17, 3), (20, 0)):
        free, costly = (problem(duplex=duplex, **cost) for cost in ({}, {"message_s": 0.002, "message_bytes": 400}))
        asked = decision(batch, k=k)
        assert round_s(costly, scheme, asked) == pytest.approx(predict(costly, scheme, asked).round_s, rel=1e-12)
        assert round_s(costly, scheme, asked) > round_s(free, scheme, asked)


def test_one_message_costs_its_bytes_on_the_link_and_its_time_before_it():
    free, costly = problem(), problem(message_s=0.002, message_bytes=100)
    before, after = (
        {e.key.kind: e for e in predict(p, SCHEMES["psl"], decision()).events if e.key.ue == "ue1"}
        for p in (free, costly)
    )
    was, now = before["uplink"], after["uplink"]
    assert now.start_s == pytest.approx(was.start_s + 0.002)
    assert now.end_s - now.start_s == pytest.approx(was.end_s - was.start_s + 100 * 8 / 0.8e6)
    later_s = after["downlink"].end_s - before["downlink"].end_s
    assert later_s == pytest.approx(2 * 0.002 + 100 * 8 / 0.8e6 + 100 * 8 / 1.6e6)


@pytest.mark.parametrize("name", list(SCHEMES))
@pytest.mark.parametrize("cost", [{"message_s": 0.002}, {"delay_s": 0.002}, {"gated": True}], ids=str)
def test_messages_make_no_scheme_faster(name, cost):
    scheme = SCHEMES[name]
    cut, head_cut = scheme.allowed_cuts(3)[0], scheme.head_cut(3)
    asked = decision(cut=cut, head_cut=head_cut)
    if scheme.turns == "none":
        asked = dataclasses.replace(asked, batch=np.zeros(2, dtype=np.int64))
    lengths = [predict(problem(workload=three_units(), **c), scheme, asked).round_s for c in ({}, cost)]
    assert lengths[1] > lengths[0] or (scheme.turns == "none" and lengths[1] == lengths[0])


def test_a_delay_counts_once_each_way():
    still, late = (predict(p, SCHEMES["psl"], decision()).round_s for p in (problem(), problem(delay_s=0.003)))
    assert late - still == pytest.approx(0.006)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.99])
@pytest.mark.parametrize("packets", [1, 3, 4, 5, 29])
def test_what_a_message_waits_for_its_slots_is_what_netem_makes_it_wait(packets, share):
    """The kernel's rule packet by packet: a slot opens a period after the first packet, and takes four of them."""
    period_s, of_a_slot = 0.01, 4
    packet_s = share * period_s / of_a_slot
    slots_before, place = divmod(packets - 1, of_a_slot)
    ends_s = period_s * (1 + slots_before) + (place + 1) * packet_s
    gate = Gate(np.array([period_s]), np.array([share]))
    at_mean_rate_s = packets * period_s / of_a_slot
    assert at_mean_rate_s + gate.wait_s(np.array([at_mean_rate_s]))[0] == pytest.approx(ends_s)


def test_a_task_that_is_held_begins_no_sooner_and_keeps_nobody_else():
    tasks = [Task(Key(0, 0, m, "bs_forward", "bs"), "bs", Compute("bs", 0, 1, 1, 1)) for m in range(3)]
    held = tasks[0].key
    in_order, as_ready = Schedule(tuple(tasks)), Schedule(tuple(tasks), frozenset({"bs"}))

    def starts(schedule):
        found = simulate(schedule, lambda task: 1.0, earliest_s=lambda task: 2.5 if task.key == held else 0.0)
        return {event.key.micro_batch: event.start_s for event in found.events}

    assert starts(in_order) == {0: 2.5, 1: 3.5, 2: 4.5}
    assert starts(as_ready) == {1: 0.0, 2: 1.0, 0: 2.5}
