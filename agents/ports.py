"""Where agents listen."""

from __future__ import annotations

AIR_PORT = 5700
CONTROL_PORT = 5701
BROADCAST_PORT = 5702
METRICS_PORT = 9100
