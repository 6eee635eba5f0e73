"""Rates that change while links are in use: in place, and as if they had been set so from the beginning."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import LinkError
from testbed.shaping import Egress, Flow, LinkPlan, Medium, to_json
from testbed.shaping.actions import clear_links, read_links, set_links
from testbed.shaping.backends import BACKENDS, support
from testbed.shaping.namespace import entered, interface, netlink
from testbed.shaping.rates import matches
from testbed.shaping.tune import NetlinkSockets, tune
from tests.contract.cell import LATE, Air, Way, cell, connect, may_make_namespaces, quickest, quickest_s, transfer_s

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not may_make_namespaces(), reason="needs root and network namespaces"),
]
UES = tuple(f"ue{number}" for number in range(1, 17))


@pytest.fixture(scope="module")
def crowd() -> Iterator[tuple[dict[str, int], dict[str, str]]]:
    """A base station and 16 UEs."""
    with cell(UES) as made:
        yield made


@pytest.fixture(params=BACKENDS)
def air(request: pytest.FixtureRequest, crowd: tuple[dict[str, int], dict[str, str]]) -> Iterator[Air]:
    """The cell under one backend; unshaped before and after each test."""
    if not support()[request.param]:
        pytest.skip(f"this kernel has no {request.param}")
    air = Air(request.param, *crowd)
    yield air
    clear_links(air.plan(dict.fromkeys(UES, 1e6), {"ue1": 1e6}))


def _everywhere(air: Air, rate: float) -> LinkPlan:
    return air.plan(dict.fromkeys(UES, rate), dict.fromkeys(UES, rate))


def _classes(air: Air, name: str) -> dict[int, Any]:
    """All that the kernel says of the classes of an interface."""
    with netlink(air.pids[name]) as ipr:
        link = interface(ipr, air.addresses[name])
        found = {c["handle"]: c.get_attr("TCA_OPTIONS").get_attr("TCA_HTB_PARMS") for c in ipr.get_classes(link.index)}
        # Tokens are times in ticks of 64 ns, which pyroute2 rounds to microseconds.
        exact = ("rate", "ceil", "quantum", "prio")
        return {
            handle: {"gso": link.gso_max_segs, "buffer": pytest.approx(p["buffer"], abs=16), **{k: p[k] for k in exact}}
            for handle, p in found.items()
        }


def test_32_flows_change_through_one_process(air: Air, tmp_path: Path) -> None:
    """As a trial does it: through a process that is there already and keeps its sockets."""
    plan = _everywhere(air, 1e7)
    set_links(plan)
    with _server(tmp_path, plan) as server:
        for rate in (2e7, 3e7, 4e8, 5e6):
            begin = time.perf_counter()
            answer = _ask(server, {flow.name: rate for flow in plan.flows})
            print(f"32 flows: {1e3 * (time.perf_counter() - begin):.1f} ms")
            assert {s["flow"] for s in answer["settings"]} == {flow.name for flow in plan.flows}
            assert all(matches(rate, found["set_bps"]) for found in answer["settings"])
            assert all(matches(rate, found.set_bps) for found in read_links(plan))


@pytest.mark.parametrize("rate", [1e5, 3.3e7, 3e8, 1e9])
def test_tuned_is_as_set(air: Air, rate: float) -> None:
    """Also where a packet holds more frames, or fewer, than before."""
    wanted = _everywhere(air, rate)
    set_links(wanted)
    as_set = {name: _classes(air, name) for name in ("bs", "ue1", "ue16")}
    clear_links(wanted)
    for before in (1e6, 5e8):
        set_links(_everywhere(air, before))
        with NetlinkSockets() as sockets:
            tune(_everywhere(air, before), wanted, sockets)
        assert {name: _classes(air, name) for name in as_set} == as_set
        assert all(matches(found.planned_bps, found.set_bps) for found in read_links(wanted))


def test_a_tuned_link_has_the_rate_and_the_others_keep_theirs(air: Air) -> None:
    size, slow = 500_000, 1e7
    plan = air.plan({"ue1": 5e7, "ue2": 3e7}, {"ue1": 5e7, "ue2": 3e6})
    set_links(plan)
    near, far = connect(air, "ue1", "bs")
    with near, far, NetlinkSockets() as sockets:
        transfer_s(near, far, size)
        tuned = plan.at_rates({"ue1.up": slow})
        assert [s.flow for s in tune(plan, tuned, sockets)] == ["ue1.up"]
        ideal_s = size * 8 / slow
        assert 0.98 * ideal_s < quickest_s(near, far, size, LATE * ideal_s) <= LATE * ideal_s
        assert [s.flow for s in tune(tuned, tuned.at_rates({"ue1.down": 2e6}), sockets)] == ["ue1.down"]
    assert [round(s.set_bps / 1e6) for s in read_links(plan)] == [2, 3, 10, 30]
    for share in quickest(air, Way("bs", "ue1", 2e6), Way("bs", "ue2", 3e6)):
        assert 0.98 < share <= LATE


def test_what_is_queued_arrives(air: Air) -> None:
    """Datagrams are not sent again: what waits in a queue as its rate changes must not be dropped."""
    plan = air.plan({"ue1": 1e6}, {"ue1": 1e6})
    set_links(plan)
    with entered(air.pids["bs"]), socket.socket(type=socket.SOCK_DGRAM) as far:
        far.bind((air.addresses["bs"], 0))
        far.settimeout(5)
        with entered(air.pids["ue1"]), socket.socket(type=socket.SOCK_DGRAM) as near, NetlinkSockets() as sockets:
            near.connect(far.getsockname())
            near.send(b"resolves the address")
            assert far.recv(2000)
            for _ in range(50):
                near.send(bytes(1000))
            tune(plan, plan.at_rates({"ue1.up": 2e7}), sockets)
            assert [len(far.recv(2000)) for _ in range(50)] == [1000] * 50


def test_only_the_class_of_a_changed_flow_changes(air: Air) -> None:
    rates = {"ue1": 5e7, "ue2": 3e7}
    plan = air.plan(rates, rates)
    set_links(plan)
    before = _classes(air, "bs")
    with NetlinkSockets() as sockets:
        tune(plan, plan.at_rates({"ue1.down": 4e7}), sockets)
    after = _classes(air, "bs")
    assert [s.set_bps for s in read_links(plan)] == pytest.approx([4e7, 3e7, 5e7, 3e7], rel=1e-3)
    assert sum(after[handle] != before[handle] for handle in before) == (1 if air.backend == "htb" else 0)


def test_a_link_that_is_gone_is_named(air: Air) -> None:
    plan = air.plan({"ue1": 5e7}, {"ue1": 5e7})
    with NetlinkSockets() as sockets, pytest.raises(LinkError, match=r"^ue1\.up: the kernel refuses"):
        tune(plan, plan.at_rates({"ue1.up": 1e7}), sockets)


def test_the_server_goes_on_after_an_error(air: Air, tmp_path: Path) -> None:
    plan = air.plan({"ue1": 1e7}, {"ue1": 1e7})
    set_links(plan)
    with _server(tmp_path, plan) as server:
        assert "no such flow" in _ask(server, {"ue7.up": 1e6})["error"]
        assert "cannot be shaped" in _ask(server, {"ue1.up": -1})["error"]
        (found,) = _ask(server, {"ue1.up": 2e6})["settings"]
        assert matches(2e6, found["set_bps"])
        assert server.stdin
        server.stdin.close()
        assert server.wait(timeout=30) == 0


def _server(tmp_path: Path, plan: LinkPlan) -> subprocess.Popen[str]:
    memory = tmp_path / "links.json"
    memory.write_text(json.dumps(to_json(plan)))
    start = "import sys, pathlib; from testbed.shaping.__main__ import main; "
    start += "main(['serve'], sys.stdin, sys.stdout, pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", start, str(memory)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ask(server: subprocess.Popen[str], rates: dict[str, float]) -> dict[str, Any]:
    assert server.stdin and server.stdout
    server.stdin.write(json.dumps({"rates": rates}) + "\n")
    server.stdin.flush()
    answer: dict[str, Any] = json.loads(server.stdout.readline())
    return answer


def test_gated_links_are_tuned_in_both_their_qdiscs(air: Air) -> None:
    if air.backend != "netem":
        pytest.skip("netem only")
    gated = Medium(delay_s=0.002, frame_s=0.02, share=0.25)
    flow = Flow("ue1.up", None, 1e7, gated)
    plan = LinkPlan(air.backend, (Egress(air.pids["ue1"], air.addresses["ue1"], (flow,)),))
    set_links(plan)
    with NetlinkSockets() as sockets:
        tune(plan, plan.at_rates({"ue1.up": 4e6}), sockets)
    (found,) = read_links(plan)
    assert matches(4e6, found.set_bps)
    near, far = connect(air, "ue1", "bs")
    with near, far:
        ideal_s, late_s = 0.5, 0.55
        assert 0.99 * (ideal_s - gated.frame_s) < quickest_s(near, far, 250_000, late_s) <= late_s
