"""What every shaping backend of this kernel promises, on real interfaces: a base station and four UEs on a bridge.

They are network namespaces, each held by a sleeping process, and gone with it.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import LinkError
from testbed.shaping import Egress, Flow, LinkPlan, Medium, to_json
from testbed.shaping.__main__ import main
from testbed.shaping.actions import clear_links, cut_links, read_links, set_links
from testbed.shaping.backends import BACKENDS, support
from testbed.shaping.measure import measure
from testbed.shaping.namespace import interface, netlink
from testbed.shaping.rates import matches
from tests.contract.cell import (
    LATE,
    PAYLOAD,
    Air,
    Way,
    cell,
    connect,
    datagrams,
    may_make_namespaces,
    one_link,
    quickest,
    quickest_s,
    timer_s,
    transfer_s,
)

UES = ("ue1", "ue2", "ue3", "ue4")
CARRIES = float(os.environ.get("TESTBED_CARRIES", "1"))
"""How much the links of this host can carry, against a usual one."""
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not may_make_namespaces(), reason="needs root and network namespaces"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[dict[str, int], dict[str, str]]]:
    """A base station and four UEs."""
    with cell(UES) as made:
        yield made


@pytest.fixture(params=BACKENDS)
def air(request: pytest.FixtureRequest, world: tuple[dict[str, int], dict[str, str]]) -> Iterator[Air]:
    """The world under one backend; unshaped before and after each test."""
    if not support()[request.param]:
        assert os.environ.get("TESTBED_BACKEND") != request.param, f"this kernel has no {request.param}"
        pytest.skip(f"this kernel has no {request.param}")
    air = Air(request.param, *world)
    yield air
    clear_links(air.plan(dict.fromkeys(UES, 1e6), {"ue1": 1e6}))


def _qdiscs(air: Air, name: str) -> list[Any]:
    with netlink(air.pids[name]) as ipr:
        index = interface(ipr, air.addresses[name]).index
        return [(found.get_attr("TCA_KIND"), found["handle"]) for found in ipr.get_qdiscs(index)]


def _as_planned(air: Air, *ways: Way) -> None:
    """No transfer is quicker than its rate allows, and the one that was disturbed least takes no longer."""
    for way, share in zip(ways, quickest(air, *ways), strict=True):
        assert 0.98 < share <= LATE, f"{share:.3f} of the time planned, {way}"


def _netem(air: Air) -> None:
    if air.backend != "netem":
        pytest.skip("netem only")


@pytest.mark.parametrize("rate", [1e6, 1e7, 1e8, 5e8])
def test_what_is_sent_takes_the_time_of_the_planned_rate_in_each_direction(air: Air, rate: float) -> None:
    rate *= CARRIES
    set_links(air.plan({"ue1": rate}, {"ue1": rate}))
    for way in (Way("ue1", "bs", rate), Way("bs", "ue1", rate)):
        _as_planned(air, way)


def test_ues_on_one_station_get_their_own_rates_at_once(air: Air) -> None:
    rates = {"ue1": 2e6 * CARRIES, "ue2": 1e7 * CARRIES, "ue3": 3e7 * CARRIES, "ue4": 8e7 * CARRIES}
    set_links(air.plan({ue: 5e6 for ue in UES}, rates))
    _as_planned(air, *(Way("bs", ue, rate) for ue, rate in rates.items()))


def test_what_leaves_from_a_port_of_its_own_has_a_rate_of_its_own(air: Air) -> None:
    rate, down, port = 4e7 * CARRIES, 5e6, 5702
    plan = air.plan({"ue1": 1e7}, {"ue1": down})
    bs, up = plan.egresses
    broadcast = Flow("ue1.broadcast", air.addresses["ue1"], rate, port=port)
    set_links(LinkPlan(plan.backend, (Egress(bs.pid, bs.address, (*bs.flows, broadcast)), up)))
    _as_planned(air, Way("bs", "ue1", down), Way("bs", "ue1", rate, port))
    set_links(plan)  # and it goes again
    _as_planned(air, Way("bs", "ue1", down, port))


@pytest.mark.parametrize(("up", "down"), [(1e7, 1e8), (1e8, 1e8)])
def test_full_duplex(air: Air, up: float, down: float) -> None:
    """Acknowledgements neither wait behind the data of the other direction nor use up its rate."""
    up, down = up * CARRIES, down * CARRIES
    set_links(air.plan({"ue1": up}, {"ue1": down}))
    _as_planned(air, Way("ue1", "bs", up), Way("bs", "ue1", down))


def test_each_flow_is_measured_as_itself(air: Air) -> None:
    """How near goodput comes to the plan, ``make bench`` measures; here it must not matter what the host does."""
    plan = air.plan({"ue1": 1.6e7 * CARRIES}, {"ue1": 4e6 * CARRIES})
    bs, up = plan.egresses
    broadcast = Flow("ue1.broadcast", air.addresses["ue1"], 8e6 * CARRIES, port=5702)
    plan = LinkPlan(plan.backend, (Egress(bs.pid, bs.address, (*bs.flows, broadcast)), up))
    set_links(plan)
    names = ["ue1.down", "ue1.broadcast", "ue1.up"]
    for results in (measure(plan, names, together=True, seconds=0.5), measure(plan, None, together=False, seconds=0.5)):
        for flow, found in zip(names if len(results) == 3 else ["ue1.down", "ue1.up"], results, strict=True):
            assert found.flow == flow and found.seconds >= 0.5
            assert found.median_bps == pytest.approx(found.planned_bps, rel=0.3), "the next rate is twice this one"


def test_a_rate_changes_while_data_flows(air: Air) -> None:
    size, slow = 500_000, 1e7
    set_links(air.plan({"ue1": 5e7}, {"ue1": 5e7}))
    near, far = connect(air, "ue1", "bs")
    with near, far:
        transfer_s(near, far, size)
        before = _qdiscs(air, "ue1")
        set_links(air.plan({"ue1": slow}, {"ue1": 5e7}))
        assert _qdiscs(air, "ue1") == before, "changed in place"
        ideal_s = size * 8 / slow
        assert 0.98 * ideal_s < quickest_s(near, far, size, LATE * ideal_s) <= LATE * ideal_s


@pytest.mark.parametrize("sender", ["ue1", "bs"])
def test_a_cut_link_carries_nothing_until_it_is_open_again(air: Air, sender: str) -> None:
    plan = air.plan({"ue1": 5e7, "ue2": 5e7}, {"ue1": 5e7, "ue2": 5e7})
    set_links(plan)
    receiver = "bs" if sender == "ue1" else "ue1"
    near, far = connect(air, sender, receiver)
    others = connect(air, "ue2", "bs")
    with near, far, others[0], others[1]:
        transfer_s(near, far, 100_000)
        before = [_qdiscs(air, name) for name in ("ue1", "bs")], read_links(plan)
        cut_links(plan, ["ue1.up"])
        near.sendall(b"late")
        far.settimeout(0.5)
        with pytest.raises(TimeoutError):
            far.recv(10)
        transfer_s(*others, 100_000)
        cut_links(plan, [])
        far.settimeout(10)
        assert far.recv(10) == b"late"
        assert ([_qdiscs(air, name) for name in ("ue1", "bs")], read_links(plan)) == before
        transfer_s(near, far, 100_000)


def test_a_flow_that_is_not_there_cannot_be_cut(air: Air) -> None:
    with pytest.raises(LinkError, match=r"ue9\.up: there is no such flow"):
        cut_links(air.plan({"ue1": 5e7}, {"ue1": 5e7}), ["ue9.up"])


@pytest.mark.parametrize(("size", "rate"), [(50_000, 1e7), (200_000, 1e7), (200_000, 5e7)])
def test_short_messages_take_their_time(air: Air, size: int, rate: float) -> None:
    """Also on a connection that was made, and warm, before its link was shaped, as the agents' are."""
    near, far = connect(air, "ue1", "bs")
    with near, far:
        transfer_s(near, far, 2_000_000)
        bare_s = min(transfer_s(near, far, size) for _ in range(20))
        set_links(air.plan({"ue1": rate}, {"ue1": rate}))
        transfer_s(near, far, size)  # TCP learns of the limit of frames per packet as it sends the first
        ideal_s = size * 8 / rate
        late_s = LATE * ideal_s + bare_s
        least_s = quickest_s(near, far, size, late_s, pause_s=0.02)
    one_frame_less_s = (size - PAYLOAD) * 8 / rate  # the last one leaves when the one before it is paid for
    assert 0.99 * one_frame_less_s < least_s <= late_s, "a busy host makes transfers late, never early"


