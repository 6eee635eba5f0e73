"""Accuracy on the test set, against emulated time and against rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from controller.report.figures.figure import Drawing, Figure, data, spec
from controller.report.figures.frame import Frame
from controller.report.figures.series import Series
from controller.report.figures.theme import DASHES, SERIES, SHAPES, SOFT

HEIGHT_PX = 260
AXES = {"emulated_s": "emulated time [s]", "round": "rounds [number]"}


def accuracies(found: Sequence[Series]) -> list[Figure]:
    """One figure over each axis; none where nothing was evaluated."""
    evaluated = [s for s in found if s.result.accuracy is not None]
    if not evaluated:
        return []
    rows = [
        (s.name, number, emulated_s, accuracy)
        for s in evaluated
        if s.result.accuracy
        for number, emulated_s, accuracy in s.result.accuracy.curve
    ]
    titles = {"scheme": "scheme", "round": "round", "emulated_s": AXES["emulated_s"], "accuracy": "accuracy [share]"}
    frame = Frame.of(titles, rows)
    return [
        Figure(
            f"accuracy_over_{'time' if field == 'emulated_s' else 'rounds'}",
            f"Accuracy against {title.split(' [')[0]}",
            f"Test accuracy against {title.split(' [')[0]}. {_says(evaluated)}",
            spec(_chart(field, title, [s.name for s in evaluated]), HEIGHT_PX),
            {"accuracy": frame},
        )
        for field, title in AXES.items()
    ]


def _chart(field: str, title: str, names: Sequence[str]) -> Drawing:
    many = range(len(names))
    legend = alt.Legend(title=None)
    scales = {
        "color": alt.Color("scheme:N", scale=_cycled(names, [SERIES[i % len(SERIES)] for i in many]), legend=legend),
        "shape": alt.Shape("scheme:N", scale=_cycled(names, [SHAPES[i % len(SHAPES)] for i in many]), legend=legend),
        "strokeDash": alt.StrokeDash(
            "scheme:N", scale=_cycled(names, [list(DASHES[i % len(DASHES)]) for i in many]), legend=legend
        ),
    }
    axis = alt.Axis(tickMinStep=1) if field == "round" else alt.Axis()
    base = alt.Chart(data("accuracy")).encode(
        x=alt.X(f"{field}:Q", title=title, scale=alt.Scale(zero=True), axis=axis),
        y=alt.Y("accuracy:Q", title="accuracy on the test set [%]", axis=alt.Axis(format="%")),
        tooltip=["scheme:N", "round:Q", "emulated_s:Q", alt.Tooltip("accuracy:Q", format=".2%")],
    )
    lines = base.mark_line(strokeWidth=1.8).encode(color=scales["color"], strokeDash=scales["strokeDash"])
    points = base.mark_point(size=45, filled=True, opacity=1, stroke=SOFT, strokeWidth=0.4)
    return alt.layer(lines, points.encode(color=scales["color"], shape=scales["shape"]))


def _cycled(names: Sequence[str], values: Sequence[Any]) -> alt.Scale:
    return alt.Scale(domain=list(names), range=list(values))


def _says(evaluated: Sequence[Series]) -> str:
    ends = [
        f"{s.name} {s.result.accuracy.final:.1%} after {s.result.accuracy.curve[-1][0]} rounds and "
        f"{s.result.accuracy.curve[-1][1]:.4g} s"
        for s in sorted(evaluated, key=lambda s: -(s.result.accuracy.final if s.result.accuracy else 0.0))
        if s.result.accuracy
    ]
    return f"At the end, best first: {'; '.join(ends)}."
