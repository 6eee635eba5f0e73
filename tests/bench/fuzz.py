"""What no socket minds: tens of thousands of messages that were tampered with, from peers with a key and without."""

from __future__ import annotations

import time

from tests.bench.number import Number, at_most
from tests.mutated import MORE_BYTES, TARGETS, fuzz

MESSAGES = 50_000


def numbers() -> list[Number]:
    """By how much memory grows meanwhile; whatever goes wrong besides is raised."""
    rows = []
    for name in TARGETS:
        begin = time.monotonic()
        grown = fuzz(name, MESSAGES)
        what = f"{name}: {MESSAGES} messages in {time.monotonic() - begin:.0f} s, memory grows by"
        rows.append(at_most(what, MORE_BYTES / 1e6, grown / 1e6, "MB", 1))
    return rows