@pytest.mark.parametrize("delay_s", [0.005, 0.05])
def test_packets_take_their_delay(air: Air, delay_s: float) -> None:
    """None takes less, and the one that was disturbed least not much more."""
    _netem(air)
    set_links(one_link(air, 1e8, Medium(delay_s=delay_s)))
    first = min(datagrams(air, 1)[0] for _ in range(20))
    set_links(one_link(air, 1e8, Medium()))
    without = min(datagrams(air, 1)[0] for _ in range(20))
    assert delay_s <= first < 1.01 * delay_s + without + 0.0003 + timer_s(delay_s)


def test_jitter_spreads_the_delay(air: Air) -> None:
    """Also towards shorter ones, which nothing else makes."""
    _netem(air)
    set_links(one_link(air, 1e8, Medium(delay_s=0.03, jitter_s=0.02)))
    times = [datagrams(air, 1)[0] for _ in range(60)]
    assert 0.01 <= min(times) < 0.02 and max(times) > 0.04


def test_packets_are_lost_at_the_rate_asked_for(air: Air) -> None:
    _netem(air)
    set_links(one_link(air, 5e7, Medium(loss=0.2)))
    assert len(datagrams(air, 2000)) == pytest.approx(1600, abs=90), "five standard deviations"


@pytest.mark.parametrize(("rate", "share"), [(1e7, 0.25), (1e6, 0.1)])
def test_a_gated_link_sends_its_slot_in_each_frame(air: Air, rate: float, share: float) -> None:
    """Whole packets, and no more than a slot holds, leave in a frame, in a burst at the rate within the slot."""
    _netem(air)
    frame_s = 0.1
    slot, packet_s = math.ceil(rate * frame_s / 8 / PAYLOAD), PAYLOAD * 8 / rate
    set_links(one_link(air, rate, Medium(frame_s=frame_s, share=share)))
    count = int(1.5 / packet_s)
    times = datagrams(air, count)
    assert len(times) == count, "nothing is lost"
    for i, at in enumerate(times):
        soonest_s = (i // slot * slot + (i % slot + 1) * share) * packet_s
        assert at > 0.999 * soonest_s, f"packet {i} came {soonest_s - at:.4f} s before its slot can have let it through"
    # What the host does meanwhile shifts slots and breaks some up, but not all.
    starts = [i for i, at in enumerate(times) if i == 0 or at - times[i - 1] > frame_s * (1 - share) / 2]
    assert slot in [after - this for this, after in pairwise(starts)], "packets from a pause to the next"
    burst_s = min(last - first for first, last in zip(times, times[slot - 1 :], strict=False))
    assert burst_s < 1.1 * (slot - 1) * share * packet_s + 0.0003
    three_s = min(times[later] - times[this] for this, later in zip(starts, starts[3:], strict=False))
    assert three_s < 1.03 * 3 * slot * packet_s, "slots follow each other in time"


def test_a_link_changes_between_slots_and_none(air: Air) -> None:
    _netem(air)
    size, rate = 250_000, 1e7
    ideal_s, gated = size * 8 / rate, Medium(frame_s=0.01, share=0.5)
    for medium in (gated, Medium(), gated, gated, Medium(delay_s=0.001)):
        plan = one_link(air, rate, medium)
        assert all(matches(s.planned_bps, s.set_bps) for s in (*set_links(plan), *read_links(plan)))
        near, far = connect(air, "ue1", "bs")
        with near, far:
            late_s = 1.1 * ideal_s + medium.delay_s
            assert 0.99 * (ideal_s - medium.frame_s) < quickest_s(near, far, size, late_s) <= late_s


def test_htb_refuses_what_it_cannot_do(air: Air) -> None:
    if air.backend != "htb":
        pytest.skip("htb only")
    for medium in (Medium(delay_s=0.01), Medium(loss=0.1), Medium(frame_s=0.01, share=0.5)):
        with pytest.raises(LinkError, match=r"^ue1\.up: htb shapes rates only"):
            set_links(one_link(air, 1e6, medium))


def test_what_is_set_reads_back(air: Air) -> None:
    plan = air.plan({"ue1": 1.234567e6, "ue2": 1e9}, {"ue1": 3.3e7, "ue2": 12_345_678.9})
    for setting in (*set_links(plan), *read_links(plan)):
        assert matches(setting.planned_bps, setting.set_bps), setting


def test_flows_come_and_go(air: Air) -> None:
    first = air.plan({"ue1": 1e6}, {"ue1": 1e6, "ue2": 2e6})
    second = air.plan({"ue1": 1e6}, {"ue2": 3e6, "ue3": 4e6})
    set_links(first)
    set_links(second)
    assert all(matches(s.planned_bps, s.set_bps) for s in read_links(second))
    assert {s.flow: s.set_bps for s in read_links(first)}["ue1.down"] == 0


def test_an_address_without_a_flow_gets_a_trickle(air: Air) -> None:
    plan = air.plan({ue: 1e8 for ue in UES}, {ue: 1e8 for ue in UES})
    set_links(air.plan({ue: 1e8 for ue in UES}, {"ue1": 1e8}))
    (result,) = measure(plan, ["ue2.down"], together=False, seconds=0.5)
    assert result.goodput_bps < 2e7


def test_clear_leaves_nothing(air: Air) -> None:
    before = {name: _qdiscs(air, name) for name in air.pids}
    size, rate = 1_000_000, 1e6
    plan = air.plan(dict.fromkeys(UES, rate), dict.fromkeys(UES, rate))
    set_links(plan)
    assert len(clear_links(plan)) == 8
    assert {name: _qdiscs(air, name) for name in air.pids} == before
    near, far = connect(air, "ue1", "bs")
    with near, far:
        assert transfer_s(near, far, size) < size * 8 / rate / 2, "whatever else the host does"
    assert clear_links(plan), "clearing twice does no harm"


def test_errors_name_the_flow(air: Air) -> None:
    lost = Egress(2**22 + 1, "10.9.0.2", (Flow("ue1.up", None, 1e6),))
    with pytest.raises(LinkError, match=r"^ue1\.up: there is no process 4194305"):
        set_links(LinkPlan(air.backend, (lost,)))
    assert clear_links(LinkPlan(air.backend, (lost,))) == []
    stray = Egress(air.pids["ue1"], "10.9.0.99", (Flow("ue1.up", None, 1e6),))
    with pytest.raises(LinkError, match=r"^ue1\.up: no interface has the address 10\.9\.0\.99"):
        set_links(LinkPlan(air.backend, (stray,)))
    twins = (Flow("a", "10.1.0.7", 1e6), Flow("b", "10.2.0.7", 1e6))
    with pytest.raises(LinkError, match=r"^b: 10\.2\.0\.7 cannot be told apart"):
        set_links(LinkPlan(air.backend, (Egress(air.pids["bs"], air.addresses["bs"], twins),)))


def test_the_shaper_speaks_json(air: Air, tmp_path: Path) -> None:
    def shaper(action: str, document: object = None) -> tuple[int, dict[str, Any]]:
        stdout = io.StringIO()
        status = main([action], io.StringIO(json.dumps(document) if document else ""), stdout, tmp_path / "links")
        return status, json.loads(stdout.getvalue())

    plan = air.plan({"ue1": 1e7, "ue2": 1e7}, {"ue1": 2e7})
    status, answer = shaper("set", to_json(plan))
    assert status == 0 and [s["flow"] for s in answer["settings"]] == ["ue1.down", "ue1.up", "ue2.up"]
    assert shaper("read") == (0, answer)
    status, measured = shaper("measure", {"flows": ["ue1.down"], "seconds": 0.5})
    (found,) = measured["measurements"]
    assert status == 0 and (found["flow"], found["planned_bps"]) == ("ue1.down", 2e7) and found["seconds"] >= 0.5
    assert 0 < found["goodput_bps"] < 4e7 and 0 < found["median_bps"] < 4e7
    shaper("set", to_json(air.plan({"ue1": 1e7}, {"ue1": 2e7})))
    assert read_links(plan)[2].set_bps == 0, "what the plan leaves out is not shaped any more"
    assert shaper("clear") == (0, {"cleared": ["ue1.down", "ue1.up"]})


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_is_supported_where_links_can_be_set_by_it(
    world: tuple[dict[str, int], dict[str, str]], name: str
) -> None:
    """``support`` tries in a namespace of its own; this tries on an interface as agents have it."""
    air = Air(name, *world)
    plan = air.plan({"ue1": 1e6}, {"ue1": 2e6})
    try:
        works = all(matches(found.planned_bps, found.set_bps) for found in set_links(plan))
    except LinkError as error:
        assert "the kernel refuses" in error.message
        works = False
    finally:
        clear_links(plan)
    assert support()[name] == works


def test_the_idle_shaper_stops_when_told() -> None:
    def hold_back() -> None:  # so that a signal which comes before Python is up is not lost
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    process = subprocess.Popen([sys.executable, "-m", "testbed.shaping", "idle"], preexec_fn=hold_back)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
