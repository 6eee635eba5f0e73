"""The model as it is built: the names of its units, and all that building it depends on."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agents import models
from agents.models.catalog import UNITS, DatasetInfo
from agents.own import is_own, path_of
from testbed.kept import kept

ROOMS = ("agents", "controller", "testbed")


def identity(model: str, norm: str, dataset: DatasetInfo) -> dict[str, Any]:
    """What a measurement of a built model follows from: the model, its code, the samples' shape, torch's version."""
    code = [path_of(model)] if is_own(model) else sorted(Path(models.__file__).parent.glob("*.py"))
    return {
        "model": [model, norm],
        "code": hashlib.sha256(b"".join(file.read_bytes() for file in code)).hexdigest(),
        "shape": dataset.shape,
        "versions": [version(package) for package in ("torch", "torchvision")],
    }


@cache
def code_digest() -> str:
    """A short name of the testbed's code, and of the torch that trains: a trial goes on with the same only."""
    found, root = hashlib.sha256(version("torch").encode()), Path(models.__file__).parent.parent.parent
    for file in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        found.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return found.hexdigest()[:16]


def units(model: str, dataset: DatasetInfo) -> tuple[str, ...]:
    """The names of a model's units. OwnError when it is the user's and does not chain."""
    if not is_own(model):
        return UNITS[model]

    def chain() -> list[str]:
        from agents.models.build import check_chain  # not above: who only reads topologies needs no torch

        return list(check_chain(model, dataset))

    return kept("units", identity(model, "group", dataset), chain, tuple)
