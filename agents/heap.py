"""The heap of an agent's process."""

from __future__ import annotations

import ctypes

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own


def trim() -> None:
    """Gives back to the kernel what is free: what one scheme took is not added to what the next one takes."""
    if _trim is not None:
        _trim(0)
