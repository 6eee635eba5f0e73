"""What the air carries: a tensor that takes minutes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from agents.schedule.task import BS, Activations, Key, Schedule, Task, up
from agents.wire.air import Air
from agents.wire.frames import layout, seal
from agents.wire.inbox import Expected
from agents.wire.keys import Keyring, new_keyrings
from agents.wire.outbox import Outbox
from testbed.shaping.actions import set_links
from testbed.shaping.namespace import entered
from tests.bench.number import Number, at_least, at_most
from tests.contract.cell import Air as Cell
from tests.contract.cell import cell

PORT, MOST, SCHEME = 5800, 1 << 27, "bench"
KEY = Key(0, 0, 0, "uplink", "ue1")
SCHEDULE = Schedule((Task(KEY, up("ue1"), Activations(1, 1, labels=False)),))
MEGABYTES, RATE_BPS = 64, 4e6


def numbers() -> list[Number]:
    """Minutes on the air: 64 MB at 4 Mbit/s of wall rate, between two network namespaces.

    The device is a process of its own.
    """
    keys = new_keyrings(["ue1"])
    with cell(["ue1"]) as (pids, addresses), tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(keys["ue1"].to_bytes())
        set_links(Cell("htb", pids, addresses).plan({"ue1": RATE_BPS}, {"ue1": RATE_BPS}))
        with entered(pids[BS]):
            station = Air.station(keys[BS], addresses[BS], PORT, PORT + 1, MOST)
        with entered(pids["ue1"]):
            device = subprocess.Popen([sys.executable, "-m", "tests.bench.transfers", addresses[BS], file.name])
        try:
            station.open(SCHEME, ["ue1"])
            station.await_greetings(["ue1"], 60)
            station.begin(1, {KEY: Expected("ue1", layout([_tensor()]))}, Outbox(SCHEDULE, BS, segment=0))
            arrival = station.wait(lambda arrivals: arrivals.get(KEY), 600)
        finally:
            station.close()
            device.kill()
            device.wait()
    seconds, bits = (arrival.arrived_ns - arrival.sent_ns) / 1e9, _tensor().nbytes * 8
    whole = torch.equal(arrival.tensors()[0], _tensor())
    return [
        at_least(f"{MEGABYTES} MB at {RATE_BPS / 1e6:g} Mbit/s arrive whole", 1, float(whole), "", 0),
        at_most("and take longer than bytes / rate by", 1, 100 * (seconds / (bits / RATE_BPS) - 1), "%"),
    ]


def _tensor() -> torch.Tensor:
    return torch.arange(MEGABYTES * 250_000, dtype=torch.float32)


def device(address: str, keys: Path) -> None:
    """A UE that has one thing to send, and stays until it is ended."""
    air = Air.device(Keyring.from_bytes(keys.read_bytes()), address, PORT, PORT + 1, MOST)
    air.open(SCHEME, [BS])
    air.begin(1, {}, Outbox(SCHEDULE, "ue1", segment=0))
    air.greet(SCHEME)
    air.offer([], {KEY: seal([_tensor()])})
    time.sleep(600)


if __name__ == "__main__":
    device(sys.argv[1], Path(sys.argv[2]))
