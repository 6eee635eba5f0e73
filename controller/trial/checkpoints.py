"""Checkpoints: what all agents are after a round, in one file of the scheme's folder that is there whole or not at all.

A safetensors file: the tensors of each agent, and as metadata what they belong to and each agent's header. It is read
only where all of that, its size and its digest are those of the trial: nothing in it is code, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from agents.plan import Plan
from agents.wire.frames import Sealed
from agents.wire.mgmt import Report
from controller.trial.journal import Journal, Line
from controller.trial.shards import Dealing
from testbed.built import code_digest
from testbed.errors import InputError
from testbed.files import storing, write_atomically
from testbed.loading import own_files
from testbed.topology import Topology

FORMAT = 1
KEPT = 2
"""So many files of a scheme are kept: should the last one not have reached the journal, the one before it has."""
EVERY_S = 60.0
"""Wall seconds of rounds between two checkpoints, unless the topology says how many rounds: a fault costs no more."""
MOST_HEADER_BYTES = 64 << 20
_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Belongs:
    """What a checkpoint belongs to: digests of code, topology, the scheme's partition, and the plan of the round."""

    code: str
    topology: str
    scheme: str
    round: int
    plan: str
    partition: str


class Checkpoints:
    """The checkpoints of one trial, in its run directory, and what its journal says of them."""

    def __init__(self, out: Path, topology: Topology, dealings: Mapping[str, Dealing], journal: Journal) -> None:
        self._out, self._dealings, self._journal = out, dealings, journal
        files = {name: digest_of(content.decode(errors="replace")) for name, content in own_files(topology).items()}
        later = topology.model_dump(mode="json", exclude={"checkpoint_every"})
        self._topology = digest_of([later, files])

    def save(self, scheme: str, number: int, plan: Plan, states: Mapping[str, Report], **more: Any) -> None:
        """Writes what all agents are after a round under a plan, with ``more`` in the journal. StorageError."""
        digest = digest_of(plan.to_json())
        line = write(self._out, self._belongs(scheme, number, digest), states)
        self._journal.append("checkpoint", [{"scheme": scheme, **line, "plan": digest, **more}])
        self._journal.sync()  # before what is older goes
        keep_last(self._out, scheme, self._lines(scheme))

    def states(self, scheme: str, line: Line, plan: Plan) -> dict[str, Report]:
        """What all agents were when a checkpoint was written, under this plan. InputError."""
        return read(self._out, self._belongs(scheme, line["round"], digest_of(plan.to_json())), line)

    def checkpointed(self, scheme: str, agent: str) -> Report | None:
        """What an agent was at the last checkpoint of a scheme: the header and tensors of ``restore``; None before."""
        lines = self._lines(scheme)
        if not lines:
            return None
        line = lines[-1]
        return read(self._out, self._belongs(scheme, line["round"], line["plan"]), line).get(agent)

    def _lines(self, scheme: str) -> list[Line]:
        return [one for one in self._journal.lines if one["event"] == "checkpoint" and one["scheme"] == scheme]

    def _belongs(self, scheme: str, number: int, plan: str) -> Belongs:
        partition = digest_of(self._dealings[scheme].description)
        return Belongs(code_digest(), self._topology, scheme, number, plan, partition)


