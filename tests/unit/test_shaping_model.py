"""Links as data: what a plan may say, how it travels as JSON, and the arithmetic of rates."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest

from testbed.errors import LinkError
from testbed.shaping import Egress, Flow, LinkPlan, Medium, endpoints, to_json
from testbed.shaping.__main__ import main
from testbed.shaping.measure import summary
from testbed.shaping.netem import chain
from testbed.shaping.rates import burst_bytes, frames_per_packet, matches, payload_rate, wire_rate

UP, DOWN = Flow("ue1.up", None, 8e6), Flow("ue1.down", "10.9.0.3", 2e7)
UE, BS = Egress(11, "10.9.0.3", (UP,)), Egress(12, "10.9.0.2", (DOWN,))
PLAN = LinkPlan("htb", (BS, UE))


def test_a_plan_survives_json() -> None:
    assert LinkPlan.from_json(json.loads(json.dumps(to_json(PLAN)))) == PLAN


def test_the_json_of_a_plan_is_a_contract() -> None:
    wire = {"delay_s": 0.0, "jitter_s": 0.0, "loss": 0.0, "frame_s": 0.0, "share": 1.0}
    assert to_json(LinkPlan("htb", (BS,))) == {
        "backend": "htb",
        "egresses": (
            {
                "pid": 12,
                "address": "10.9.0.2",
                "flows": ({"name": "ue1.down", "address": "10.9.0.3", "rate_bps": 2e7, "medium": wire, "port": None},),
            },
        ),
        "dilation": 1.0,
    }


@pytest.mark.parametrize("document", [{}, {"backend": "htb"}, {"backend": "htb", "egresses": [{"pid": "x"}]}, []])
def test_what_is_no_plan_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(LinkError, match="not a link plan"):
        LinkPlan.from_json(document)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 10.0, 1e12])
def test_impossible_rates_are_refused_by_name(rate: float) -> None:
    with pytest.raises(LinkError, match=r"^ue1\.up: "):
        Flow("ue1.up", None, rate)


def test_impossible_addresses_are_refused_by_name() -> None:
    with pytest.raises(LinkError, match=r"^ue1\.down: 'fe80::1' is not an IPv4 address"):
        Flow("ue1.down", "fe80::1", 1e6)
    with pytest.raises(LinkError, match=r"^ue1\.up: "):
        Egress(1, "nowhere", (UP,))


def test_flows_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(LinkError, match=r"ue1\.down, x: two flows go to 10\.9\.0\.3"):
        Egress(1, "10.9.0.2", (DOWN, Flow("x", "10.9.0.3", 1e6)))
    with pytest.raises(LinkError, match=r"ue1\.up: two flows have this name"):
        LinkPlan("htb", (UE, Egress(13, "10.9.0.4", (UP,))))


def test_both_ends_of_a_flow_are_found() -> None:
    assert endpoints(PLAN, "ue1.up") == (UP, UE, BS)
    assert endpoints(PLAN, "ue1.down") == (DOWN, BS, UE)


def test_a_flow_without_its_other_end_is_named() -> None:
    with pytest.raises(LinkError, match=r"^ue1\.up: its other end"):
        endpoints(LinkPlan("htb", (UE,)), "ue1.up")
    with pytest.raises(LinkError, match=r"^ue9\.up: there is no such flow"):
        endpoints(PLAN, "ue9.up")


def test_a_wire_rate_is_bytes_of_frames() -> None:
    assert wire_rate(1448 * 8, 1500) == 1514  # a full segment a second is a full frame a second
    assert wire_rate(1e8, 1500) == round(1e8 / 8 * 1514 / 1448)


@pytest.mark.parametrize("mtu", [1280, 1450, 1500, 9000])
@pytest.mark.parametrize("rate", [1e4, 1e6, 33.3e6, 1e9])
def test_rates_come_back_from_the_wire(rate: float, mtu: int) -> None:
    assert matches(rate, payload_rate(wire_rate(rate, mtu), mtu))
    assert not matches(rate, payload_rate(wire_rate(rate, mtu), mtu) / 8)


@pytest.mark.parametrize("rate", [1e5, 1e7, 1e8, 1e9])
def test_no_link_runs_far_ahead_of_its_rate(rate: float) -> None:
    wire = wire_rate(rate, 1500)
    frames = frames_per_packet(wire, 1500)
    ahead_s = (burst_bytes(wire, 1500, frames) + (frames - 1) * 1514) / wire
    assert ahead_s == pytest.approx(200e-6)
    assert burst_bytes(wire, 1500, frames) >= 100e-6 * wire


@pytest.mark.parametrize("rate", [1e5, 1e6, 7.7e6, 2e7, 3e8])
def test_slots_hold_whole_packets_and_keep_the_mean(rate: float) -> None:
    slots, one = chain(Flow("ue1.up", None, rate, Medium(frame_s=0.01, share=0.2)), 1500)
    packets = math.ceil(wire_rate(rate, 1500) * 0.01 / 1514)
    assert (packets - 1) * 1514 < slots.slot_bytes <= packets * 1514, "the last packet uses the slot up"
    assert packets * 1514 / slots.slot_ns * 1e9 == pytest.approx(wire_rate(rate, 1500), rel=1e-6)
    assert slots.slot_ns >= 0.01e9 and one.rate == pytest.approx(wire_rate(rate, 1500) * 5, rel=1e-6)


def test_a_slot_as_long_as_its_frame_is_none() -> None:
    assert len(chain(Flow("ue1.up", None, 1e6, Medium(frame_s=0.01, share=1.0)), 1500)) == 1


@pytest.mark.parametrize("wrong", [{"loss": 1.0}, {"delay_s": -1.0}, {"share": 0.0}, {"frame_s": 1e5}])
def test_impossible_media_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LinkError, match="there is no link like"):
        Medium(**wrong)


def test_slow_links_carry_single_frames() -> None:
    assert frames_per_packet(wire_rate(1e6, 1500), 1500) == 1
    assert frames_per_packet(wire_rate(1e9, 1500), 1500) > 4


def test_a_stall_shows_in_the_goodput_and_not_in_the_median() -> None:
    arrivals = [(1000, 5 + number * 0.001 + (0.5 if number > 500 else 0)) for number in range(1001)]
    result = summary(UP, arrivals)
    assert result.seconds == pytest.approx(1.5)
    assert result.goodput_bps == pytest.approx(1000 * 8000 / 1.5)
    assert result.median_bps == pytest.approx(8e6)


SET_UE = json.dumps(to_json(LinkPlan("htb", (UE,))))


def _shaper(*argv: str, stdin: str = "", memory: Path) -> tuple[int, dict[str, object]]:
    stdout = io.StringIO()
    status = main(list(argv), io.StringIO(stdin), stdout, memory)
    return status, json.loads(stdout.getvalue())


@pytest.mark.parametrize(
    ("action", "stdin", "error"),
    [
        ("dance", "", "no action 'dance'"),
        ("set", "not json", "JSONDecodeError"),
        ("set", "[]", "not a link plan"),
        ("set", '{"backend": "htb"}', "not a link plan"),
        ("set", '{"backend": "string", "egresses": []}', "no shaping backend 'string'"),
        ("set", '{"backend": "htb", "egresses": [], "command": "sh"}', "there is no command"),
        ("set", '{"backend": "htb", "egresses": [{"pid": "1", "address": "10.9.0.2", "flows": []}]}', "no process"),
        ("set", '{"backend": "htb", "egresses": [{"pid": -1, "address": "10.9.0.2", "flows": []}]}', "no process"),
        ("set", '{"backend": "htb", "egresses": [{"pid": 1, "address": "eth0", "flows": []}]}', "without flows"),
        ("set", SET_UE.replace('"port": null', '"port": 70000'), "no port"),
        ("set", SET_UE.replace('"port": null', '"interface": "lo"'), "no interface"),
        ("set", SET_UE.replace(UE.address, "eth0"), "not an IPv4 address"),
        ("set", SET_UE.replace("ue1", "ue1" * 99), "is no name"),
        ("measure", "", "no links"),
        ("tune", '{"rates": {}}', "no links to change"),
        ("cut", '{"flows": ["ue1/up"]}', "no links to cut"),
    ],
)
def test_errors_are_json(action: str, stdin: str, error: str, tmp_path: Path) -> None:
    status, answer = _shaper(action, stdin=stdin, memory=tmp_path / "links.json")
    assert status == 1
    assert answer.keys() == {"error", "hint"}
    assert error in str(answer["error"])


def test_a_plan_that_cannot_be_set_is_not_remembered(tmp_path: Path) -> None:
    stdin = json.dumps(to_json(LinkPlan("string", (UE,))))
    assert _shaper("set", stdin=stdin, memory=tmp_path / "links.json")[0] == 1
    assert not (tmp_path / "links.json").exists()


def test_before_anything_was_set_there_is_nothing(tmp_path: Path) -> None:
    assert _shaper("read", memory=tmp_path / "m") == (0, {"backend": None, "settings": []})
    assert _shaper("clear", memory=tmp_path / "m") == (0, {"cleared": []})
    assert _shaper("cut", stdin='{"flows": []}', memory=tmp_path / "m") == (0, {"cut": []})


def test_other_rates_leave_the_rest_of_a_plan_alone() -> None:
    plan = LinkPlan("htb", (UE,), dilation=2.0)
    (flow,) = UE.flows
    changed = plan.at_rates({flow.name: 5e6})
    assert changed.flows[0].rate_bps == 5e6
    assert changed.at_rates({flow.name: flow.rate_bps}) == plan == LinkPlan.from_json(to_json(plan))
    with pytest.raises(LinkError, match=r"^nobody/up: there is no such flow"):
        plan.at_rates({"nobody/up": 1e6})
