"""What is kept on disk from one run to the next: measurements, and what goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from testbed.files import write_atomically

T = TypeVar("T")


def cache_folder() -> Path:
    """Where measurements are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "testbed"


def state_folder() -> Path:
    """Where it is written what goes on: which trials run, and where they write."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "testbed"


def kept(
    kind: str, of: Mapping[str, Any], measure: Callable[[], Any], read: Callable[[Any], T], fresh: bool = False
) -> T:
    """What ``read`` makes of a measurement, which is taken once for all that it depends on.

    ``of`` names everything that the measurement follows from, and ``measure`` gives it, both as plain data. It is
    taken anew where ``fresh`` asks for it, or where a file is broken or holds what ``read`` does not take (KeyError,
    TypeError or ValueError). Where nothing can be written, nothing is kept.
    """
    name = json.dumps(of, sort_keys=True)
    path = cache_folder() / f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"
    if not fresh:
        with suppress(OSError, KeyError, TypeError, ValueError):
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["of"] == json.loads(name):
                return read(content["found"])
    found = measure()
    answer = read(found)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({"of": of, "found": found}))
    return answer
