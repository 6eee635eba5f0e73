"""An agent's process: ``python3 -m agents``, told by the environment who it is.

``TESTBED_ROLE`` (ue or bs), ``TESTBED_NAME``, ``TESTBED_MGMT_HOST`` and ``TESTBED_AIR_HOST``
(names under which it finds its own addresses), ``TESTBED_DEVICE`` (auto, cpu or cuda).
"""

from __future__ import annotations

import os
import signal
import socket
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from agents import host_counters
from agents.bs import Bs
from agents.meter import Metrics
from agents.pace import sharpen_timers
from agents.plan import AIR_PORT, BROADCAST_PORT, CONTROL_PORT, METRICS_PORT, Job
from agents.samples.shard import Samples
from agents.ue import Ue
from agents.wire.air import Air
from agents.wire.frames import Header
from agents.wire.mgmt import Answer, ControlServer, Tensors

DATA = Path("/data/samples.npz")
OWN = Path("/data/own.npz")


def pick_device(wanted: str) -> str:
    """The torch device of the BS: ``auto`` takes a GPU when there is one."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def main() -> None:
    """Serves requests until the container is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    torch.set_num_threads(1)
    sharpen_timers()
    env = os.environ
    mgmt = socket.gethostbyname(env["TESTBED_MGMT_HOST"])
    metrics = Metrics()
    metrics.serve(mgmt, METRICS_PORT)
    samples = Samples.load(DATA)
    agent: Ue | Bs
    if env["TESTBED_ROLE"] == "bs":
        air = Air.station(socket.gethostbyname(env["TESTBED_AIR_HOST"]), AIR_PORT, BROADCAST_PORT)
        agent = Bs(samples, metrics, air, pick_device(env["TESTBED_DEVICE"]), lambda: Samples.load(OWN))
    else:
        agent = Ue(env["TESTBED_NAME"], samples, metrics)
    ControlServer(mgmt, CONTROL_PORT).serve(lambda header, tensors: handle(agent, header, tensors))


def handle(agent: Ue | Bs, request: Header, tensors: Tensors) -> Answer:
    """Answers one request of the controller."""
    match request["verb"]:
        case "hello":
            return {"device": getattr(agent, "device", "cpu"), "pid": os.getpid()}, []
        case "configure":
            agent.configure(Job.from_json(request["job"]))
            return {}, []
        case "retune":
            agent.job = agent.job.at_tempo(request["tempo"])
            return {}, []
        case "phase":
            before = host_counters.look()
            agent.phase(request["round"], request["phase"], request["start_ns"])
            return {
                **_phase_answer(agent),
                "seen": {**host_counters.since(before), "kernel": host_counters.kernel()},
            }, []
        case "end_round":
            agent.meter.end_round(request["round_s"])
            return {}, []
        case "weights" if isinstance(agent, Ue):
            return {}, agent.weights()
        case "evaluate" if isinstance(agent, Bs):
            given = iter(tensors)
            halves = {ue: list(islice(given, count)) for ue, count in request["counts"].items()}
            return {"accuracies": agent.evaluate(halves)}, []
        case verb:
            raise ValueError(f"unknown request {verb!r}")


def _phase_answer(agent: Ue | Bs) -> dict[str, Any]:
    meter = agent.meter
    return {"events": meter.events, "loss_sum": meter.loss_sum, "loss_samples": meter.loss_samples}


if __name__ == "__main__":
    main()
