"""Links between namespaces, by every backend that this kernel has: goodput, and with netem delay and TDMA slots."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from testbed.shaping import Egress, Flow, LinkPlan, Medium
from testbed.shaping.actions import clear_links, set_links
from testbed.shaping.backends import support
from testbed.shaping.measure import measure
from tests.bench.number import Number, at_most
from tests.contract.cell import PAYLOAD, Air, cell, connect, datagrams, one_link, transfer_s

UES = tuple(f"ue{number}" for number in range(1, 9))
ALONE_MBPS = (1, 10, 100, 500, 1000)
TOGETHER_MBPS = (8, 80, 400, 1000)
DELAYS_S = (0.001, 0.005, 0.05)
FRAMES_S = (0.01, 0.02, 0.1)
SLOT_BPS, SHARE, WINDOW_S, WINDOWS = 1e7, 0.25, 1.0, 3
TRIES = 20
MESSAGES = ((50_000, 10), (200_000, 10), (200_000, 50))


def numbers() -> list[Number]:
    """What each backend does with each rate; delays and slots where there is netem."""
    with cell(UES) as (pids, addresses):
        airs = [Air(name, pids, addresses) for name, works in support().items() if works]
        return [number for air in airs for number in _of(air)]


def _of(air: Air) -> Iterator[Number]:
    for mbps in ALONE_MBPS:
        yield from _goodput(air, f"{mbps} Mbit/s, one at a time", {"ue1": mbps * 1e6})
    for mbps in TOGETHER_MBPS:
        rates = {ue: mbps * 1e6 / len(UES) for ue in UES}
        yield from _goodput(air, f"{mbps} Mbit/s, 8 at once", rates)
    yield from _full_duplex(air)
    yield from _broadcast(air)
    yield from _messages(air)
    if air.backend == "netem":
        yield from (_delay(air, delay_s) for delay_s in DELAYS_S)
        for frame_s in FRAMES_S:
            yield from _slots(air, frame_s)
    clear_links(air.plan(dict.fromkeys(UES, 1e6), dict.fromkeys(UES, 1e6)))


def _goodput(air: Air, what: str, rates: dict[str, float]) -> Iterator[Number]:
    """Downlinks, which share the base station's interface, then uplinks."""
    plan = air.plan(rates, rates)
    set_links(plan)
    for way in ("down", "up"):
        yield _at_once(air, f"{way}, {what}", plan, [f"{ue}.{way}" for ue in rates])


def _at_once(air: Air, what: str, plan: LinkPlan, flows: list[str]) -> Number:
    """The flow whose goodput is farthest from its plan."""
    found = measure(plan, flows, together=True, seconds=3.0)
    worst = max(abs(one.goodput_bps / one.planned_bps - 1) for one in found)
    return at_most(f"{air.backend}: goodput {what}", 0.5, 100 * worst, "% off")


def _full_duplex(air: Air) -> Iterator[Number]:
    """The acknowledgements of either direction share the link with the data of the other."""
    for up, down in ((10, 100), (100, 100)):
        plan = air.plan({"ue1": up * 1e6}, {"ue1": down * 1e6})
        set_links(plan)
        yield _at_once(air, f"up and down at once, {up} and {down} Mbit/s", plan, ["ue1.up", "ue1.down"])


def _broadcast(air: Air) -> Iterator[Number]:
    """What leaves from a port of its own, beside what does not."""
    plan = air.plan({"ue1": 1e7}, {"ue1": 5e6})
    bs, *ups = plan.egresses
    flow = Flow("ue1.broadcast", air.addresses["ue1"], 4e7, port=5702)
    plan = LinkPlan(plan.backend, (Egress(bs.pid, bs.address, (*bs.flows, flow)), *ups))
    set_links(plan)
    yield _at_once(air, "from a port of its own, 40 beside 5 Mbit/s", plan, ["ue1.broadcast", "ue1.down"])


def _messages(air: Air) -> Iterator[Number]:
    """Short ones on a warm connection: the quickest of several, whose first byte and last are timed."""
    for size, mbps in MESSAGES:
        set_links(air.plan({"ue1": mbps * 1e6}, {"ue1": mbps * 1e6}))
        near, far = connect(air, "ue1", "bs")
        with near, far:
            transfer_s(near, far, 2_000_000)
            ideal_s = size * 8 / mbps / 1e6
            least_s = min(transfer_s(near, far, size) for _ in range(TRIES))
        what = f"{air.backend}: {size / 1e3:g} kB at {mbps} Mbit/s"
        yield at_most(what, 3, 100 * abs(least_s / ideal_s - 1), "% off")


def _delay(air: Air, delay_s: float) -> Number:
    """The least of several, against the same without a delay: the rest is the host's."""
    least = []
    for medium in (Medium(delay_s=delay_s), Medium()):
        set_links(one_link(air, 1e8, medium))
        least.append(min(datagrams(air, 1)[0] for _ in range(TRIES)))
    off_s = abs(least[0] - least[1] - delay_s)
    return at_most(f"{air.backend}: delay of {1e3 * delay_s:g} ms", 0.3 + 10 * delay_s, 1e3 * off_s, "ms off", 3)


def _slots(air: Air, frame_s: float) -> Iterator[Number]:
    """Packets that wait from the beginning, by the kernel's time of arrival."""
    slot = np.ceil(SLOT_BPS * frame_s / 8 / PAYLOAD)
    planned_bps = SLOT_BPS  # the frame is stretched to whole packets, and the rate kept
    set_links(one_link(air, SLOT_BPS, Medium(frame_s=frame_s, share=SHARE)))
    times = np.array(datagrams(air, int((WINDOWS + 0.5) * WINDOW_S * SLOT_BPS / 8 / PAYLOAD)))
    begins = np.flatnonzero(np.diff(times, prepend=-1.0) > frame_s * (1 - SHARE) / 2)
    largest = np.diff(begins).max() / slot
    windows = []
    for window in range(WINDOWS):
        inside = begins[(times[begins] >= window * WINDOW_S) & (times[begins] <= (window + 1) * WINDOW_S)]
        sent = (inside[-1] - inside[0]) * PAYLOAD * 8
        windows.append(sent / (times[inside[-1]] - times[inside[0]]) / planned_bps - 1)
    name = f"{air.backend}: slots of {1e3 * frame_s:g} ms frames"
    yield at_most(f"{name}, bytes per frame over 1 s", 2, 100 * max(map(abs, windows)), "% off")
    yield at_most(f"{name}, most in a frame", 1, float(largest), "slots", 3)
