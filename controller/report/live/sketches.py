"""Small drawings in one line of text: a bar, a row of columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

COLUMNS = "▁▂▃▄▅▆▇█"
FULL, EMPTY = "█", "·"
FLAT = 0.02
"""Values that are within this share of their largest are drawn as one height: their differences say nothing."""


def bar(share: float, width: int) -> str:
    """So much of the width is full."""
    full = round(min(1.0, max(0.0, share)) * width)
    return FULL * full + EMPTY * (width - full)


def sparkline(values: Sequence[float], width: int) -> str:
    """The last values that the width has room for, the lowest as the lowest column, the highest as the highest."""
    last = [value for value in values[-width:] if math.isfinite(value)] if width > 0 else []
    low, high = min(last, default=0.0), max(last, default=0.0)
    if high - low <= FLAT * abs(high):
        return COLUMNS[len(COLUMNS) // 2 - 1] * len(last)
    return "".join(COLUMNS[round((value - low) / (high - low) * (len(COLUMNS) - 1))] for value in last)


def histogram(shares: Sequence[float], bins: int) -> str:
    """How many of these shares (0 to 1) are in each bin, as its height against the fullest; a blank where none is."""
    counts = [0] * bins
    for share in shares:
        counts[min(bins - 1, max(0, int(share * bins)))] += 1
    most = max(counts, default=0)
    return "".join(COLUMNS[math.ceil(n / most * len(COLUMNS)) - 1] if n else " " for n in counts)