def digest_of(plain: Any) -> str:
    """A short name of plain data."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def every(topology: Topology, rounds: int, round_s: float) -> int:
    """Every how many rounds, which take so many wall seconds each, there is a checkpoint; 0: never.

    Never where all rounds take no longer than is between two.
    """
    asked = topology.checkpoint_every
    if asked != "auto":
        return asked
    return 0 if rounds * round_s <= EVERY_S else max(1, math.floor(EVERY_S / max(round_s, 1e-9)))


def file_of(scheme: str, number: int) -> str:
    """Where in a run directory the checkpoint after a round of a scheme is."""
    return f"{scheme}/checkpoint-{number}.safetensors"


def write(out: Path, belongs: Belongs, states: Mapping[str, Report]) -> dict[str, Any]:
    """Writes a checkpoint; what its journal line says of it. StorageError where the disk does not take it."""
    tensors, agents = {}, {}
    for agent, (header, sealed) in states.items():
        agents[agent] = {"header": header, "tensors": len(sealed)}
        for i, ((kind, shape), data) in enumerate(zip(sealed.shapes, sealed.data, strict=True)):
            tensors[f"{agent}/{i}"] = np.frombuffer(data, dtype=kind).reshape(shape)
    told = {key: str(value) for key, value in asdict(belongs).items()}
    content = save(tensors, {"format": str(FORMAT), **told, "agents": json.dumps(agents)})
    name = file_of(belongs.scheme, belongs.round)
    with storing(out / name):
        (out / name).parent.mkdir(exist_ok=True)
        write_atomically(out / name, content)
    return {"round": belongs.round, "file": name, "bytes": len(content), "digest": _sha256(content)}


def keep_last(out: Path, scheme: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Removes all checkpoints of a scheme but the last of these, by their journal lines."""
    kept = {line["file"] for line in lines[-KEPT:]}
    for path in (out / scheme).glob("checkpoint-*.safetensors"):
        if f"{scheme}/{path.name}" not in kept:
            with suppress(OSError):
                path.unlink()


def read(out: Path, belongs: Belongs, line: Mapping[str, Any]) -> dict[str, Report]:
    """The states of all agents in the checkpoint of a journal's ``line``.

    InputError names the file and the key where it belongs to something else, was changed, or cannot be read.
    """
    path = out / file_of(belongs.scheme, belongs.round)
    try:
        with path.open("rb") as file:
            told = _metadata(path, file)
            _check(path, told, {"format": str(FORMAT), **{key: str(value) for key, value in asdict(belongs).items()}})
            if file.seek(0, 2) != line["bytes"]:
                raise _wrong(path, "bytes", f"is {file.tell()} long, and {line['bytes']} were written")
            file.seek(0)
            content = file.read(line["bytes"])
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error), "run it anew: testbed run TOPOLOGY") from error
    if _sha256(content) != line["digest"]:
        raise _wrong(path, "digest", "is not that of what was written")
    return _states(path, told, content)


def _states(path: Path, told: Mapping[str, str], content: bytes) -> dict[str, Report]:
    try:
        tensors = load(content)
        found: dict[str, Report] = {}
        for agent, one in json.loads(told["agents"]).items():
            mine = [tensors.pop(f"{agent}/{i}") for i in range(one["tensors"])]
            shapes = [(tensor.dtype.name, list(tensor.shape)) for tensor in mine]
            found[agent] = dict(one["header"]), Sealed(shapes, [tensor.tobytes() for tensor in mine])
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _wrong(path, "agents", f"cannot be read: {error}") from error
    if tensors:
        raise _wrong(path, "agents", f"says nothing of {next(iter(tensors))}")
    return found


def _metadata(path: Path, file: IO[bytes]) -> dict[str, str]:
    """The metadata of a safetensors file; no more than its header is read."""
    length = file.read(_LENGTH.size)
    try:
        (size,) = _LENGTH.unpack(length)
        if size > MOST_HEADER_BYTES:
            raise ValueError(f"{size} bytes of header")
        found = json.loads(file.read(size))["__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _wrong(path, "header", f"is not one of a checkpoint: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _wrong(path, "header", "is not one of a checkpoint")
    return found


def _check(path: Path, told: Mapping[str, str], expected: Mapping[str, str]) -> None:
    for key, value in expected.items():
        if told.get(key) != value:
            raise _wrong(path, key, f"is {str(told.get(key))[:40]}, and this trial has {value}")


def _wrong(path: Path, key: str, message: str) -> InputError:
    return InputError(f"{path}: {key}", message, "it is not a checkpoint of this trial; without it: run it anew")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
