"""Measures how fast the engine's host runs a model's units and moves messages; remembered per host and image."""

from __future__ import annotations

import json
from typing import Any

from agents.own import is_own, path_of
from testbed.compute import Calibration, Transport, fit
from testbed.data import info
from testbed.deploy import AGENT_IMAGE, resource
from testbed.engine import LABEL, ContainerSpec, Engine
from testbed.kept import kept
from testbed.topology import Topology


def calibrate(engine: Engine, topology: Topology, fresh: bool = False) -> Calibration:
    """The calibration for the topology's model, measured inside the agent image on one core.

    A remembered one is used unless ``fresh``; a new image or another engine measures anew.
    """
    model, shape = (topology.model.name, topology.model.norm), info(topology.data)
    own = [path_of(model[0]).read_text()] if is_own(model[0]) else []
    of = {
        "engine": str(engine.info()["ID"]),
        "image": engine.need_image(AGENT_IMAGE),
        "model": [*model, *own],
        "shape": shape.shape,
    }

    def measure() -> Any:
        name = resource(topology.name, "calibration")
        command = ("python3", "-m", "agents.calibrate", *model, json.dumps(shape.to_json()), *own)
        return json.loads(engine.run_once(ContainerSpec(name, AGENT_IMAGE, {LABEL: topology.name}, command=command)))

    return kept("calibration", of, measure, lambda found: fit(found["units"], Transport(**found["transport"])), fresh)
