"""What a timer, a message and a byte cost on this host, whatever the rate of a link: for calibration."""

from __future__ import annotations

import time
from statistics import median

import torch

from agents.pace import sharpen_timers, sleep_until
from agents.wire.air import Air
from agents.wire.frames import Header

HOST = "127.0.0.1"
PORT = 5710
SLEEPS, SLEEP_S = 200, 0.002
MESSAGES, PAUSE_S = 100, 0.005
DEVICES, BULKS, BULK_BYTES = 2, 20, 1 << 20
FRAMES_BYTES = 2 + 9 + 9
"""What ZeroMQ puts before a short frame and before two long ones: header, activations, labels."""
PATIENCE_S = 30.0


def measure() -> dict[str, float]:
    """``timer_s`` and ``jitter_s``: how late a sleep ends, typically and at worst in a hundred.

    ``message_s``: from handing a small message to the radio until it is there. ``message_bytes``: what goes
    with a micro-batch besides its tensors. ``link_bps``: what all links of the host carry together, unshaped.
    """
    sharpen_timers()
    late = sorted(_late_s() for _ in range(SLEEPS))
    station = Air.station(HOST, PORT, PORT + 1)
    devices = [Air.device(f"ue{i}", HOST, PORT, PORT + 1) for i in range(DEVICES)]
    try:
        cost_s, size = _messages(station, devices[0])
        bps = _bulk_bps(station, devices)
    finally:
        for air in (*devices, station):
            air.close()
    timers = {"timer_s": median(late), "jitter_s": late[-len(late) // 100]}
    return {**timers, "message_s": cost_s, "message_bytes": size, "link_bps": bps}


def _late_s() -> float:
    due_ns = time.monotonic_ns() + round(SLEEP_S * 1e9)
    sleep_until(due_ns)
    return (time.monotonic_ns() - due_ns) / 1e9


def _messages(station: Air, device: Air) -> tuple[float, float]:
    """Seconds that a small message takes, each sent after a pause; bytes beyond its tensors."""
    labels = torch.zeros(1, dtype=torch.uint8)
    where = {"round": 100, "phase": 0, "turn": 0, "step": 0, "micro_batch": 10, "kind": "uplink"}
    times, extra = [], 0
    for _ in range(MESSAGES):
        time.sleep(PAUSE_S)
        sent_ns = time.monotonic_ns()
        device.send("bs", where, [labels, labels])
        arrival = station.receive(PATIENCE_S)
        times.append((arrival.arrived_ns - sent_ns) / 1e9)
        extra = arrival.bytes - 2
    return median(times), float(extra + FRAMES_BYTES)


def _bulk_bps(station: Air, devices: list[Air]) -> float:
    """Bits per second that arrive while all devices send as fast as they can."""
    bulk = torch.zeros(BULK_BYTES, dtype=torch.uint8)
    header: Header = {"round": 0, "phase": 0, "kind": "uplink"}
    begin_ns = time.monotonic_ns()
    for _ in range(BULKS):
        for device in devices:
            device.send("bs", header, [bulk])
    for _ in range(BULKS * len(devices)):
        last = station.receive(PATIENCE_S)
    return BULKS * len(devices) * BULK_BYTES * 8 / ((last.arrived_ns - begin_ns) / 1e9)
