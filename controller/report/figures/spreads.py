"""Round time and bubble rate by scheme: every round, median, 5th to 95th percentile, and the prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from controller.judge.results import Round, Spread
from controller.report.figures.figure import Drawing, Figure, data, spec
from controller.report.figures.frame import Frame
from controller.report.figures.series import Series
from controller.report.figures.theme import MEASURED, PAPER, PREDICTED, SOFT

ROW_PX = 26
KINDS = ("measured, median", "predicted, median")


@dataclass(frozen=True)
class _Quantity:
    """What is shown of a round, and of all rounds."""

    name: str
    title: str
    axis: str
    unit: str
    of: Callable[[Round], float]
    spread: Callable[[Series], Spread]
    predicted: Callable[[Series], float]


ROUND_TIME = _Quantity(
    "round_time",
    "Round time",
    "round time [s, emulated]",
    " s",
    lambda r: r.round_s,
    lambda s: s.result.summary.round_s,
    lambda s: s.result.summary.predicted_s,
)
BUBBLE_RATE = _Quantity(
    "bubble_rate",
    "Bubble rate",
    "bubble rate [share of a round]",
    "",
    lambda r: r.bubble_rate,
    lambda s: s.bubble_rate,
    lambda s: s.result.summary.predicted_bubble_rate,
)


def spreads(found: Sequence[Series]) -> list[Figure]:
    """A figure for each of the two."""
    return [_figure(found, quantity) for quantity in (ROUND_TIME, BUBBLE_RATE)]


def _figure(found: Sequence[Series], what: _Quantity) -> Figure:
    titles = {"scheme": "scheme", "median": f"median, {what.axis}", "p5": "5th percentile", "p95": "95th percentile"}
    summary = Frame.of(
        {**titles, "predicted": "predicted, median"}, [(s.name, *_numbers(what, s), what.predicted(s)) for s in found]
    )
    rounds = Frame.of(
        {"scheme": "scheme", "round": "round", "value": what.axis},
        [(s.name, r.round, what.of(r)) for s in found for r in s.result.rounds],
    )
    frames = {"summary": summary, "rounds": rounds}
    return Figure(what.name, what.title, _says(found, what), spec(_chart(what, found), ROW_PX * len(found)), frames)


def _numbers(what: _Quantity, s: Series) -> tuple[float, float, float]:
    spread = what.spread(s)
    return spread.median, spread.p5, spread.p95


def _chart(what: _Quantity, found: Sequence[Series]) -> Drawing:
    y = alt.Y("scheme:N", title=None, sort=[s.name for s in found], axis=alt.Axis(ticks=False, domain=False))
    x: dict[str, Any] = {"title": what.axis, "scale": alt.Scale(zero=True, nice=True)}
    summary, rounds = (alt.Chart(data(name)).encode(y=y) for name in ("summary", "rounds"))
    ticks = rounds.mark_tick(thickness=1, size=16, color=SOFT, opacity=0.6).encode(
        x=alt.X("value:Q", **x), tooltip=["scheme:N", "round:Q", alt.Tooltip("value:Q", title=what.axis)]
    )
    interval = summary.mark_rule(strokeWidth=5, opacity=0.45, color=MEASURED).encode(x=alt.X("p5:Q", **x), x2="p95:Q")
    marks = (
        summary.transform_fold(["median", "predicted"], as_=["of", "value"])
        .transform_calculate(what=f"datum.of == 'median' ? '{KINDS[0]}' : '{KINDS[1]}'")
        .mark_point(size=70, strokeWidth=2, opacity=1)
        .encode(
            x=alt.X("value:Q", **x),
            shape=_kinds(alt.Shape, ["circle", "diamond"]),
            fill=_kinds(alt.Fill, [MEASURED, "transparent"]),
            stroke=_kinds(alt.Stroke, [PAPER, PREDICTED]),
            tooltip=["scheme:N", "what:N", alt.Tooltip("value:Q", title=what.axis)],
        )
    )
    return alt.layer(ticks, interval, marks)


def _kinds(channel: Callable[..., Any], values: Sequence[str]) -> Any:
    return channel("what:N", title=None, scale=alt.Scale(domain=list(KINDS), range=list(values)))


def _says(found: Sequence[Series], what: _Quantity) -> str:
    ordered = sorted(found, key=lambda s: what.spread(s).median)
    each = "; ".join(
        f"{s.name} {what.spread(s).median:.4g}{what.unit} ({what.spread(s).p5:.4g} to {what.spread(s).p95:.4g}, "
        f"predicted {what.predicted(s):.4g})"
        for s in ordered
    )
    return f"{what.title} by scheme, smallest first: median, 5th to 95th percentile, and prediction. {each}."
