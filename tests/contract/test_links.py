"""What every shaping backend of this kernel promises, on real interfaces: a base station and four UEs on a bridge.

They are network namespaces, each held by a sleeping process, and gone with it.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import LinkError
from testbed.shaping import Egress, Flow, LinkPlan, Measurement, Medium, to_json
from testbed.shaping.__main__ import main
from testbed.shaping.actions import clear_links, read_links, set_links
from testbed.shaping.backends import BACKENDS, support
from testbed.shaping.measure import measure
from testbed.shaping.namespace import interface, netlink
from testbed.shaping.rates import matches
from tests.contract.cell import Air, cell, connect, datagrams, may_make_namespaces, one_link, timer_s, transfer_s

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


def _delivers(result: Measurement) -> bool:
    """Within 1 % of the plan, except that a link cannot make up for the moments in which the host stood still."""
    goodput, steady = result.goodput_bps / result.planned_bps, result.median_bps / result.planned_bps
    return 0.9 < goodput < 1.01 and abs(steady - 1) < 0.01


def _netem(air: Air) -> None:
    if air.backend != "netem":
        pytest.skip("netem only")


@pytest.mark.parametrize("rate", [1e6, 1e7, 1e8, 5e8])
def test_goodput_is_the_planned_rate_in_each_direction(air: Air, rate: float) -> None:
    rate *= CARRIES
    plan = air.plan({"ue1": rate}, {"ue1": rate})
    set_links(plan)
    for result in measure(plan, None, together=False, seconds=1.0):
        assert _delivers(result), result


def test_ues_on_one_station_get_their_own_rates_at_once(air: Air) -> None:
    rates = {"ue1": 2e6, "ue2": 1e7, "ue3": 3e7, "ue4": 8e7}
    plan = air.plan({ue: 5e6 for ue in UES}, {ue: rate * CARRIES for ue, rate in rates.items()})
    set_links(plan)
    names = [f"{ue}.down" for ue in UES]
    for result in measure(plan, names, together=True, seconds=1.5):
        assert _delivers(result), result


def test_what_leaves_from_a_port_of_its_own_has_a_rate_of_its_own(air: Air) -> None:
    plan = air.plan({"ue1": 1e7}, {"ue1": 5e6})
    bs, up = plan.egresses
    broadcast = Flow("ue1.broadcast", air.addresses["ue1"], 4e7 * CARRIES, port=5702)
    plan = LinkPlan(plan.backend, (Egress(bs.pid, bs.address, (*bs.flows, broadcast)), up))
    set_links(plan)
    for result in measure(plan, ["ue1.down", "ue1.broadcast"], together=True, seconds=1.0):
        assert _delivers(result), result
    set_links(air.plan({"ue1": 1e7}, {"ue1": 5e6}))  # and it goes again


@pytest.mark.parametrize(("up", "down"), [(1e7, 1e8), (1e8, 1e8)])
def test_full_duplex(air: Air, up: float, down: float) -> None:
    """Acknowledgements neither wait behind the data of the other direction nor use up its rate."""
    plan = air.plan({"ue1": up}, {"ue1": down})
    set_links(plan)
    for result in measure(plan, None, together=True, seconds=1.5):
        assert _delivers(result), result


def test_a_rate_changes_while_data_flows(air: Air) -> None:
    set_links(air.plan({"ue1": 5e7}, {"ue1": 5e7}))
    near, far = connect(air, "ue1", "bs")
    with near, far:
        transfer_s(near, far, 500_000)
        before = _qdiscs(air, "ue1")
        set_links(air.plan({"ue1": 1e7}, {"ue1": 5e7}))
        assert _qdiscs(air, "ue1") == before, "changed in place"
        assert transfer_s(near, far, 500_000) == pytest.approx(500_000 * 8 / 1e7, rel=0.1)


@pytest.mark.parametrize(("size", "rate"), [(50_000, 1e7), (200_000, 1e7), (200_000, 5e7)])
def test_short_messages_take_their_time(air: Air, size: int, rate: float) -> None:
    """Also on a connection that was made, and warm, before its link was shaped, as the agents' are."""
    near, far = connect(air, "ue1", "bs")
    with near, far:
        transfer_s(near, far, 2_000_000)
        set_links(air.plan({"ue1": rate}, {"ue1": rate}))
        transfer_s(near, far, size)
        times = []
        for _ in range(7):
            time.sleep(0.02)
            times.append(transfer_s(near, far, size))
    second_best, ideal = sorted(times)[1], size * 8 / rate
    assert 0.97 * ideal < second_best < 1.03 * ideal + 0.01, "a busy host makes transfers late, never early"


