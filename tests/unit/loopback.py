"""Agents on loopback: the real loops and sockets of ``agents``, in threads instead of containers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

import agents.ue
from agents.bs import Bs
from agents.meter import Metrics
from agents.models.catalog import DATASETS
from agents.plan import Job, Plan, UePlan
from agents.samples.shard import Samples
from agents.ue import Ue
from agents.wire.air import Air

NOTHING: Mapping[str, object] = {}


def samples(count: int, seed: int) -> Samples:
    """Random digits."""
    rng = np.random.default_rng(seed)
    return Samples(rng.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.uint8))


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
    zeros = dict.fromkeys(["bs", *parts], 0.0)
    made = Plan("t", scheme, "uniform", cut, k, 1.0, parts, broadcast_bps=1e9)
    values = {
        "trial": "t", "label": scheme, "plan": replace(made, **plan), "model": "vgg5",
        "norm": "group", "dataset": "mnist5k", "dataset_info": DATASETS["mnist5k"], "lr": 0.05,
        "momentum": 0.9, "seed": 3, "paced": False, "duplex": "tdd",
        "ue_forward_s_per_sample": zeros, "ue_backward_s_per_sample": zeros, "bs_forward_s_per_sample": zeros,
        "bs_backward_s_per_sample": zeros, "deadline_s": 20.0, "bs_address": "127.0.0.1",
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

    def __init__(self, bs: Bs, ues: dict[str, Ue]) -> None:
        self.bs, self.ues = bs, ues
        self.events: list[dict[str, Any]] = []

    def configure(self, job: Job) -> None:
        """Gives everybody the job."""
        self._all(lambda agent: agent.configure(job))

    def round(self, number: int) -> int:
        """Runs a round, phase by phase; the start of the last (monotonic ns). Its events are in ``events``."""
        self.events = []
        for index in range(len(self.bs.phases)):
            start_ns = time.monotonic_ns() + 5_000_000
            self._all(lambda agent, i=index, at=start_ns: agent.phase(number, i, at))  # type: ignore[misc]
            self.events += [event for agent in (self.bs, *self.ues.values()) for event in agent.meter.events]
        return start_ns

    def _all(self, work: Callable[[Bs | Ue], None]) -> None:
        errors: list[Exception] = []

        def guarded(agent: Bs | Ue) -> None:
            try:
                work(agent)
            except Exception as error:  # raised again below, in the caller's thread
                errors.append(error)

        threads = [threading.Thread(target=guarded, args=(agent,)) for agent in (self.bs, *self.ues.values())]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]


@contextmanager
def world(shards: dict[str, Samples], monkeypatch: object) -> Iterator[World]:
    """Agents with these private samples, on loopback."""
    port, broadcast = free_port(), free_port()
    monkeypatch.setattr(agents.ue, "AIR_PORT", port)  # type: ignore[attr-defined]
    monkeypatch.setattr(agents.ue, "BROADCAST_PORT", broadcast)  # type: ignore[attr-defined]
    air = Air.station("127.0.0.1", port, broadcast)
    bs = Bs(samples(50, 99), Metrics(), air, "cpu", lambda: samples(60, 98))
    ues = {name: Ue(name, shard, Metrics()) for name, shard in shards.items()}
    try:
        yield World(bs, ues)
    finally:
        air.close()
        for ue in ues.values():
            ue.air.close()
