"""The topology's ``dynamics`` section: how links and devices change from round to round."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from pydantic import Field, NonNegativeFloat, PositiveFloat

from testbed.errors import InputError
from testbed.section import Section

Problem = tuple[str, str, str]

COLUMNS: Mapping[str, str] = {"uplink": "uplink_mbps", "downlink": "downlink_mbps", "compute": "compute_gflops"}
"""Columns of a trace besides ``time`` and ``ue``, and what they are in a ``TracePoint``."""

_HINT = "columns are time,ue,uplink,downlink,compute: s, name, Mbit/s, Mbit/s, GFLOP/s; an empty cell changes nothing"


class Waypoint(Section):
    """Where a UE is at a moment of emulated time."""

    at_s: NonNegativeFloat
    distance_m: PositiveFloat


class TracePoint(Section):
    """One line of a trace: from ``at_s`` on (emulated s) these are the rates and the speed of a UE."""

    line: int
    at_s: NonNegativeFloat
    ue: str
    uplink_mbps: PositiveFloat | None = None
    downlink_mbps: PositiveFloat | None = None
    compute_gflops: PositiveFloat | None = None


class Dynamics(Section):
    """What changes between rounds; nothing, unless it is said here.

    ``shadowing_db``: standard deviation of each UE's SNR in dB, drawn anew every round. ``compute_jitter``: relative
    standard deviation of each UE's speed, drawn anew every round. ``mobility``: waypoints per UE, straight and steady
    in between. ``trace``: a CSV file, found from the topology's folder; ``trace_points`` are what is in it.
    """

    shadowing_db: float = Field(default=0.0, ge=0, le=30)
    compute_jitter: float = Field(default=0.0, ge=0, le=0.5)
    mobility: Mapping[str, tuple[Waypoint, ...]] = Field(default={})
    trace: str | None = None
    trace_points: tuple[TracePoint, ...] = ()

    @property
    def still(self) -> bool:
        """Whether nothing ever changes."""
        return not (self.shadowing_db or self.compute_jitter or self.mobility or self.trace_points)


def problems(dynamics: Dynamics, ues: Sequence[str], dedicated: bool) -> list[Problem]:
    """What is wrong with the section of a topology that has these UEs, as (path, message, hint)."""
    found: list[Problem] = []
    hint = f"UEs are {', '.join(ues)}"
    if dedicated:
        message, way_out = "is not used with radio.access: dedicated", "links of given rate change by a trace"
        asked = {"shadowing_db": dynamics.shadowing_db, "mobility": dynamics.mobility}
        found += [(f"dynamics.{key}", message, way_out) for key, value in asked.items() if value]
    for ue, waypoints in dynamics.mobility.items():
        where = f"dynamics.mobility.{ue}"
        times = [point.at_s for point in waypoints]
        if ue not in ues:
            found.append((where, f"there is no UE {ue}", hint))
        if not waypoints or any(later <= earlier for earlier, later in pairwise(times)):
            found.append((where, "needs waypoints, one after another in time", "like - {at_s: 0, distance_m: 100}"))
    for point in dynamics.trace_points:
        if point.ue not in ues:
            found.append(("dynamics.trace", f"{dynamics.trace} line {point.line}: there is no UE {point.ue}", hint))
    return found


def read_trace(file: Path, name: str) -> list[TracePoint]:
    """The points of a CSV file, in order of time. InputError names the line that cannot be understood."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            points = list(_points(stream, name))
    except OSError as error:
        raise InputError("dynamics.trace", f"{name}: {error.strerror}", "give the path of a CSV file") from error
    except UnicodeDecodeError as error:
        raise InputError("dynamics.trace", f"{name} is not text in UTF-8", "save it as UTF-8") from error
    if not points:
        raise InputError("dynamics.trace", f"{name} has no lines below its header", _HINT)
    return points


def _points(stream: Iterator[str], name: str) -> Iterator[TracePoint]:
    rows = csv.reader(stream)
    header = [cell.strip() for cell in next(rows, [])]
    wrong = [key for key in header if key not in ("time", "ue", *COLUMNS)] or len(set(header)) < len(header)
    if wrong or not {"time", "ue"} < set(header):
        raise _error(name, 1, f"the header is {','.join(header) or 'missing'}")
    before_s = 0.0
    for cells in rows:
        line = rows.line_num
        if len(cells) != len(header):
            raise _error(name, line, f"has {len(cells)} cells, and the header {len(header)}")
        point = _point(name, line, dict(zip(header, (cell.strip() for cell in cells), strict=True)))
        if point.at_s < before_s:
            raise _error(name, line, f"time goes back from {before_s:g} to {point.at_s:g}")
        before_s = point.at_s
        yield point


def _point(name: str, line: int, cells: Mapping[str, str]) -> TracePoint:
    given = {COLUMNS[key]: _number(name, line, key, cells[key]) for key in COLUMNS if cells.get(key)}
    if not cells["ue"]:
        raise _error(name, line, "ue is empty")
    if not given:
        raise _error(name, line, f"changes nothing of {cells['ue']}")
    for key in COLUMNS:
        if given.get(COLUMNS[key], 1.0) <= 0:
            raise _error(name, line, f"{key} must be greater than 0, not {cells[key]}")
    at_s = _number(name, line, "time", cells["time"])
    if at_s < 0:
        raise _error(name, line, f"time must be at least 0, not {cells['time']}")
    return TracePoint(line=line, at_s=at_s, ue=cells["ue"], **given)


def _number(name: str, line: int, key: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _error(name, line, f"{key} must be a number, not {cell or 'empty'}")
    return value


def _error(name: str, line: int, message: str) -> InputError:
    return InputError("dynamics.trace", f"{name} line {line}: {message}", _HINT)
