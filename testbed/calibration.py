"""Measures how fast the engine's host runs a model's units and moves messages; remembered per host and image."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from agents.own import is_own, path_of
from testbed.compute import Calibration, Transport, fit
from testbed.data import info
from testbed.deploy import AGENT_IMAGE, resource
from testbed.engine import LABEL, ContainerSpec, Engine
from testbed.topology import Topology


def cache_folder() -> Path:
    """Where measured facts about hosts are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "testbed"


def calibrate(engine: Engine, topology: Topology, fresh: bool = False) -> Calibration:
    """The calibration for the topology's model, measured inside the agent image on one core.

    A remembered one is used unless ``fresh``; a new image or another engine measures anew.
    """
    image = engine.need_image(AGENT_IMAGE)
    model, shape = (topology.model.name, topology.model.norm), info(topology.data)
    size = f"{shape.channels}x{shape.height}x{shape.width}-{shape.classes}"
    key = "-".join([str(engine.info()["ID"]).replace(":", "")[:16], image.split(":")[-1][:16], *model, size])
    own = [path_of(model[0]).read_text()] if is_own(model[0]) else []
    key += "".join(f"-{hashlib.sha256(text.encode()).hexdigest()[:12]}" for text in own)
    path = cache_folder() / f"calibration-{key.replace('/', '-')}.json"
    if fresh or not path.exists():
        name = resource(topology.name, "calibration")
        command = ("python3", "-m", "agents.calibrate", *model, json.dumps(shape.to_json()), *own)
        text = engine.run_once(ContainerSpec(name, AGENT_IMAGE, {LABEL: topology.name}, command=command))
        json.loads(text)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(text)
        partial.replace(path)
    found = json.loads(path.read_text())
    return fit(found["units"], Transport(**found["transport"]))
