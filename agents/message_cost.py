"""What a timer, a message and a byte cost on this host, whatever the rate of a link: for calibration."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from statistics import median

import torch

from agents.pace import sharpen_timers, sleep_until
from agents.schedule.task import BS, Activations, Key, Schedule, Task, up
from agents.wire.air import Air
from agents.wire.frames import PIECE_BYTES, Layout, layout, seal
from agents.wire.inbox import Arrival, Expected
from agents.wire.keys import SEAL_BYTES, new_keyrings
from agents.wire.outbox import Outbox

HOST = "127.0.0.1"
SCHEME = "calibration"
PORT = 5710
SLEEPS, SLEEP_S = 200, 0.002
MESSAGES, PAUSE_S = 100, 0.005
DEVICES, BULKS, BULK_BYTES = 2, 20, 1 << 20
FRAMES_BYTES = 2 + 9 + 9 + 3 * SEAL_BYTES
"""What ZeroMQ adds to a short frame and to two long ones: header, activations, labels."""
PATIENCE_S = 30.0


def measure() -> dict[str, float]:
    """``timer_s`` and ``jitter_s``: how late a sleep ends, typically and at worst in a hundred.

    ``message_s``: from handing a message to the radio until it is there, with the seal of one whole frame; of a longer
    message the others are sealed while some are on the link. ``message_bytes``: what goes with a micro-batch besides
    its tensors. ``link_bps``: what all links of the host carry together, unshaped.
    """
    sharpen_timers()
    late = sorted(_late_s() for _ in range(SLEEPS))
    names = [f"ue{i}" for i in range(DEVICES)]
    keys = new_keyrings(names)
    station = Air.station(keys[BS], HOST, PORT, PORT + 1, BULK_BYTES)
    devices = {name: Air.device(keys[name], HOST, PORT, PORT + 1, BULK_BYTES) for name in names}
    try:
        station.open(SCHEME, names)
        for air in devices.values():
            air.open(SCHEME, [BS])
            air.greet(SCHEME)
        station.await_greetings(names, PATIENCE_S)
        cost_s, size = _messages(station, devices)
        bps = _bulk_bps(station, devices)
    finally:
        for air in (*devices.values(), station):
            air.close()
    timers = {"timer_s": median(late), "jitter_s": late[-len(late) // 100]}
    return {**timers, "message_s": cost_s, "message_bytes": size, "link_bps": bps}


def _uplinks(ues: Iterable[str], count: int) -> Schedule:
    """So many transfers up from each of these UEs, which nothing holds back."""
    return Schedule(
        tuple(
            Task(Key(10, 100, m, "uplink", ue), up(ue), Activations(1, 1, labels=True))
            for ue in ues
            for m in range(count)
        )
    )


def _begin(number: int, schedule: Schedule, station: Air, devices: Mapping[str, Air], shape: Layout) -> None:
    station.begin(
        number, {task.key: Expected(task.agent, shape) for task in schedule.tasks}, Outbox(schedule, BS, segment=0)
    )
    for name, air in devices.items():
        air.begin(number, {}, Outbox(schedule, name, segment=0))


def _arrival(station: Air, key: Key) -> Arrival:
    return station.wait(lambda arrivals: arrivals.get(key), PATIENCE_S)


def _late_s() -> float:
    due_ns = time.monotonic_ns() + round(SLEEP_S * 1e9)
    sleep_until(due_ns)
    return (time.monotonic_ns() - due_ns) / 1e9


def _messages(station: Air, devices: Mapping[str, Air]) -> tuple[float, float]:
    """Seconds that a message of one frame takes, each sent after a pause; bytes beyond its tensors."""
    piece, label = torch.zeros(PIECE_BYTES, dtype=torch.uint8), torch.zeros(1, dtype=torch.uint8)
    name, device = next(iter(devices.items()))
    schedule = _uplinks([name], MESSAGES)
    _begin(1, schedule, station, devices, layout([piece, label]))
    times, extra = [], 0
    for task in schedule.tasks:
        time.sleep(PAUSE_S)
        sent_ns = time.monotonic_ns()
        device.offer([], {task.key: seal([piece, label])})
        arrival = _arrival(station, task.key)
        times.append((arrival.arrived_ns - sent_ns) / 1e9)
        extra = arrival.bytes - PIECE_BYTES - 1
    return median(times), float(extra + FRAMES_BYTES)


def _bulk_bps(station: Air, devices: Mapping[str, Air]) -> float:
    """Bits per second that arrive while all devices send as fast as they can."""
    bulk = torch.zeros(BULK_BYTES, dtype=torch.uint8)
    schedule = _uplinks(devices, BULKS)
    _begin(2, schedule, station, devices, layout([bulk]))
    begin_ns = time.monotonic_ns()
    for task in schedule.tasks:
        devices[task.key.ue].offer([], {task.key: seal([bulk])})
    last_ns = max(_arrival(station, task.key).arrived_ns for task in schedule.tasks)
    return len(schedule.tasks) * BULK_BYTES * 8 / ((last_ns - begin_ns) / 1e9)
