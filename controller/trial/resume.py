"""A trial that was begun and has not ended, as its run directory tells it: with what it goes on, and from where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from agents.own import set_folder
from controller.planners.planning import Planned
from controller.trial.checkpoints import file_of
from controller.trial.journal import FILE, Line, check, in_force, parsed
from testbed.built import code_digest
from testbed.compute import Calibration
from testbed.errors import InputError
from testbed.topology import Topology

_ANEW = "run it anew: testbed run TOPOLOGY --out ANOTHER"


@dataclass(frozen=True)
class Point:
    """Where a scheme goes on: after a round, with the journal's line of its checkpoint; 0 and None at its beginning.

    ``rounds_s``: how long the rounds until then were (emulated s). ``counted``: what the BS's counters had grown by.
    """

    from_round: int = 0
    checkpoint: Line | None = None

    @property
    def counted(self) -> tuple[float, float]:
        """Idle and busy seconds that the BS had counted in this scheme by then."""
        found = self.checkpoint or {}
        return found.get("scraped_idle_s", 0.0), found.get("scraped_busy_s", 0.0)


@dataclass(frozen=True)
class Begun:
    """A trial that goes on: what it was begun with, and its journal's ``lines`` in force, in so many bytes.

    ``under_way``: the scheme that had begun and not ended, if one had.
    """

    topology: Topology
    calibrations: Mapping[int, Calibration]
    dilation: float
    lines: tuple[Line, ...]
    length: int
    under_way: str | None = None
    point: Point = Point()

    def ended(self, scheme: str) -> bool:
        """Whether a scheme is done."""
        return any(line["event"] == "scheme_end" and line["scheme"] == scheme for line in self.lines)


def begun(out: Path) -> Begun:
    """The trial of a run directory, up to the last whole line of its journal; nothing is changed.

    InputError names the line and key of what does not fit, and says so where there is nothing to resume.
    """
    path = out / FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(str(out), f"has no {FILE} that can be read", "give the --out of a trial") from error
    length = content.rfind(b"\n") + 1
    found, wrong = parsed(path, content[:length].decode("utf-8", errors="replace"))
    if wrong is not None:
        raise wrong
    check(path, found)
    found = in_force(found)
    set_folder(out)
    _same_code(path, found[0])
    last = found[-1]
    if last["event"] == "end" and "error" not in last:
        raise InputError(str(out), "is over: there is nothing to resume", "see it: testbed report DIR")
    try:
        topology = Topology.model_validate(found[0]["topology"])
        told = {int(threads): Calibration.from_json(one) for threads, one in found[0]["calibrations"].items()}
        dilation = float(found[0]["time_dilation"])
        open_ones = {line["scheme"]: None for line in found if line["event"] == "scheme"}
        for line in found:
            if line["event"] == "scheme_end":
                open_ones.pop(line["scheme"], None)
        under_way = next(iter(open_ones), None)
        point = Point() if under_way is None else last_point(out, under_way, found)
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"{path}:1", f"topology.{key}: {error.errors()[0]['msg']}", _ANEW) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(str(path), f"lacks {error}, which a trial needs to go on", _ANEW) from error
    return Begun(topology, told, dilation, tuple(found), length, under_way, point)


def last_point(out: Path, scheme: str, in_force: Sequence[Line]) -> Point:
    """After which round a scheme can go on: that of its last checkpoint whose file is there."""
    for line in reversed(in_force):
        if line["event"] == "checkpoint" and line["scheme"] == scheme:
            number = int(line["round"])
            if line["file"] == file_of(scheme, number) and (out / line["file"]).exists():
                return Point(number, line)
    return Point()


def check_plans(out: Path, found: Begun, planned: Sequence[Planned], dilation: float) -> None:
    """InputError where plans that are made again for a trial are not those with which it was begun."""
    path = out / FILE
    if dilation != found.dilation:
        message = f"time_dilation: was {found.dilation:g} and would now be {dilation:g}"
        raise InputError(f"{path}:1", message, _ANEW)
    made = {one.label: json.loads(json.dumps(one.plan.to_json())) for one in planned}
    for line in found.lines:
        if line["event"] == "scheme" and made.get(line["scheme"]) != line["plan"]:
            raise InputError(str(path), f"plan of {line['scheme']}: would now be another one", _ANEW)


def _same_code(path: Path, head: Line) -> None:
    if head.get("code") != code_digest():
        message = f"code: was begun by another version of the testbed ({head.get('code', 'an older one')})"
        raise InputError(f"{path}:1", message, "use the testbed that wrote it")
