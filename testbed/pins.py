"""``requirements.lock``: every Python package's version, and the SHA-256 of the wheels that may be taken for it."""

from __future__ import annotations

import re

from testbed.errors import ImageError


def pinned(names: str, lock: str) -> list[str]:
    """The pins of a lock file, each with its hashes on one line, for the packages that a requirements list names."""
    locked = {normal(pin.partition("==")[0]): pin for pin in _lines(lock)}
    wanted = _lines(names)
    missing = [name for name in wanted if normal(name) not in locked]
    if missing:
        raise ImageError(f"requirements.lock lacks {', '.join(missing)}", "images/host/lock.sh renews it")
    return [locked[normal(name)] for name in wanted]


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def complaint(stderr: str) -> str:
    """What pip had to say: the package whose hash is not the lock's, else its last line."""
    lines = stderr.strip().splitlines() or ["no output"]
    at = next((number for number, line in enumerate(lines) if "DO NOT MATCH THE HASHES" in line), None)
    if at is None:
        return lines[-1]
    names = [line.split()[0] for line in lines[at:] if re.match(r"\s+\S+==|\s+\S+ from ", line)]
    return f"what came for {' '.join(names)} has none of the hashes in requirements.lock"


def _lines(text: str) -> list[str]:
    """A requirements file's entries, each on one line."""
    whole = re.sub(r"\s*\\\n\s*", " ", text)
    return [line.strip() for line in whole.splitlines() if line.strip() and not line.startswith("#")]
