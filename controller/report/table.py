"""Plans and flat records as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from agents.schedule.task import BS
from controller.planners.planning import Planned


def plan_table(planned: Sequence[Planned], memory_bytes: Sequence[Mapping[str, float]]) -> Table:
    """One row per scheme's plan with its prediction, the bound no schedule beats, and the memory that agents take."""
    table = Table(title=f"{planned[0].plan.topology}: predicted", title_justify="left")
    for heading in (
        "scheme",
        "planner",
        "cut",
        "k",
        "round [s]",
        "bubble rate",
        "lower bound [s]",
        "C2 C3 C4\n(corrected)",
        "relaxed",
        "paper's own",
        "memory [MB]\nBS / UE",
    ):
        table.add_column(heading, justify="left" if heading in ("scheme", "planner", "relaxed") else "right")
    for p, memory in zip(planned, memory_bytes, strict=True):
        table.add_row(
            p.label,
            p.plan.planner,
            str(p.plan.cut),
            str(p.plan.micro_batches),
            f"{p.predicted.round_s:.4f}",
            f"{p.predicted.bubble_rate:.3f}",
            f"{p.predicted.lower_bound_s:.4f}",
            _held(p.paper["constraints"]),
            " ".join(p.paper["relaxed"]) or "-",
            _in_the_papers_terms(p.paper),
            f"{memory[BS] / 1e6:.0f} / {max(size for name, size in memory.items() if name != BS) / 1e6:.0f}",
        )
    return table


def _held(constraints: Mapping[str, bool]) -> str:
    """Which constraints hold; that of C4 as corrected in brackets."""
    said = {name: "yes" if ok else "no" for name, ok in constraints.items()}
    return " ".join(f"({word})" if name.endswith("_corrected") else word for name, word in said.items())


def _in_the_papers_terms(paper: Mapping[str, Any]) -> str:
    """The paper's own figure of the round, by its equations, to be seen beside that of the schedule."""
    if "round_s" in paper:
        return f"{paper['round_s']:#.4g} s ({paper['reading']})"
    return "-" if paper["bubble_rate"] is None else f"bubble {paper['bubble_rate']:.3f}"


def rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Any list of flat records, one column per key."""
    table = Table(title=title or None, title_justify="left")
    keys = list(rows[0]) if rows else []
    for key in keys:
        table.add_column(key.replace("_", " "), justify="right" if isinstance(rows[0][key], int | float) else "left")
    for row in rows:
        table.add_row(*(_cell(row[key]) for key in keys))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return " ".join(f"{k} {v}" for k, v in value.items())
    return "-" if value is None else str(value)
