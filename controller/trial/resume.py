"""A trial that was begun and has not ended, as its run directory tells it: with what it goes on, and from where."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agents.own import set_folder
from controller.judge.check import MALFORMED
from controller.judge.record import Record, by_scheme
from controller.planners.planning import Planned
from controller.planners.replanning import Course, Step
from controller.predict.channel import Moment
from controller.trial.checkpoints import Checkpoints, file_of
from controller.trial.journal import FILE, Journal, Line, check, in_a_line, in_force, parsed
from controller.trial.losses import Loss
from controller.trial.prepare import Prepared
from controller.trial.shards import partition_file
from testbed.built import code_digest
from testbed.compute import Calibration
from testbed.errors import InputError
from testbed.faults import Kind
from testbed.topology import Topology

_ANEW = "run it anew: testbed run TOPOLOGY --out ANOTHER"


@dataclass(frozen=True)
class Point:
    """Where a scheme goes on: after a round, with the journal's line of its checkpoint; 0 and None at its beginning."""

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

    ``under_way``: the scheme that had begun and not ended, if one had. ``struck``: the faults that were injected, also
    in rounds that are done again (scheme, round, agent, kind).
    """

    topology: Topology
    calibrations: Mapping[int, Calibration]
    dilation: float
    cores: int | None
    lines: tuple[Line, ...]
    length: int
    under_way: str | None = None
    point: Point = Point()
    struck: frozenset[tuple[str, int, str, Kind]] = frozenset()

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
    lines, wrong = parsed(path, content[:length].decode("utf-8", errors="replace"))
    if wrong is not None:
        raise wrong
    check(path, lines)
    set_folder(out)
    _same_code(path, lines[0])
    with _sound(path):
        return _begun(out, lines, length)


def _begun(out: Path, lines: Sequence[Line], length: int) -> Begun:
    head, found = lines[0], in_force(lines)
    if found[-1]["event"] == "end" and "error" not in found[-1]:
        raise InputError(str(out), "is over: there is nothing to resume", "see it: testbed report DIR")
    injected = (line for line in lines if line["event"] == "injected")
    done = {line["scheme"] for line in found if line["event"] == "scheme_end"}
    open_ones = (line["scheme"] for line in found if line["event"] == "scheme" and line["scheme"] not in done)
    under_way = next(open_ones, None)
    return Begun(
        topology=Topology.model_validate(head["topology"]),
        calibrations={int(threads): Calibration.from_json(one) for threads, one in head["calibrations"].items()},
        dilation=float(head["time_dilation"]),
        cores=None if head["cores"] is None else int(head["cores"]),
        lines=tuple(found),
        length=length,
        under_way=under_way,
        point=Point() if under_way is None else last_point(out, under_way, found),
        struck=frozenset((one["scheme"], one["round"], one["ue"], one["kind"]) for one in injected),
    )


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """InputError where lines of a journal lack what they should have, or have something else."""
    try:
        yield
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise InputError(f"{path}:1", in_a_line(f"topology.{key}: {error.errors()[0]['msg']}"), _ANEW) from error
    except MALFORMED as error:
        message = f"has not what a trial needs to go on: {type(error).__name__}: {error}"
        raise InputError(str(path), in_a_line(message), _ANEW) from error


def last_point(out: Path, scheme: str, in_force: Sequence[Line]) -> Point:
    """After which round a scheme can go on: that of its last checkpoint whose file is there."""
    for line in reversed(in_force):
        if line["event"] == "checkpoint" and line["scheme"] == scheme:
            number = int(line["round"])
            if line["file"] == file_of(scheme, number) and (out / line["file"]).exists():
                return Point(number, line)
    return Point()


def rounds_s(in_force: Iterable[Line], scheme: str) -> list[float]:
    """How long the rounds of a scheme were that have ended (emulated s)."""
    events = by_scheme(in_force).get(scheme)
    return [row.round_s for row in Record(scheme, events).rounds] if events else []


def at(course: Course, planned: Planned, point: Point, in_force: Sequence[Line]) -> tuple[Step, float]:
    """The round of a point as it was, and the scheme's clock (s) after it: a course goes through all rounds until then.

    InputError where a plan that was made anew on the way would now be another one.
    """
    step, clock_s = Step(Moment(planned.problem, planned.plan, planned.timeline), planned), 0.0
    if not point.from_round:
        return step, clock_s
    record = Record(planned.label, by_scheme(in_force)[planned.label])
    for number, row in enumerate(record.rounds[: point.from_round], 1):
        step = _again(course, record, number, clock_s)
        clock_s += row.round_s
        made = next((line["plan"] for line in record.made if line["round"] == number), None)
        if not step.kept and _as_read(step.planned.plan.to_json()) != _as_read(made):
            raise InputError(FILE, f"plan of {planned.label} in round {number}: would now be another one", _ANEW)
    return step, clock_s


def _again(course: Course, record: Record, number: int, clock_s: float) -> Step:
    """A round as it was, with the UEs that were lost before and in it, and those that were back."""
    for ue in record.returned(number):
        course.join(ue)
    samples = record.ends[number].get("samples", {})
    faults = record.faults(number)
    for line in faults:
        if line["ue"] not in samples:
            course.lose(line["ue"])
    step = course.step(number, clock_s)
    for line in faults:
        if line["ue"] in samples:
            course.lose(line["ue"])
    course.degraded(record.schedule(number))
    return step


def drawn_until(point: Point, scheme: str, in_force: Iterable[Line]) -> dict[str, int]:
    """How many samples each UE has drawn in a scheme until a point."""
    found: dict[str, int] = {}
    for line in in_force:
        if line["event"] == "round" and line["scheme"] == scheme and line["round"] <= point.from_round:
            for ue, (came, lost) in line.get("samples", {}).items():
                found[ue] = found.get(ue, 0) + came + lost
    return found


def last_losses(point: Point, scheme: str, in_force: Iterable[Line], ues: Collection[str]) -> list[Loss]:
    """How these UEs, which were away at a point, were lost."""
    lines = (line for line in in_force if line["event"] == "fault" and line["scheme"] == scheme)
    last = {line["ue"]: line for line in lines if line["round"] <= point.from_round}
    return [Loss(ue, last[ue]["kind"], last[ue]["why"], 0) for ue in ues]


def _as_read(plan: Any) -> Any:
    """A plan as plain data, as it is read from a journal: one that this trial has written itself has tuples."""
    return json.loads(json.dumps(plan))


def check_fits(out: Path, found: Begun, prepared: Prepared) -> None:
    """InputError where what is made again for a trial is not as it was begun, or its checkpoint does not fit."""
    with _sound(out / FILE):
        _check_fits(out, found, prepared)


def _check_fits(out: Path, found: Begun, prepared: Prepared) -> None:
    path, dealings = out / FILE, prepared.dealt.dealings
    if prepared.dilation != found.dilation:
        message = f"time_dilation: was {found.dilation:g} and would now be {prepared.dilation:g}"
        raise InputError(f"{path}:1", message, _ANEW)
    planned = {one.label: one for one in prepared.planned}
    for line in found.lines:
        if line["event"] == "scheme" and _as_read(planned[line["scheme"]].plan.to_json()) != line["plan"]:
            raise InputError(str(path), f"plan of {line['scheme']}: would now be another one", _ANEW)
    for label, dealing in dealings.items():
        file = partition_file(out, found.topology, label)
        if file.exists() and json.loads(file.read_text(encoding="utf-8")) != dict(dealing.description):
            raise InputError(str(file), "samples would now be dealt otherwise: other data", _ANEW)
    if found.under_way is not None and found.point.checkpoint is not None:
        first = planned[found.under_way]
        course = Course(found.topology, first, prepared.fits)
        step, _ = at(course, first, found.point, found.lines)
        kept = Checkpoints(out, found.topology, dealings, Journal(out, found.lines, found.length))
        kept.states(found.under_way, found.point.checkpoint, step.now.plan)


def _same_code(path: Path, head: Line) -> None:
    if head.get("code") != code_digest():
        message = f"code: was begun by another version of the testbed ({in_a_line(head.get('code', 'an older one'))})"
        raise InputError(f"{path}:1", message, "use the testbed that wrote it")
