"""Schemes by name: those of the house, and a user's own from a file (``mine.py:name``)."""

from __future__ import annotations

from agents.own import OwnError, attribute, is_own
from agents.schemes import SCHEMES
from agents.schemes.seam import Scheme


def scheme_named(name: str) -> Scheme:
    """The scheme of this name, or the one that a user's file holds. OwnError when there is none."""
    if not is_own(name):
        if name not in SCHEMES:
            raise OwnError(f"unknown scheme {name}", f"choose among {', '.join(SCHEMES)}, or give a file: mine.py:name")
        return SCHEMES[name]
    found = attribute(name)
    if isinstance(found, Scheme):
        return found
    if callable(found):
        return Scheme(name, (found.__doc__ or name).strip().splitlines()[0], found, micro_batches="k")
    raise OwnError(f"{name} is no function and no Scheme", "write: def name(r: Round) -> None: …")
