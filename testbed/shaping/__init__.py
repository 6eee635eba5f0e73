"""Rates → qdiscs: set by netlink, read back, measured.

Importable everywhere; what touches the kernel (and imports pyroute2) is reached by
``python3 -m testbed.shaping ACTION`` inside the shaper container.
"""

from testbed.shaping.model import (
    AIR_SYSCTLS,
    Egress,
    Flow,
    LinkPlan,
    Measurement,
    Medium,
    Setting,
    endpoints,
    to_json,
)

__all__ = [
    "AIR_SYSCTLS",
    "Egress",
    "Flow",
    "LinkPlan",
    "Measurement",
    "Medium",
    "Setting",
    "endpoints",
    "to_json",
]
