"""Facts about the host of an engine, for results and for ``doctor``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.deploy import AGENT_IMAGE, SHAPER_IMAGE
from testbed.engine import Engine
from testbed.errors import ImageError
from testbed.links import HTB, NETEM, kernel_backends


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
    """What ``doctor`` prints: the host's facts, its images, and which link backend will be used, and why."""
    facts = {**host_facts(engine), **local_facts()}
    for role, tag in (("agent", AGENT_IMAGE), ("shaper", SHAPER_IMAGE)):
        try:
            engine.need_image(tag)
            facts[f"{role}_image"] = tag
        except ImageError as error:
            facts[f"{role}_image"] = str(error)
    if facts["shaper_image"] == SHAPER_IMAGE:
        there = kernel_backends(engine)
        facts["link_backends"] = ", ".join(name for name in there if there[name]) or "none"
        facts["links"] = _choice(there)
    else:
        facts["links"] = "unknown until the shaper's image is there"
    return facts


def local_facts(memory: Path = Path("/proc/meminfo"), kvm: Path = Path("/dev/kvm")) -> dict[str, Any]:
    """What the machine that this runs on tells, and an engine does not: memory that is free now, and KVM."""
    free = re.search(r"^MemAvailable:\s+(\d+) kB$", memory.read_text() if memory.exists() else "", re.MULTILINE)
    usable = os.access(kvm, os.R_OK | os.W_OK)
    why = f"{kvm} may be used" if usable else f"{kvm} may not be used" if kvm.exists() else f"there is no {kvm}"
    return {"memory_free_bytes": int(free[1]) * 1024 if free else None, "kvm": usable, "kvm_why": why}


def _choice(there: Mapping[str, bool]) -> str:
    """The backend that trials will use on this kernel, and why."""
    if there.get(NETEM):
        return "netem: this kernel has it; rates, delay, jitter, loss and gated slots"
    if there.get(HTB):
        return "htb: this kernel has no netem; rates only, the rest takes a VM (docs/vm.md)"
    return "none: this kernel has neither sch_netem nor sch_htb; use a VM (docs/vm.md)"
