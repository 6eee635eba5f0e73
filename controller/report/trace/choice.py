"""A run directory, and which schemes and rounds of it are asked for → the processes of its trace."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import count

from controller.report.recorded import Recorded
from controller.report.trace.layout import tracks
from controller.report.trace.tracks import Track
from testbed.errors import InputError, RecordError

Processes = dict[str, list[Track]]


def processes(found: Recorded, schemes: Sequence[str] | None, numbers: Collection[int] | None) -> Processes:
    """The tracks of each scheme, by label; all schemes and rounds unless some are named.

    InputError names a scheme or a round that is not there; RecordError where no round was measured at all.
    """
    there = {label: record for label, record in found.records.items() if record.ends}
    if not there:
        message = f"{found.directory} holds no tasks of a round that was measured: {'; '.join(found.missing)}"
        raise RecordError(message, "give the --out of a trial of which a round has ended")
    for label in schemes or ():
        if label not in there:
            raise InputError("--scheme", f"{label} has no rounds here", f"choose among {', '.join(there)}")
    chosen = {label: record for label, record in there.items() if schemes is None or label in schemes}
    measured = {number for record in chosen.values() for number in record.ends}
    absent = sorted(set(numbers or ()) - measured)
    if absent:
        most = f"there are rounds {min(measured)} to {max(measured)}"
        raise InputError("--rounds", f"{', '.join(map(str, absent))} was not measured", most)
    flows = count(1)
    return {
        label: tracks(
            record,
            [n for n in record.ends if numbers is None or n in numbers],
            flows,
            (record.finish is None and found.results.error) or "",
        )
        for label, record in chosen.items()
    }


def rounds_of(text: str) -> tuple[int, ...]:
    """The numbers in ``3,5-7``. InputError."""
    try:
        return tuple(number for part in text.split(",") for number in _span(part))
    except ValueError as error:
        raise InputError("--rounds", f"{text} names no rounds", "write, for example, 3,5-7") from error


def _span(part: str) -> Iterator[int]:
    first, dash, last = part.strip().partition("-")
    numbers = range(int(first), int(last if dash else first) + 1)
    if not numbers or numbers[0] < 1:
        raise ValueError(part)
    yield from numbers
