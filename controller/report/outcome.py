"""The results of a trial as a table for the terminal: measured beside predicted, and whether to believe it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from controller.judge.results import FaultResult, Results, SchemeResult

FAULTS = ("scheme", "round", "UE", "kind", "at task", "predicted [s]", "measured [s]", "error", "lost")
MOST_NAMED = 3
"""Of values that changed so many are named."""
WIDE = 10_000

Cell = Callable[[str, SchemeResult], str | Text]


def results_table(results: Results) -> RenderableType:
    """One row per scheme, in as many columns as the terminal has room for, and below why a scheme is not believed.

    What is predicted is of the same rounds as what is measured: under dynamics and re-planning each has its own.
    """
    title = f"{results.topology['name']}: emulated times, D = {results.time_dilation:g}"
    tables = [_table(title, results, [c for c in COLUMNS if c[0] not in left_out]) for left_out in LEFT_OUT]
    struck = any(scheme.faults for scheme in results.schemes.values())
    faults: list[RenderableType] = [Text(""), faults_table(results)] if struck else []
    return Group(_FirstThatFits(tables), *faults, *_reasons(results))


def faults_table(results: Results) -> Table:
    """One row per fault: where it struck, and its round as predicted with it, and as measured."""
    table = Table(title="faults: emulated times", title_justify="left", box=box.SIMPLE_HEAD, show_edge=False)
    for heading in FAULTS:
        table.add_column(heading, justify="left" if heading in ("scheme", "UE", "kind", "at task") else "right")
    for label, scheme in results.schemes.items():
        for row in fault_rows(label, scheme):
            table.add_row(*row)
    return table


def fault_rows(label: str, scheme: SchemeResult) -> Iterator[tuple[str, ...]]:
    """The faults of a scheme in words, under the headings of ``FAULTS``."""
    for one in scheme.faults:
        yield label, str(one.round), one.ue, one.kind, one.task or "as it begins", *_cost(one)


def _cost(one: FaultResult) -> tuple[str, ...]:
    if one.why_not is not None:
        return f"not done: {one.why_not}", "-", "-", "-"
    if one.again:
        return "round done again", "-", "-", "-"
    predicted_s, measured_s = one.predicted_s, one.measured_s
    error = f"{measured_s / predicted_s - 1:+.1%}" if predicted_s and measured_s else "-"
    seconds = tuple("-" if value is None else f"{value:.4f}" for value in (predicted_s, measured_s))
    return (*seconds, error, "-" if one.lost is None else str(one.lost))


def _table(title: str, results: Results, columns: Sequence[tuple[str, Cell]]) -> Table:
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, leading=1, padding=(0, 1, 0, 0)
    )
    for heading, _ in columns:
        first = heading == SCHEME
        table.add_column(Text(heading), justify="left" if first else "right", no_wrap=not first, overflow="fold")
    for label, scheme in results.schemes.items():
        table.add_row(*(cell(label, scheme) for _, cell in columns))
    return table


@dataclass(frozen=True)
class _FirstThatFits:
    """Of several tables the first that the terminal has room for, or the last."""

    tables: Sequence[Table]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def fits(table: Table) -> bool:
            return Measurement.get(console, options.update(width=WIDE), table).maximum <= options.max_width

        yield next(filter(fits, self.tables), self.tables[-1])


def _reasons(results: Results) -> list[Text]:
    """What speaks against a scheme's numbers, and why the trial broke off."""
    doubts = [
        Text(f"{label}: {reason}", "red")
        for label, scheme in results.schemes.items()
        for reason in scheme.fidelity.reasons
    ]
    broken = [Text(f"the trial broke off: {results.error}", "red")] if results.error else []
    return [Text(""), *doubts, *broken] if doubts or broken else []


def _scheme(label: str, s: SchemeResult) -> str:
    """Cut and k; of plans that were made anew the values in the order in which they were first in force."""
    made = {one.round: one.plan for one in s.replanned if one.plan is not None}
    plans = list({1: s.plan, **made}.values())
    cuts, ks = ([str(v) for v in dict.fromkeys(plan[key] for plan in plans)] for key in ("cut", "micro_batches"))
    said = f"{label}{' (partial)' if s.partial else ''}\ncut {_in_turn(cuts)}, k {_in_turn(ks)}"
    return said if len(plans) == 1 else f"{said}\n{len(plans)} plans"


def _in_turn(values: Sequence[str]) -> str:
    return " → ".join(values if len(values) <= MOST_NAMED else [*values[:MOST_NAMED], "…"])


def _round(_: str, s: SchemeResult) -> str:
    spread = s.summary.round_s
    return f"{spread.median:.4f}\n{spread.p5:.4f}-{spread.p95:.4f}"


def _predicted(_: str, s: SchemeResult) -> str:
    return f"{s.summary.predicted_s:.4f}\n{s.summary.round_error:+.2%}"


def _bubble_rate(_: str, s: SchemeResult) -> str:
    eq_16 = s.paper.get("bubble_rate") if _as_planned(s) else None
    rates = (s.summary.bubble_rate, s.summary.predicted_bubble_rate, eq_16)
    return "\n".join("-" if rate is None else f"{rate:.3f}" for rate in rates)


def _as_planned(s: SchemeResult) -> bool:
    """Whether all rounds were predicted to be as the first plan says: eq. 16 knows of nothing that changes."""
    planned_s = s.predicted["round_s"]
    return all(r.predicted_s is None or math.isclose(r.predicted_s, planned_s) for r in s.rounds)


def _ue_idle(_: str, s: SchemeResult) -> str:
    return f"{_mean(ue.idle_share for ue in s.ues.values()):.0%}"


def _goodput(_: str, s: SchemeResult) -> str:
    up = _mean(ue.uplink_bps for ue in s.ues.values() if ue.uplink_bps is not None) / 1e6
    down = _mean(ue.downlink_bps for ue in s.ues.values() if ue.downlink_bps is not None) / 1e6
    return f"{up:.1f}\n{down:.1f}"


def _accuracy(_: str, s: SchemeResult) -> str:
    return f"{s.accuracy.final:.1%}" if s.accuracy else "-"


def _believed(_: str, s: SchemeResult) -> Text:
    return Text("yes", "green") if s.fidelity.ok else Text("no", "red")


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


SCHEME, IDLE, GOODPUT = "scheme", "UE\nidle", "up\ndown\n[Mbit/s]"
COLUMNS: tuple[tuple[str, Cell], ...] = (
    (SCHEME, _scheme),
    ("round [s]\np5-p95", _round),
    ("predicted\nerror", _predicted),
    ("bubble rate\npredicted\neqs 16-18", _bubble_rate),
    (IDLE, _ue_idle),
    (GOODPUT, _goodput),
    ("accuracy", _accuracy),
    ("believe\nit?", _believed),
)
LEFT_OUT: tuple[tuple[str, ...], ...] = ((), (GOODPUT,), (GOODPUT, IDLE), (GOODPUT, IDLE, "accuracy"))
"""What the table does without, the narrower the terminal the more."""
