"""Facts about the host of an engine, for results and for ``doctor``."""

from __future__ import annotations

import json
from typing import Any

from testbed.deploy import AGENT_IMAGE, SHAPER_CAPABILITIES, SHAPER_IMAGE
from testbed.engine import LABEL, ContainerSpec, Engine
from testbed.errors import ImageError


def host_facts(engine: Engine) -> dict[str, Any]:
    """Cores, memory, kernel and Docker as the engine reports them."""
    info = engine.info()
    return {
        "cores": info["NCPU"],
        "memory_bytes": info["MemTotal"],
        "kernel": info["KernelVersion"],
        "system": info["OperatingSystem"],
        "architecture": info["Architecture"],
        "docker": info["ServerVersion"],
        "cgroup_version": str(info.get("CgroupVersion", "1")),
        "gpu": "nvidia" in info.get("Runtimes", {}),
    }


def diagnose(engine: Engine) -> dict[str, Any]:
    """What ``doctor`` prints: the host's facts, its images, and the link backends its kernel has."""
    facts = host_facts(engine)
    for role, tag in (("agent", AGENT_IMAGE), ("shaper", SHAPER_IMAGE)):
        try:
            engine.need_image(tag)
            facts[f"{role}_image"] = tag
        except ImageError as error:
            facts[f"{role}_image"] = str(error)
    if facts["shaper_image"] == SHAPER_IMAGE:
        facts["link_backends"] = ", ".join(name for name, there in _backends(engine).items() if there) or "none"
    return facts


def _backends(engine: Engine) -> dict[str, bool]:
    """Which link backends the kernel has, tried in a container's own network namespace."""
    spec = ContainerSpec(
        name="testbed-doctor",
        image=SHAPER_IMAGE,
        labels={LABEL: "doctor"},
        command=("python3", "-m", "testbed.shaping", "backends"),
        capabilities=SHAPER_CAPABILITIES,
        tmpfs=("/tmp", "/run"),
    )
    found: dict[str, bool] = json.loads(engine.run_once(spec))
    return found
