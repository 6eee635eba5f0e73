"""What a trace consists of: rows of slices, instants and counters, as plain data; times are emulated nanoseconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Value = int | float | str
Args = tuple[tuple[str, Value], ...]

ROUNDING_NS = 1
"""Two tasks of which one ends as the other starts may be apart by so much once both times are rounded."""


class Slice(NamedTuple):
    """Something that took time. ``about``: what is told of it whenever it happens; ``args``: of this time.

    ``flows_in`` and ``flows_out`` are numbers of the arrows that end and begin at it.
    """

    start_ns: int
    end_ns: int
    name: str
    category: str
    about: Args = ()
    args: Args = ()
    flows_in: tuple[int, ...] = ()
    flows_out: tuple[int, ...] = ()


class Instant(NamedTuple):
    """Something that took no time."""

    at_ns: int
    name: str
    category: str


@dataclass(frozen=True)
class Track:
    """One row, of slices that do not overlap, of instants, or of a counter's values from a time on, each in order.

    ``group``: the agent that it belongs to; empty for what belongs to the whole scheme.
    """

    name: str
    group: str = ""
    slices: Sequence[Slice] = ()
    instants: Sequence[Instant] = ()
    values: Sequence[tuple[int, int | float]] = ()
    unit: str = ""


def nanoseconds(seconds: float) -> int:
    """The time as a trace has it."""
    return round(1e9 * seconds)


def in_lanes(name: str, group: str, slices: Iterable[Slice]) -> list[Track]:
    """The slices as one track, or as several where some overlap: each goes to the first that is free."""
    lanes: list[list[Slice]] = []
    for one in sorted(slices):
        for lane in lanes:
            end_ns = lane[-1].end_ns
            if end_ns <= one.start_ns:
                lane.append(one)
                break
            if end_ns <= one.start_ns + ROUNDING_NS:
                lane.append(one._replace(start_ns=end_ns, end_ns=max(one.end_ns, end_ns)))
                break
        else:
            lanes.append([one])
    return [Track(name if i == 0 else f"{name} ({i + 1})", group, slices=lane) for i, lane in enumerate(lanes)]


def counted(steps: Iterable[tuple[int, int]]) -> list[tuple[int, int | float]]:
    """A counter's values from what it goes up or down by, and when."""
    at: dict[int, int] = {}
    for time_ns, by in steps:
        at[time_ns] = at.get(time_ns, 0) + by
    found: list[tuple[int, int | float]] = []
    value = 0
    for time_ns in sorted(at):
        value += at[time_ns]
        if at[time_ns]:
            found.append((time_ns, value))
    return found


def args(**values: Value | None) -> Args:
    """The values that there are."""
    return tuple((name, value) for name, value in values.items() if value is not None)


def grouped(tracks: Iterable[Track]) -> Mapping[str, list[Track]]:
    """The tracks of each group, groups and tracks in the order in which they come."""
    found: dict[str, list[Track]] = {}
    for track in tracks:
        found.setdefault(track.group, []).append(track)
    return found
