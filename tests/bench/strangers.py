"""A trial at whose sockets 1 000 connections without a valid key are opened in every other round."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import zmq

from agents.ports import AIR_PORT, BROADCAST_PORT, CONTROL_PORT, METRICS_PORT
from agents.wire.frames import pack
from agents.wire.keys import CONTROLLER, Keyring, connecting, new_keyrings
from controller.trial.field_trial import field_trial
from controller.trial.watch import RoundEnded
from testbed.deploy import AIR, BS, MGMT, controller_keys, find
from testbed.engine import Engine
from testbed.loading import load
from tests.bench.number import Number, at_most

CONNECTIONS = 1000
SCENE = Path("tests/bench/scenes/strangers.yaml")
GREETING_BYTES = 64
AUTOGROUP = Path("/proc/self/autogroup")


def numbers() -> list[Number]:
    """How much longer rounds with strangers are, and how many of these got in or were told more than a handshake."""
    topology = load(SCENE)
    engine = Engine.connect()
    crowd = _Crowd(engine, topology.name)
    with tempfile.TemporaryDirectory() as folder, crowd.ready():
        results = field_trial(engine, topology, Path(folder), crowd)
        journal = [json.loads(line) for line in (Path(folder) / "events.jsonl").read_text().splitlines()]
    (one,) = results.schemes.values()
    rounds: dict[bool, list[float]] = {True: [], False: []}
    for row in one.rounds[1:]:
        rounds[row.round % 2 == 0].append(row.round_s)
    change = 100 * (median(rounds[True]) / median(rounds[False]) - 1)
    heard = sum(sum(counts.values()) for line in journal for counts in line.get("dropped", {}).values())
    return [
        at_most(f"rounds longer by {CONNECTIONS} connections without a valid key", 2, change, "%"),
        at_most(f"of {crowd.opened} connections, answered", 0, crowd.answered, "", 0),
        at_most("messages of theirs that an agent read", 0, heard, "", 0),
        at_most("round error with all of them", 1, 100 * abs(one.summary.round_error), "%"),
    ]


class _Crowd:
    """A watcher of a trial that lets strangers come while even rounds run, and counts what they got."""

    def __init__(self, engine: Engine, trial: str) -> None:
        self._engine, self._trial = engine, trial
        self._go, self._stop = threading.Event(), threading.Event()
        self.opened = self.answered = 0

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Strangers are a process of their own meanwhile, and come when a round says so."""
        command = [sys.executable, "-m", "tests.bench.strangers"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as process:
            thread = threading.Thread(target=self._run, args=(process,), daemon=True)
            thread.start()
            yield
            self._stop.set()
            self._go.set()
            thread.join()
            assert process.stdin
            process.stdin.close()

    def __call__(self, event: object) -> None:
        if isinstance(event, RoundEnded) and event.row.round % 2 == 1:
            self._go.set()

    def _run(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin and process.stdout
        places: list[list[str]] = []
        while self._go.wait() and not self._stop.is_set():
            self._go.clear()
            places = places or self._places()
            process.stdin.write(json.dumps(places) + "\n")
            process.stdin.flush()
            found = json.loads(process.stdout.readline())
            self.opened += found["opened"]
            self.answered += found["answered"]

    def _places(self) -> list[list[str]]:
        """Every address and port at which an agent listens, whose it is, and its public key."""
        deployment = find(self._engine, self._trial)
        assert deployment is not None
        keys, air, mgmt = controller_keys(self._engine, self._trial).peers, *map(deployment.addresses, (AIR, MGMT))
        ports = [(BS, air[BS], AIR_PORT), (BS, air[BS], BROADCAST_PORT)]
        ports += [(name, mgmt[name], port) for name in mgmt for port in (CONTROL_PORT, METRICS_PORT)]
        return [[name, keys[name], address, str(port)] for name, address, port in ports]


def come(places: Sequence[Sequence[str]]) -> dict[str, int]:
    """Opens the connections, a fifth each silent, noisy, without keys, and with unknown keys that know whom they ask
    or do not; how many there were, and how many of them got an answer.
    """
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 2 * CONNECTIONS)
    other = new_keyrings(["ue1"])
    raw, sockets = [], []
    for number in range(CONNECTIONS):
        name, public, address, port = places[number // 5 % len(places)]
        kind = number % 5
        if kind < 2 or int(port) == METRICS_PORT:
            with suppress(OSError):
                made = socket.create_connection((address, int(port)), timeout=5)
                made.sendall(b"" if kind % 2 else bytes(range(256)))
                raw.append(made)
            continue
        known = Keyring(other[CONTROLLER].own, {name: public if kind == 4 else other[BS].own.public})
        dealer = context.socket(zmq.DEALER) if kind == 2 else connecting(context, known, name)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RECONNECT_IVL, -1)
        dealer.connect(f"tcp://{address}:{port}")
        with suppress(zmq.Again):
            dealer.send_multipart(pack({"verb": "hello", "id": 1}), zmq.NOBLOCK)
        sockets.append(dealer)
    answered = sum(bool(dealer.poll(0)) for dealer in sockets) + sum(map(_told_more, raw))
    opened = len(raw) + len(sockets)
    for made in raw:
        made.close()
    context.destroy(linger=0)
    return {"opened": opened, "answered": answered}


def _told_more(made: socket.socket) -> bool:
    """Whether it got more than the greeting that both sides begin with, or a scraper's refusal."""
    made.setblocking(False)
    try:
        found = made.recv(1 << 16)
    except OSError:
        return False
    return len(found) > GREETING_BYTES and not found.startswith(b"HTTP/1.1 400")


if __name__ == "__main__":
    os.nice(19)
    if AUTOGROUP.exists():  # by which the kernel weighs a session, whatever its processes' own niceness
        AUTOGROUP.write_text("19")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for line in sys.stdin:
        print(json.dumps(come(json.loads(line))), flush=True)
