"""Rows of text under headings, in as many columns as a line has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = "  "


@dataclass(frozen=True)
class Column:
    """A heading with one cell per row; of too many columns those with the highest ``rank`` are left out first."""

    heading: str
    cells: Sequence[str]
    rank: int = 0
    left: bool = False

    @property
    def width(self) -> int:
        """Characters of the widest cell."""
        return max(map(len, (self.heading, *self.cells)))


def laid_out(columns: Sequence[Column], width: int) -> list[str]:
    """The headings and then each row; the columns of rank 0 are there however narrow it is."""
    kept = list(columns)
    while _width(kept) > width and any(column.rank for column in kept):
        kept.remove(max(kept, key=lambda column: column.rank))
    rows = zip(*((column.heading, *column.cells) for column in kept), strict=True)
    return [GAP.join(map(_padded, cells, kept)).rstrip() for cells in rows]


def _padded(cell: str, column: Column) -> str:
    return cell.ljust(column.width) if column.left else cell.rjust(column.width)


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + len(GAP) * (len(columns) - 1)
