"""What a chart draws, a table shows and a CSV file holds: rows of plain values under named columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Value = str | float | int | bool | None

DIGITS = 7  # significant digits: of a round of an hour, less than a millisecond


@dataclass(frozen=True)
class Frame:
    """Rows under columns; ``titles`` has each column's name and what a reader is told of it, unit included."""

    titles: Mapping[str, str]
    rows: tuple[tuple[Value, ...], ...]

    @classmethod
    def of(cls, titles: Mapping[str, str], rows: Iterable[Sequence[Value]]) -> Frame:
        """A frame with its numbers at ``DIGITS`` significant digits."""
        return cls(dict(titles), tuple(tuple(map(_short, row)) for row in rows))

    def records(self) -> list[dict[str, Value]]:
        """One mapping per row."""
        return [dict(zip(self.titles, row, strict=True)) for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        """Column by column name only once: the records of a page are as many as the tasks of a round."""
        return {"titles": dict(self.titles), "rows": [list(row) for row in self.rows]}

    def to_csv(self) -> str:
        """With the columns' names in the first line; a value that is not there is empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.titles)
        writer.writerows(self.rows)
        return text.getvalue()


def _short(value: Value) -> Value:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
