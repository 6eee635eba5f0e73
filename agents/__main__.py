"""An agent's process: ``python3 -m agents``, told by the environment who it is.

``TESTBED_ROLE`` (ue or bs), ``TESTBED_NAME``, ``TESTBED_MGMT_HOST`` and ``TESTBED_AIR_HOST``
(names under which it finds its own addresses), ``TESTBED_DEVICE`` (auto, cpu or cuda). Its keys lie beside its data.
"""

from __future__ import annotations

import os
import signal
import socket
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from agents import host_counters
from agents.bs import Bs
from agents.device import pick_device
from agents.evaluation import Part
from agents.job import Job
from agents.meter import Metrics
from agents.own import set_folder
from agents.pace import sharpen_timers
from agents.plan import Plan
from agents.ports import AIR_PORT, BROADCAST_PORT, CONTROL_PORT, METRICS_PORT
from agents.samples.shard import OWN, TEST, Samples, shard_file
from agents.schedule.costs import Costs
from agents.schedule.task import Key
from agents.state import Given, digest
from agents.ue import Ue
from agents.wire.air import Air
from agents.wire.frames import Header
from agents.wire.keys import KEYRING, Keyring
from agents.wire.mgmt import Answer, ControlServer, Tensors

FOLDER = Path("/data")


def main() -> None:
    """Serves requests until the container is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    torch.set_num_threads(1)
    sharpen_timers()
    set_folder(FOLDER)
    env = os.environ
    mgmt = socket.gethostbyname(env["TESTBED_MGMT_HOST"])
    metrics = Metrics()
    metrics.serve(mgmt, METRICS_PORT)
    keys = Keyring.from_bytes((FOLDER / KEYRING).read_bytes())
    agent: Ue | Bs
    if env["TESTBED_ROLE"] == "bs":
        listen = partial(Air.station, keys, socket.gethostbyname(env["TESTBED_AIR_HOST"]), AIR_PORT, BROADCAST_PORT)
        test, device = Samples.load(FOLDER / TEST), pick_device(env["TESTBED_DEVICE"])
        agent = Bs(test, metrics, listen, device, lambda: Samples.load(FOLDER / OWN))
    else:

        def connect(address: str, most_bytes: int) -> Air:
            return Air.device(keys, address, AIR_PORT, BROADCAST_PORT, most_bytes)

        agent = Ue(env["TESTBED_NAME"], lambda number: Samples.load(FOLDER / shard_file(number)), metrics, connect)
    server = ControlServer(keys, mgmt, CONTROL_PORT, BESIDE, partial(handle_beside, agent))
    server.serve(partial(handle, agent))


def handle(agent: Ue | Bs, request: Header, tensors: Tensors) -> Answer:
    """Answers one request of the controller."""
    match request["verb"]:
        case "hello":
            return {"device": agent.device, "pid": os.getpid()}, []
        case "open" if isinstance(agent, Bs):
            agent.open(request["label"], request["ues"], request["most_bytes"])
            return {}, []
        case "configure" if isinstance(agent, Bs):
            agent.configure(Job.from_json(request["job"]))
            return {}, []
        case "configure" if isinstance(agent, Ue):
            if request["anew"]:
                agent.close()  # what it had not sent would reach a base station that has been started again
            agent.configure(Job.from_json(request["job"]), request["most_bytes"])
            return {}, []
        case "rejoin" if isinstance(agent, Ue):
            job = Job.from_json(request["job"])
            return {"kept": agent.rejoin(job, request["most_bytes"], request["drawn"])}, []
        case "greeted" if isinstance(agent, Bs):
            agent.air.await_greetings(request["ues"], request["timeout_s"])
            return {}, []
        case "change":
            plan, costs = Plan.from_json(request["plan"]), Costs.from_json(request["costs"])
            agent.change(agent.job.changed(plan, costs, request["deadline_s"]))
            return {}, []
        case "begin_round":
            agent.begin_round(request["round"])
            return {}, []
        case "segment":
            before = host_counters.read()
            agent.segment(request["segment"], request["start_ns"])
            host = host_counters.since(before)
            agent.meter.counted(host)
            return {**_report(agent), "host": {**host, "kernel": host_counters.kernel()}}, []
        case "end_round":
            agent.meter.end_round(request["round_s"])
            return {}, []
        case "state":
            kept = agent.state()
            return kept.header, kept.tensors
        case "restore":
            agent.restore(Given(request["state"], tensors))
            if isinstance(agent, Ue) and request["skipped"]:
                agent.skip(request["skipped"])
            return {}, []
        case "digest":
            return {"weights": digest(agent.trainer)}, []
        case "weights" if isinstance(agent, Ue):
            parts = agent.parts()
            counts = [[first, last, len(weights)] for first, last, weights in parts]
            return {"parts": counts}, [weight for *_, weights in parts for weight in weights]
        case "evaluate" if isinstance(agent, Bs):
            of_ues = _parts(request["parts"], tensors)
            accuracies, mean = agent.evaluate(of_ues, request["averaged"], request["images"])
            return {"accuracies": accuracies, "mean": mean}, []
        case verb:
            raise ValueError(f"unknown request {verb!r}")


def handle_beside(agent: Ue | Bs, request: Header, _: Tensors) -> Answer:
    """Answers one request that does not wait until the one that is being done is over."""
    match request["verb"]:
        case "look":
            busy, progress, waits_for = agent.looks()
            return {"busy": busy, "progress": progress, "waits_for": waits_for}, []
        case "lose" if isinstance(agent, Bs):
            return {"came": [list(key) for key in agent.lose(request["ue"])]}, []
        case "prune":
            return {"late": [list(key) for key in agent.prune(request["ue"], [*map(Key.of, request["came"])])]}, []
        case "join" if isinstance(agent, Bs):
            agent.join(request["ue"])
            return {}, []
        case "abandon" if isinstance(agent, Ue):
            agent.abandon()
            return {}, []
        case verb:
            raise ValueError(f"unknown request {verb!r}")


BESIDE = frozenset({"look", "lose", "prune", "join", "abandon"})
"""The verbs of ``handle_beside``."""


def _report(agent: Ue | Bs) -> dict[str, Any]:
    meter = agent.meter
    losses = {"loss_sum": meter.loss_sum, "loss_samples": meter.loss_samples}
    return {"events": meter.events, "dropped": dict(agent.air.dropped), **losses}


def _parts(counts: dict[str, list[list[int]]], tensors: Tensors) -> dict[str, list[Part]]:
    """The parts of the model of each UE, from tensors that follow each other."""
    given = iter(tensors)
    return {
        ue: [Part(first, last, list(islice(given, count))) for first, last, count in each]
        for ue, each in counts.items()
    }


if __name__ == "__main__":
    main()