@pytest.mark.parametrize("delay_s", [0.005, 0.05])
def test_packets_take_their_delay(air: Air, delay_s: float) -> None:
    _netem(air)
    set_links(one_link(air, 1e8, Medium(delay_s=delay_s)))
    first = min(datagrams(air, 1)[0] for _ in range(20))
    set_links(one_link(air, 1e8, Medium()))
    without = min(datagrams(air, 1)[0] for _ in range(20))
    tolerance_s = 0.0003 + 0.01 * delay_s
    assert -tolerance_s < first - without - delay_s < tolerance_s + timer_s(delay_s)


def test_jitter_spreads_the_delay(air: Air) -> None:
    _netem(air)
    set_links(one_link(air, 1e8, Medium(delay_s=0.03, jitter_s=0.02)))
    times = [datagrams(air, 1)[0] for _ in range(30)]
    assert min(times) >= 0.01 and max(times) - min(times) > 0.01


def test_packets_are_lost_at_the_rate_asked_for(air: Air) -> None:
    _netem(air)
    set_links(one_link(air, 5e7, Medium(loss=0.2)))
    assert len(datagrams(air, 2000)) == pytest.approx(1600, abs=90), "five standard deviations"


@pytest.mark.parametrize(("rate", "share"), [(1e7, 0.25), (1e6, 0.1)])
def test_a_gated_link_sends_its_slot_in_each_frame(air: Air, rate: float, share: float) -> None:
    """Its bytes, in whole packets, in its share of the frame, and the mean rate within 2 %."""
    _netem(air)
    frame_s = 0.1
    set_links(one_link(air, rate, Medium(frame_s=frame_s, share=share)))
    times = datagrams(air, int(1.5 * rate / 8 / 1448))
    slot = math.ceil(rate * frame_s / 8 / 1448)
    starts = [i for i, at in enumerate(times) if i == 0 or at - times[i - 1] > frame_s * (1 - share) / 2]
    sizes = [b - a for a, b in pairwise(starts)]
    assert max(sizes) == slot
    assert sizes.count(slot) >= len(sizes) - 2, "those that open while packets are still handed over have fewer"
    ideal_s = slot * 1448 * 8 / rate
    assert ideal_s * 0.999 < (times[starts[-1]] - times[0]) / (len(starts) - 1) < ideal_s * 1.02
    lengths = [times[b - 1] - times[a] for a, b in pairwise(starts)]
    assert statistics.median(lengths) == pytest.approx((slot - 1) / slot * share * frame_s, rel=0.1, abs=0.0003)


def test_a_link_changes_between_slots_and_none(air: Air) -> None:
    _netem(air)
    gated = Medium(frame_s=0.01, share=0.5)
    for medium in (gated, Medium(), gated, gated, Medium(delay_s=0.001)):
        plan = one_link(air, 1e7, medium)
        assert all(matches(s.planned_bps, s.set_bps) for s in (*set_links(plan), *read_links(plan)))
        near, far = connect(air, "ue1", "bs")
        with near, far:
            assert transfer_s(near, far, 250_000) == pytest.approx(0.2, rel=0.25)


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
    plan = air.plan(dict.fromkeys(UES, 1e7), dict.fromkeys(UES, 1e7))
    set_links(plan)
    assert len(clear_links(plan)) == 8
    assert {name: _qdiscs(air, name) for name in air.pids} == before
    near, far = connect(air, "ue1", "bs")
    with near, far:
        assert transfer_s(near, far, 5_000_000) < 1
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
    assert status == 0 and measured["measurements"][0]["median_bps"] == pytest.approx(2e7, rel=0.01)
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
