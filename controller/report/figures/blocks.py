"""Tasks as blocks on the tracks of processors and links: the drawing that plans and measured rounds share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import altair as alt

from controller.predict.simulate import Band, Event
from controller.report.figures.figure import Drawing, data
from controller.report.figures.frame import Frame, Value
from controller.report.figures.theme import INK
from controller.report.pipeline import PALETTE, row_name

WEIGHTS = "weights"
WAYS = ("forward, activations", "backward, gradients", WEIGHTS)
SOLID = dict(zip(WAYS, (1.0, 0.3, 0.55), strict=True))
"""Forward is solid; backward is a tint with its outline, and so are weights, in grey."""
TITLES = {
    "what": "what",
    "track": "track",
    "task": "task",
    "ue": "UE",
    "micro_batch": "micro-batch",
    "way": "way",
    "shade": "colour",
    "start_s": "start [s]",
    "end_s": "end [s]",
    "critical": "on the critical chain",
}
LEGEND = "micro-batch (solid: forward, tinted: backward)"
DIGIT_PX, DIGIT_HEIGHT_PX = 7, 9
"""What a digit on a block takes."""

Rows = Mapping[tuple[Band, str], Sequence[Event]]


def blocks(what: str, drawn: Rows, critical: Iterable[Event] = ()) -> Iterator[tuple[Value, ...]]:
    """A row of a frame with ``TITLES`` for each event on each of its tracks."""
    chain = set(critical)
    for (band, whose), events in drawn.items():
        for event in events:
            key = event.key
            way = WEIGHTS if event.weights else WAYS[1 if event.backward else 0]
            shade = WEIGHTS if event.weights else str(key.micro_batch % len(PALETTE) + 1)
            described = key.kind, key.ue, key.micro_batch + 1, way, shade, event.start_s, event.end_s
            yield what, row_name(band, whose), *described, event in chain


def frame(rows: Iterable[Sequence[Value]]) -> Frame:
    """The blocks of a chart."""
    return Frame.of(TITLES, rows)


def tracks(drawn: Rows) -> list[str]:
    """The names of the rows, from top to bottom."""
    return [row_name(band, whose) for band, whose in drawn]


def base(name: str, order: Sequence[str], end_s: float | None = None) -> Drawing:
    """What every layer of a pipeline chart begins with: this data source on these tracks.

    The time axis ends at ``end_s``, or with what is drawn.
    """
    names = alt.Axis(labelOverlap="greedy", ticks=False)
    return alt.Chart(data(name)).encode(
        x=alt.X(
            "start_s:Q",
            title="emulated time since the round began [s]",
            scale=alt.Scale(nice=False) if end_s is None else alt.Scale(domain=[0, end_s], nice=False),
        ),
        y=alt.Y("track:N", title=None, scale=alt.Scale(domain=list(order), paddingInner=0.1), axis=names),
    )


def filled(chart: Drawing, share: float, shades: Sequence[str], digit_s: str, zooms: bool = False) -> Drawing:
    """Blocks filled by micro-batch, as high as this share of their track.

    Those that are longer than ``digit_s``, an expression, for each digit of their micro-batch's number have it written
    on them; in a chart that ``zooms``, or is as wide as its place, only while it fits.
    """
    colours = _colours(shades, "m")
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    solid = (
        chart.transform_calculate(solid=f"{json.dumps(SOLID)}[datum.way]")
        .mark_bar(height=alt.RelativeBandSize(share), strokeWidth=0.7, clip=True)
        .encode(
            x2="end_s:Q",
            fill=alt.Fill("shade:N", title=LEGEND, scale=scale),
            stroke=alt.Stroke("shade:N", scale=scale, legend=None),
            fillOpacity=alt.FillOpacity("solid:Q", scale=None),
            tooltip=["what:N", "task:N", "ue:N", "micro_batch:Q", "start_s:Q", "end_s:Q"],
        )
    )
    return alt.layer(solid, _numbers(chart, shades, digit_s, zooms))


def present(blocks: Frame) -> list[str]:
    """The shades that these blocks have, in order."""
    place = list(blocks.titles).index("shade")
    return sorted({str(row[place]) for row in blocks.rows})


def _colours(shades: Sequence[str], kind: str) -> dict[str, str]:
    """The colours of blocks (``m``), or of what is written on them (``t``)."""
    return {shade: f"var(--{kind}{shade if shade == WEIGHTS else int(shade) - 1})" for shade in shades}


def _numbers(chart: Drawing, shades: Sequence[str], digit_s: str, zooms: bool) -> Drawing:
    inks = json.dumps(_colours(shades, "t"))
    wide = f"datum.end_s - datum.start_s > {digit_s} * length('' + datum.micro_batch)"
    width_px = "scale('x', datum.end_s) - scale('x', datum.start_s)"
    fits = f"{width_px} > {DIGIT_PX} * length('' + datum.micro_batch)"
    written = (
        chart.transform_filter(f"datum.way != '{WEIGHTS}' && {wide}")
        .transform_calculate(
            middle_s="(datum.start_s + datum.end_s) / 2",
            ink=f"datum.way == '{WAYS[1]}' ? '{INK}' : {inks}[datum.shade]",
        )
        .mark_text(fontSize=8, clip=True)
        .encode(x="middle_s:Q", text="micro_batch:Q", color=alt.Color("ink:N", scale=None))
    )
    return written.encode(opacity=alt.condition(fits, alt.value(1), alt.value(0))) if zooms else written
