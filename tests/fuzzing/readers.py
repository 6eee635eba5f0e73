"""Whatever reads a user's file, called as the command line calls it, on a file that went wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

from hypothesis import strategies as st
from typer import Exit

from agents.wire.frames import Sealed
from controller.cli.results import results
from controller.cli.trace import trace
from controller.planners.planning import plan_all
from controller.report.html.publish import publish
from controller.report.scene.scene import scene
from controller.trial import checkpoints as checkpoint
from controller.trial.journal import FILE, finished
from controller.trial.memory import peaks
from controller.trial.replay import told
from controller.trial.resume import begun
from testbed.loading import load
from testbed.topology import Topology
from tests import recorded as made
from tests.fuzzing.attempts import attempt
from tests.fuzzing.mutations import headed_files, json_lines, yaml_files

TOPOLOGIES = Path(__file__).resolve().parents[2] / "topologies"
LOAD_S, PLAN_S, READ_S = 5.0, 30.0, 10.0
"""What one file may take, with other work on the machine."""
SMALL = {"ues": 16, "rounds": 50, "schemes": 4, "units": 40}
BELONGS = checkpoint.Belongs("c0de", "t0p0", "psl", 4, "p1an", "part")
PAGES = 20
"""A page takes seconds, so one journal in so many gets one."""
PLAIN = (None, "uniform")


@dataclass(frozen=True)
class Reader:
    """A kind of file: the files that are changed, and what reads one; a sentence where a user would meet a bug."""

    files: st.SearchStrategy[bytes]
    read: Callable[[bytes, Path], str]


def topologies() -> Reader:
    """The topologies that ship."""
    originals = [path.read_bytes() for path in sorted(TOPOLOGIES.rglob("*.yaml"))]
    return Reader(yaml_files(originals), _topology)


def journals(folder: Path) -> Reader:
    """Journals of trials that ended or were killed, short; made in ``folder``."""
    originals = []
    for name in ("quickstart", "moving"):
        topology = load(TOPOLOGIES / f"{name}.yaml")
        topology = topology.model_copy(update={"schemes": topology.schemes[-2:]})
        out = made.write(folder / name, topology, rounds=2)
        lines = (out / FILE).read_bytes().splitlines(keepends=True)
        originals += [b"".join(lines), b"".join(lines[:-2])]
    return Reader(json_lines(originals), _journal)


def checkpoints(folder: Path) -> Reader:
    """Small checkpoints of a scheme; what is read is held against a journal's line, and half of them pass for whole."""
    states = {
        "bs": (
            {"parts": [["bs", 2, 5, [0]]], "random": 1},
            Sealed([("float32", [2, 1]), ("int64", [])], [b"8" * 8] * 2),
        ),
        "ue1": ({"parts": [], "drawn": "{}"}, Sealed([("uint8", [3]), ("float64", [0, 4])], [b"123", b""])),
    }
    line = checkpoint.write(folder, BELONGS, states)
    original = (folder / line["file"]).read_bytes()
    return Reader(headed_files([original]), lambda content, out: _checkpoint(line, content, out))


def _checkpoint(line: Mapping[str, Any], content: bytes, folder: Path) -> str:
    """What ``run --resume`` does with a checkpoint that its journal names."""
    path = folder / line["file"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    told = {**line, "bytes": len(content), "digest": sha256(content).hexdigest()}
    for which in (line, told):
        if said := attempt(lambda which=which: checkpoint.read(folder, BELONGS, which), READ_S):
            return f"checkpoint: {said}"
    return ""


def _topology(content: bytes, folder: Path) -> str:
    """``validate``, ``topology``, and ``plan`` where that is quick for a right file of this size."""
    path = folder / "mutated.yaml"
    path.write_bytes(content)
    kept: list[Topology] = []
    if said := attempt(lambda: kept.append(load(path)), LOAD_S):
        return f"load: {said}"
    if not kept:
        return ""
    (topology,) = kept
    if said := attempt(lambda: scene(topology).to_json(), LOAD_S, None):
        return f"scene: {said}"
    return f"plan: {said}" if _small(topology) and (said := attempt(lambda: _plan(topology), PLAN_S, None)) else ""


def _plan(topology: Topology) -> None:
    planned = plan_all(topology, 1.0)
    peaks(topology, planned)


def _small(topology: Topology) -> bool:
    """Whether it plans in a moment: nothing searches, and there is little of everything."""
    sizes: Mapping[str, int] = {
        "ues": len(topology.ues),
        "rounds": topology.training.rounds,
        "schemes": len(topology.schemes),
        "units": len(topology.units),
    }
    plain = all(choice.planner in PLAIN for choice in topology.schemes) and topology.replan is None
    return plain and all(sizes[what] <= most for what, most in SMALL.items())


def _unheard(use: Callable[[], object]) -> Callable[[], object]:
    """The same with what it prints thrown away; to end with an exit status is its right."""

    def quietly() -> None:
        with Path("/dev/null").open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere), suppress(Exit):
            use()

    return quietly


def _journal(content: bytes, folder: Path) -> str:
    """``results``, ``watch``, ``report`` and ``trace`` of a run directory that holds this journal and nothing else."""
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / FILE).write_bytes(content)
    os.utime(out / FILE, (0, 0))  # nobody has written there for long, so nothing waits for more
    uses: dict[str, Callable[[], object]] = {
        "finished": lambda: finished(out),
        "results": lambda: results(out, as_json=True),
        "watch": lambda: list(told(out, None)),
        "trace": lambda: trace(out, folder / "trace.gz", None, None, True),
        "resume": lambda: begun(out),
    }
    if crc32(content) % PAGES == 0:
        uses["report"] = lambda: list(publish([out], folder / "page.html", None, []))
    for what, use in uses.items():
        if said := attempt(_unheard(use), READ_S, None):
            return f"{what}: {said}"
    return ""
