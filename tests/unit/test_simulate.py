"""The timeline worked by hand, and held against an event simulation that shares no code with it."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.schemes import SCHEMES
from controller.predict.instance import Decision
from controller.predict.latency import Gate, Latency
from controller.predict.recursion import turn_ends
from controller.predict.timeline import predict, round_s
from controller.predict.timing import TaskTimes, split_batches
from tests.unit.problems import problem

HALF = np.array([0.005, 0.005])


def both(batch: tuple[int, int] = (10, 10), k: int = 1) -> Decision:
    return Decision(1, k, np.array(batch, dtype=np.int64), HALF, HALF)


def test_psl_is_six_stages_one_after_another():
    # forward 10 ms, up 100 ms, BS 20 samples x 0.9 ms = 18 ms, down 49.95 ms, backward 20 ms
    timeline = predict(problem(), SCHEMES["psl"], both())
    assert timeline.round_s == pytest.approx(0.010 + 0.100 + 0.018 + 0.04995 + 0.020)
    assert timeline.bs_busy_s == pytest.approx(0.018)
    assert timeline.bubble_rate == pytest.approx(1 - 0.018 / 0.19795)


def test_two_micro_batches_overlap_by_hand():
    # F 5|10, U ends 55|105, BS 9 ms each: 55-64, 105-114; tdd: downlinks from 105: 129.975, 154.95
    # backwards 10 ms each: first 129.975-139.975, second 154.95-164.95
    timeline = predict(problem(), SCHEMES["c2p2sl"], both(k=2))
    assert timeline.round_s == pytest.approx(0.16495)
    ends = {(e.task, e.ue, e.micro_batch): e.end_s for e in timeline.events}
    assert ends["uplink", "ue1", 1] == pytest.approx(0.105)
    assert ends["bs_backward", "bs", 0] == pytest.approx(0.064)
    assert ends["downlink", "ue2", 0] == pytest.approx(0.129975)


def test_full_duplex_sends_a_gradient_as_soon_as_it_exists():
    timeline = predict(problem(duplex="fdd"), SCHEMES["c2p2sl"], both(k=2))
    ends = {(e.task, e.ue, e.micro_batch): e.end_s for e in timeline.events}
    assert ends["downlink", "ue1", 0] == pytest.approx(0.064 + 0.024975)
    assert timeline.round_s == pytest.approx(0.114 + 0.024975 + 0.010)


def test_sl_is_turns_with_weights_on_the_air():
    whole = np.array([0.01, 0.01])
    timeline = predict(problem(), SCHEMES["sl"], Decision(1, 1, np.array([10, 10]), whole, whole))
    turn_s = 0.010 + 0.050 + 0.009 + 0.024975 + 0.020
    handover_s = 1000 * 8 / 1.6e6 + 1000 * 8 / 3.2e6
    assert timeline.round_s == pytest.approx(2 * (turn_s + handover_s))
    assert [e.task for e in timeline.events].count("weights_down") == 2


def test_sl_with_one_ue_has_nobody_to_hand_over_to():
    whole = np.array([0.01])
    timeline = predict(problem(n=1), SCHEMES["sl"], Decision(1, 1, np.array([20]), whole, whole))
    assert not [e for e in timeline.events if e.task.startswith("weights")]


def test_a_ue_without_samples_in_a_micro_batch_is_not_waited_for():
    timeline = predict(problem(), SCHEMES["c2p2sl"], both((10, 1), k=4))
    assert {e.micro_batch for e in timeline.events if e.ue == "ue2"} == {0}
    assert {e.micro_batch for e in timeline.events if e.ue == "ue1"} == {0, 1, 2, 3}


def simulate(times: TaskTimes, duplex: str) -> float:
    """The round by discrete events: every task waits for what it needs, a heap says what ends next."""
    n, k = times.samples.shape
    exists = times.samples > 0
    members = {m: [i for i in range(n) if exists[i, m]] for m in range(k)}
    waits_up, waits_down = (
        np.broadcast_to(wait, (n, k))
        for wait in (times.latency.up_s(times.uplink), times.latency.down_s(times.downlink))
    )
    last_uplinks = {("uplink", i, m) for i in range(n) for m in range(k) if exists[i, m]}
    duration: dict[tuple[str, int, int], float] = {}
    needs: dict[tuple[str, int, int], set[tuple[str, int, int]]] = {}
    for i in range(n):
        mine = [m for m in range(k) if exists[i, m]]
        for position, m in enumerate(mine):
            before = mine[position - 1] if position else None
            for task in ("ue_forward", "uplink", "downlink", "ue_backward"):
                duration[task, i, m] = float(getattr(times, task)[i, m])
                needs[task, i, m] = {(task, i, before)} if before is not None else set()
            duration["up_message", i, m] = float(waits_up[i, m])
            duration["down_message", i, m] = float(waits_down[i, m])
            needs["up_message", i, m] = {("ue_forward", i, m)}
            needs["down_message", i, m] = {("bs_backward", -1, m)} | (last_uplinks if duplex == "tdd" else set())
            needs["uplink", i, m].add(("up_message", i, m))
            needs["downlink", i, m].add(("down_message", i, m))
            needs["ue_backward", i, m] |= {("downlink", i, m), ("ue_forward", i, mine[-1])}
    steps = [m for m in range(k) if members[m]]
    for position, m in enumerate(steps):
        duration["bs_forward", -1, m], duration["bs_backward", -1, m] = (times.bs_forward[m], times.bs_backward[m])
        needs["bs_forward", -1, m] = {("uplink", i, m) for i in members[m]}
        if position:
            needs["bs_forward", -1, m].add(("bs_backward", -1, steps[position - 1]))
        needs["bs_backward", -1, m] = {("bs_forward", -1, m)}
    waiting = {task: set(needed) for task, needed in needs.items()}
    followers: dict[tuple[str, int, int], list[tuple[str, int, int]]] = {}
    for task, needed in needs.items():
        for other in needed:
            followers.setdefault(other, []).append(task)
    heap = [(duration[task], task) for task, needed in waiting.items() if not needed]
    heapq.heapify(heap)
    clock = 0.0
    while heap:
        clock, done = heapq.heappop(heap)
        for task in followers.get(done, []):
            waiting[task].discard(done)
            if not waiting[task]:
                heapq.heappush(heap, (clock + duration[task], task))
    return clock


@st.composite
def turns(draw):
    n, k = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = rng.integers(0, 9, n)
    batch[0] = max(1, batch[0])
    samples = split_batches(batch, k, draw(st.integers(0, k - 1)))
    scale = 10.0 ** rng.uniform(-2, 1, 6)
    per_ue = [np.where(samples > 0, rng.uniform(0.1, 1, (n, k)) * s, 0.0) for s in scale[:4]]
    per_bs = [np.where(samples.sum(0) > 0, rng.uniform(0.1, 1, k) * s, 0.0) for s in scale[4:]]
    tasks = (samples, per_ue[0], per_ue[1], per_bs[0], per_bs[1], per_ue[2], per_ue[3])
    gates = [
        Gate(rng.choice([0.0, 0.01, 0.3], n), rng.uniform(0.1, 1, n)) for _ in range(draw(st.sampled_from([0, 2])))
    ]
    return TaskTimes(*tasks, latency=Latency(draw(st.sampled_from([0.0, 0.1])), *gates))


@settings(max_examples=1000, deadline=None)
@given(turns(), st.sampled_from(["tdd", "fdd"]))
def test_recursion_equals_event_simulation(times, duplex):
    assert turn_ends(times, duplex).turn_s == pytest.approx(simulate(times, duplex), rel=1e-9)


@pytest.mark.parametrize("k", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("duplex", ["tdd", "fdd"])
def test_the_short_way_to_a_round_knows_what_messages_cost(k, duplex):
    for batch in ((10, 10), (17, 3), (20, 0)):
        costly = problem(duplex=duplex, message_s=0.002, message_bytes=400)
        decision, scheme = both(batch, k=k), SCHEMES["c2p2sl"]
        assert round_s(costly, scheme, decision) == pytest.approx(predict(costly, scheme, decision).round_s, rel=1e-12)
        assert round_s(costly, scheme, decision) > round_s(problem(duplex=duplex), scheme, decision)


def test_one_message_costs_its_bytes_on_the_link_and_its_time_before_it():
    free, costly = problem(), problem(message_s=0.002, message_bytes=100)
    before, after = (
        [e for e in predict(p, SCHEMES["psl"], both((10, 10))).events if e.ue == "ue1"] for p in (free, costly)
    )
    up, down = (next(i for i, e in enumerate(before) if e.task == task) for task in ("uplink", "downlink"))
    assert after[up].start_s == pytest.approx(before[up].start_s + 0.002)
    assert after[up].end_s - after[up].start_s == pytest.approx(before[up].end_s - before[up].start_s + 100 * 8 / 0.8e6)
    assert after[down].end_s - before[down].end_s == pytest.approx(2 * 0.002 + 100 * 8 / 0.8e6 + 100 * 8 / 1.6e6)


@pytest.mark.parametrize("name", list(SCHEMES))
@pytest.mark.parametrize("cost", [{"message_s": 0.002}, {"delay_s": 0.002}, {"gated": True}], ids=str)
def test_messages_make_no_scheme_faster(name, cost):
    decision = Decision(1, 1, np.array([10, 10]), HALF, HALF)
    lengths = [predict(p, SCHEMES[name], decision).round_s for p in (problem(), problem(**cost))]
    assert lengths[1] >= lengths[0]


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("cost", [{"delay_s": 0.003}, {"gated": True}, {"gated": True, "delay_s": 0.003}], ids=str)
def test_the_short_way_to_a_round_knows_delays_and_slots(k, cost):
    costly, decision, scheme = problem(**cost), both((17, 3), k=k), SCHEMES["c2p2sl"]
    assert round_s(costly, scheme, decision) == pytest.approx(predict(costly, scheme, decision).round_s, rel=1e-12)


def test_a_delay_counts_once_each_way():
    decision = both((10, 10))
    still, late = (predict(p, SCHEMES["psl"], decision).round_s for p in (problem(), problem(delay_s=0.003)))
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
