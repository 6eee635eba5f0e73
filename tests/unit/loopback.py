"""Agents on loopback: the real loops and sockets of ``agents``, in threads instead of containers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from agents.bs import Bs
from agents.executor import Done
from agents.halves import Half
from agents.job import Job
from agents.meter import Metrics
from agents.models.catalog import DATASETS
from agents.plan import Plan, UePlan
from agents.samples.shard import Samples
from agents.schedule.costs import Costs
from agents.schedule.task import Key, Task
from agents.ue import Ue
from agents.wire.air import Air
from agents.wire.inbox import Arrival
from agents.wire.keys import Keyring, new_keyrings

torch.set_num_threads(1)  # as agents do: more would only wait for each other

NOTHING: Mapping[str, object] = {}
MOST_BYTES = 1 << 26
Shard = Samples | Sequence[Samples]


def samples(count: int, seed: int) -> Samples:
    """Random digits."""
    rng = np.random.default_rng(seed)
    return Samples(rng.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.uint8))


def costs(ue_s: float = 0.0, bs_s: float = 0.0, count: int = 9) -> Costs:
    """Costs with which a unit takes so long forward for one sample, at UEs and at the BS."""
    speeds = dict.fromkeys((f"ue{i + 1}" for i in range(count)), 1.0 / ue_s if ue_s else float("inf"))
    return Costs((1.0,) * 5, (1.0,) * 5, (1.0,) * 5, 2.0, 1.0, speeds, 1.0 / bs_s if bs_s else float("inf"))


def job(
    scheme: str,
    cut: int,
    k: int,
    batches: Sequence[int],
    plan: Mapping[str, object] = NOTHING,
    ues: Sequence[Mapping[str, object]] = (),
    **changes: object,
) -> Job:
    """A job that computes as fast as it can; changes of the plan, of each UE's part of it, and of the job."""
    each = [*ues, *({},) * (len(batches) - len(ues))]
    parts = {
        f"ue{i + 1}": UePlan(b, 0.01, 0.01, 1e6, 1e6, **change)  # type: ignore[arg-type]
        for i, (b, change) in enumerate(zip(batches, each, strict=True))
    }
    made = Plan("t", scheme, "uniform", cut, k, 1.0, parts, broadcast_bps=1e9)
    values = {
        "trial": "t", "label": scheme, "plan": replace(made, **plan), "costs": costs(), "model": "vgg5",
        "norm": "group", "dataset_info": DATASETS["mnist5k"], "lr": 0.05,
        "momentum": 0.9, "seed": 3, "paced": False, "duplex": "tdd", "deadline_s": 20.0, "bs_address": "127.0.0.1",
        "shares": {ue: b / max(1, sum(batches)) for ue, b in zip(parts, batches, strict=True)}, **changes,
    }  # fmt: skip
    return Job(**values)  # type: ignore[arg-type]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class World:
    """A BS and its UEs, each round run with every agent in a thread of its own."""

    def __init__(self, bs: Bs, ues: dict[str, Ue], port: int, keys: Mapping[str, Keyring]) -> None:
        self.bs, self.ues, self.port, self.keys = bs, ues, port, keys
        self.lost: set[str] = set()
        self.events: list[dict[str, Any]] = []

    def configure(self, job: Job) -> None:
        """Gives everybody the job."""
        self.job = job
        self.bs.open(job.label, list(job.plan.ues), MOST_BYTES)
        self._all(lambda agent: agent.configure(job, MOST_BYTES) if isinstance(agent, Ue) else agent.configure(job))

    def change(self, job: Job) -> None:
        """Gives everybody another plan from the next round on."""
        self.job = job
        self._all(lambda agent: agent.change(job))

    def round(self, number: int, dies: str = "", at: Key | None = None) -> int:
        """Runs a round, segment by segment; the start of the last (monotonic ns). Its events are in ``events``.

        A UE that ``dies`` does so before it does the task ``at``; the others go on without it.
        """
        self.events, self.late = [], list[Key]()
        self._all(lambda agent: agent.begin_round(number))
        if at is not None:
            _mortal(self.ues[dies], at)
        for index in range(self.job.schedule(number).segments):
            start_ns = time.monotonic_ns() + 5_000_000
            self._all(
                lambda agent, i=index, at=start_ns: agent.segment(i, at),  # type: ignore[misc]
                (dies, lambda: self._lose(dies)) if dies not in self.lost else None,
            )
            self.events += [event for agent in self.there for event in agent.meter.events]
        return start_ns

    @property
    def there(self) -> list[Bs | Ue]:
        """The BS, and the UEs that are not lost."""
        return [self.bs, *(ue for name, ue in self.ues.items() if name not in self.lost)]

    def _lose(self, ue: str) -> None:
        """What the controller has the others do when a UE is lost; all that it had sent has come before."""
        self.lost.add(ue)
        sent = _sent(self.ues[ue])
        while sum(arrival.peer == ue for arrival in self.bs.air.arrivals) < sent:
            time.sleep(0.001)
        came = self.bs.lose(ue)
        for agent in reversed(self.there):
            self.late += agent.prune(ue, came)

    def renew(self, ue: str) -> None:
        """The process of a UE that is lost is another one, which knows of nothing."""
        old = self.ues[ue]
        old.close()
        self.ues[ue] = Ue(ue, old._load, Metrics(), old._open_air)

    def rejoin(self, ue: str, job: Job, drawn: int = 0) -> bool:
        """A UE comes back; whether it still had its weights."""
        self.lost.discard(ue)
        self.bs.join(ue)
        kept = self.ues[ue].rejoin(job, MOST_BYTES, drawn)
        self.bs.air.await_greetings([ue], 10)
        self.change(job)
        return kept

    def half(self, agent: str, model: str = "") -> Half:
        """The first part that an agent has of a model (its own, unless it is named)."""
        trainer = self.bs.trainer if agent == "bs" else self.ues[agent].trainer
        return trainer.of(model or agent)[0][1]

    def _all(self, work: Callable[[Bs | Ue], None], mortal: tuple[str, Callable[[], None]] | None = None) -> None:
        errors: list[Exception] = []
        died = threading.Event()

        def guarded(agent: Bs | Ue) -> None:
            torch.set_num_threads(1)  # of this thread too, or a product that is its first work may be split in two
            try:
                work(agent)
            except Died:
                died.set()
            except Exception as error:  # raised again below, in the caller's thread
                errors.append(error)

        threads = [threading.Thread(target=guarded, args=(agent,)) for agent in self.there]
        for thread in threads:
            thread.start()
        while mortal is not None and mortal[0] and any(thread.is_alive() for thread in threads):
            if died.wait(0.001):
                mortal[1]()
                break
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]


