"""What the air carries: a tensor that takes minutes, and rounds among a thousand messages of strangers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgpack
import torch
import zmq

from agents.ports import AIR_PORT, BROADCAST_PORT, CONTROL_PORT
from agents.schedule.task import BS, Activations, Key, Schedule, Task, up
from agents.wire.air import Air
from agents.wire.frames import layout, pack, seal
from agents.wire.inbox import Expected
from agents.wire.keys import Keyring, new_keyrings
from agents.wire.outbox import Outbox
from controller.trial.field_trial import field_trial
from controller.trial.watch import RoundEnded
from testbed.deploy import AIR, MGMT, Deployment, find
from testbed.engine import Engine
from testbed.loading import load
from testbed.shaping.actions import set_links
from testbed.shaping.namespace import entered
from tests.bench.number import Number, at_least, at_most
from tests.contract.cell import Air as Cell
from tests.contract.cell import cell

PORT, MOST, SCHEME = 5800, 1 << 27, "bench"
KEY = Key(0, 0, 0, "uplink", "ue1")
SCHEDULE = Schedule((Task(KEY, up("ue1"), Activations(1, 1, labels=False)),))
MEGABYTES, RATE_BPS = 64, 4e6
MESSAGES = 1000
SCENE = Path("topologies/quickstart.yaml")


def numbers() -> list[Number]:
    """Minutes on the air, and the rounds' length with strangers against that without."""
    return [*_long_transfer(), *_strangers()]


def _long_transfer() -> list[Number]:
    """64 MB at 4 Mbit/s of wall rate, between two network namespaces; the device is a process of its own."""
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


def _strangers() -> list[Number]:
    """A trial in which strangers send to every socket in every other round."""
    topology = load(SCENE)
    topology = topology.model_copy(update={"name": "bench-strangers", "schemes": topology.schemes[1:2]})
    engine = Engine.connect()
    shouting = _Shouting(engine, topology.name)
    with tempfile.TemporaryDirectory() as folder, shouting.ready():
        results = field_trial(engine, topology, Path(folder), shouting)
    (one,) = results.schemes.values()
    rounds = {True: [], False: []}
    for row in one.rounds[1:]:
        rounds[row.round % 2 == 0].append(row.round_s)
    change = 100 * (median(rounds[True]) / median(rounds[False]) - 1)
    return [
        at_most(f"rounds longer by {MESSAGES} messages of strangers at each socket", 1, change, "%"),
        at_most("round error with all of them", 1, 100 * abs(one.summary.round_error), "%"),
    ]


class _Shouting:
    """A watcher of a trial that sends nonsense to all of its sockets while even rounds run."""

    def __init__(self, engine: Engine, trial: str) -> None:
        self._engine, self._trial = engine, trial
        self._go, self._stop = threading.Event(), threading.Event()

    @contextmanager
    def ready(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        yield
        self._stop.set()
        self._go.set()
        thread.join()

    def __call__(self, event: object) -> None:
        if isinstance(event, RoundEnded) and event.row.round % 2 == 1:
            self._go.set()

    def _run(self) -> None:
        while self._go.wait() and not self._stop.is_set():
            self._go.clear()
            deployment = find(self._engine, self._trial)
            if deployment is not None:
                _shout(_sockets_of(deployment))


def _sockets_of(deployment: Deployment) -> list[str]:
    """Every address and port at which an agent listens for messages."""
    air = deployment.addresses(AIR)[BS]
    mgmt = [f"tcp://{address}:{CONTROL_PORT}" for address in deployment.addresses(MGMT).values()]
    return [f"tcp://{air}:{AIR_PORT}", f"tcp://{air}:{BROADCAST_PORT}", *mgmt]


def _shout(endpoints: list[str]) -> None:
    """A thousand messages to each: of old rounds, with lying headers, and no messages at all."""
    header: Mapping[str, object] = {"scheme": "psl", "round": 1, "key": [0, 0, 0, "uplink", "ue1"], "sent_ns": 0}
    lies = (
        [bytes(frame) for frame in pack(header, seal([torch.ones(5)]))],
        [msgpack.packb([dict(header), [["float32", [1 << 40]]]]), b""],
        [b"\xc1\xff", b"x" * 100],
        [b""] * 3,
    )
    context = zmq.Context()
    sockets = []
    for endpoint in endpoints:
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(endpoint)
        sockets.append(socket)
    for number in range(MESSAGES):
        for socket in sockets:
            socket.send_multipart(lies[number % len(lies)])
        if number % 50 == 0:
            time.sleep(0.005)
    time.sleep(0.1)
    context.destroy(linger=0)


if __name__ == "__main__":
    device(sys.argv[1], Path(sys.argv[2]))
