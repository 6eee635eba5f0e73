"""Measures how fast the engine's host runs a model's units and moves messages; remembered per host and image."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal

from agents.own import is_own, path_of
from testbed.compute import Calibration, Transport, fit, sizes_of
from testbed.container import LABEL, ContainerSpec
from testbed.data import info
from testbed.deploy import AGENT_IMAGE, gives_gpu, resource
from testbed.engine import Engine
from testbed.kept import kept
from testbed.topology import Topology

CORE_BYTES = 2 << 30
"""What a calibration may take for every core: two processes run the model there, each 0.6 GB for ResNet-18."""

When = Literal["once", "fresh", "never"]


class NotMeasuredError(Exception):
    """A host is not calibrated for a model, and was not to be."""


def calibrate(engine: Engine, topology: Topology, bs_threads: int = 1, *, fresh: bool = False) -> Calibration:
    """The calibration for the topology's model, measured inside the agent image on one core.

    A remembered one is used unless ``fresh``; a new image or another engine measures anew. A BS that computes with
    several ``bs_threads`` is measured so besides, and one that computes on a GPU on that.
    """
    return _calibrated(engine, topology, bs_threads, "fresh" if fresh else "once")


def remembered(engine: Engine, topology: Topology, bs_threads: int = 1) -> Calibration:
    """``calibrate`` where all of it was measured before. NotMeasuredError."""
    return _calibrated(engine, topology, bs_threads, "never")


def _calibrated(engine: Engine, topology: Topology, bs_threads: int, when: When) -> Calibration:
    found = _measured(engine, topology, when)
    if gives_gpu(engine, topology):
        on_gpu = _measured(engine, topology, when, device=topology.base_station.device)
        if on_gpu.units:
            return replace(found, bs_units=on_gpu.units)
    if bs_threads == 1:
        return found
    shared = _measured(engine, topology, when, threads=str(bs_threads))
    return replace(found, bs_units=shared.units, bs_threads=bs_threads)


def _measured(engine: Engine, topology: Topology, when: When, **bs: str) -> Calibration:
    """The calibration of all agents, or of a BS with its own ``threads`` or ``device``.

    It has no units where torch finds no GPU.
    """
    model, shape = (topology.model.name, topology.model.norm), info(topology.data)
    own = [path_of(model[0]).read_text()] if is_own(model[0]) else []
    of = {
        "engine": engine.id,
        "image": engine.need_image(AGENT_IMAGE),
        "model": [*model, *own],
        "shape": shape.shape,
        **bs,
    }

    def measure() -> Any:
        if when == "never":
            raise NotMeasuredError
        name = resource(topology.name, "calibration")
        command = ("python3", "-m", "agents.calibrate", *model, json.dumps(shape.to_json()), *own)
        environment = {f"TESTBED_{key.upper()}": value for key, value in bs.items()}
        labels, gpu = {LABEL: topology.name}, "device" in bs
        memory_bytes = CORE_BYTES * int(engine.info()["NCPU"])
        spec = ContainerSpec(name, AGENT_IMAGE, labels, environment, command, gpu=gpu, memory_bytes=memory_bytes)
        return json.loads(engine.run_once(spec))

    found = kept("calibration", of, measure, _read, when == "fresh")
    return found.grouped(topology.units, topology.group_sizes) if topology.group_sizes and found.units else found


def _read(found: Any) -> Calibration:
    """The calibration that ``agents.calibrate`` printed."""
    transport = Transport(**found["transport"]) if "transport" in found else Transport()
    return replace(fit(found["units"], transport), noise_s=found.get("noise_s", 0.0), sizes=sizes_of(found["units"]))