class Died(Exception):
    """A UE is no more."""


def _mortal(ue: Ue, at: Key) -> None:
    """Has a UE die before it does a task."""
    performs = ue._executor.perform

    def perform(task: Task, arrivals: Sequence[Arrival]) -> Done:
        if task.key == at:
            ue._executor.perform = performs
            raise Died
        return performs(task, arrivals)

    ue._executor.perform = perform


def _sent(ue: Ue) -> int:
    """How many messages of the round a UE has sent, when all that may leave has left."""
    for _ in range(2):  # what was offered leaves in the turn of the thread after that
        ue.air._at_the_thread(lambda: None, wait=True)
    outbox = ue.air._outbox
    assert outbox is not None
    mine = [task for task in outbox.schedule.tasks if task.transfers and task.agent == ue.name]
    return len(mine) - sum(map(len, outbox._links.values()))


def _device(keys: Keyring, port: int, broadcast: int) -> Callable[[str, int], Air]:
    return lambda address, most_bytes: Air.device(keys, address, port, broadcast, most_bytes)


def _of(shard: Shard, number: int) -> Samples:
    return shard if isinstance(shard, Samples) else shard[number]


@contextmanager
def world(shards: Mapping[str, Shard], device: str = "cpu", station: type[Bs] = Bs) -> Iterator[World]:
    """Agents with these private samples, or with some for each dealing, on loopback.

    The BS, a ``station``, computes on a device.
    """
    port, broadcast = free_port(), free_port()
    keys = new_keyrings(shards)
    open_air = partial(Air.station, keys["bs"], "127.0.0.1", port, broadcast)
    bs = station(samples(50, 99), Metrics(), open_air, device, lambda: samples(60, 98))
    loads = {name: partial(_of, shard) for name, shard in shards.items()}
    ues = {name: Ue(name, load, Metrics(), _device(keys[name], port, broadcast)) for name, load in loads.items()}
    try:
        yield World(bs, ues, port, keys)
    finally:
        bs.close()
        for ue in ues.values():
            ue.close()
