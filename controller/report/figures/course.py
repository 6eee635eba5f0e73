"""A scheme's rounds on the emulated time axis, with what changed meanwhile: plans, links, devices."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache

import altair as alt

from controller.judge.record import Mark
from controller.report.figures.figure import Drawing, Figure, Spec, data, slug, spec
from controller.report.figures.frame import Frame, Value
from controller.report.figures.series import Series
from controller.report.figures.theme import MEASURED, PREDICTED, SERIES

HEIGHT_PX = 190
LANES = ("measured", "predicted")
FAULT = "broke off"
KINDS = {
    "plan": ("plan made anew", "diamond"),
    "channel": ("link changed", "triangle-down"),
    "device": ("device changed", "square"),
    "fault": (FAULT, "cross"),
}
MOST_TEXTS = 3


def course(s: Series, marks: Sequence[Mark], broke: str | None = None) -> Figure:
    """Every round where it began: its length as measured and as predicted for this very round.

    ``broke``: why the trial broke off in this scheme, if it did.
    """
    rows = list(_rounds(s))
    titles = {"round": "round", "start_s": "began at [s, emulated]", "measured": "round time [s]"}
    changes = _marks(marks)
    if broke is not None:
        changes.append((sum(r.round_s for r in s.result.rounds), FAULT, broke))
    frames = {
        "rounds": Frame.of({**titles, "predicted": "predicted [s]", "bubble_rate": "bubble rate [share]"}, rows),
        "marks": Frame.of({"start_s": "at [s]", "kind": "kind", "text": "what"}, changes),
    }
    kinds = frozenset(str(row[1]) for row in frames["marks"].rows)
    name, title = f"course_{slug(s.name)}", f"The rounds of {s.name}"
    return Figure(name, title, _says(s, frames["marks"]), _spec(kinds), frames)


def _rounds(s: Series) -> Iterator[tuple[Value, ...]]:
    clock_s = 0.0
    for r in s.result.rounds:
        yield r.round, clock_s, r.round_s, r.predicted_s, r.bubble_rate
        clock_s += r.round_s


def _marks(marks: Sequence[Mark]) -> list[tuple[Value, ...]]:
    """Those of one kind at one time are one: a channel changes for all UEs at once."""
    grouped: dict[tuple[float, str], list[str]] = {}
    for mark in marks:
        text = f"{mark.ue}: {mark.text}" if mark.ue else mark.text
        grouped.setdefault((mark.at_s, KINDS[mark.kind][0]), []).append(text)
    return [(at_s, kind, _joined(texts)) for (at_s, kind), texts in grouped.items()]


def _joined(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - MOST_TEXTS} more" if len(texts) > MOST_TEXTS else ""
    return "; ".join(texts[:MOST_TEXTS]) + more


@cache
def _spec(kinds: frozenset[str]) -> Spec:
    """The chart of the rounds of any scheme, with what of these kinds happened."""
    x = alt.X("start_s:Q", title="emulated time at which the round began [s]", scale=alt.Scale(zero=True))
    rounds = (
        alt.Chart(data("rounds"))
        .transform_fold(list(LANES), as_=["what", "round_s"])
        .encode(
            x=x,
            y=alt.Y("round_s:Q", title="round time [s]", scale=alt.Scale(zero=True)),
            tooltip=["round:Q", "what:N", alt.Tooltip("round_s:Q", title="round time [s]")],
        )
    )
    colour = alt.Color("what:N", title=None, scale=alt.Scale(domain=list(LANES), range=[MEASURED, PREDICTED]))
    dash = alt.StrokeDash("what:N", title=None, scale=alt.Scale(domain=list(LANES), range=[[1, 0], [4, 3]]))
    shape = alt.Shape("what:N", title=None, scale=alt.Scale(domain=list(LANES), range=["circle", "diamond"]))
    lines = rounds.mark_line(strokeWidth=1.5).encode(color=colour, strokeDash=dash)
    points = rounds.mark_point(size=28, opacity=1).encode(color=colour, shape=shape)
    drawn = alt.layer(lines, points)
    if not kinds:
        return spec(drawn, HEIGHT_PX)
    both = alt.layer(drawn, _marked(x, kinds))
    apart = both.resolve_scale(color="independent", shape="independent", strokeDash="independent", y="independent")
    return spec(apart, HEIGHT_PX)


def _marked(x: alt.X, kinds: frozenset[str]) -> Drawing:
    """What changed, along the time axis, each kind with a shape, a colour and a height of its own."""
    looks = [look for look in KINDS.values() if look[0] in kinds]
    domain, shapes = [name for name, _ in looks], [shape for _, shape in looks]
    colours = list(SERIES[2 : 2 + len(domain)])
    heights_px = {name: HEIGHT_PX - 7 - 11 * i for i, name in enumerate(domain)}
    return (
        alt.Chart(data("marks"))
        .transform_calculate(height_px=f"{json.dumps(heights_px)}[datum.kind]")
        .mark_point(size=42, filled=True, opacity=1)
        .encode(
            x=x,
            y=alt.Y("height_px:Q", scale=None, axis=None),
            shape=alt.Shape("kind:N", title=None, scale=alt.Scale(domain=domain, range=shapes)),
            color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=domain, range=colours)),
            tooltip=["kind:N", "start_s:Q", "text:N"],
        )
    )


def _says(s: Series, marks: Frame) -> str:
    counts = {kind: sum(row[1] == kind for row in marks.rows) for kind, _ in KINDS.values()}
    told = [f"{kind} {count} times" if count > 1 else f"{kind} once" for kind, count in counts.items() if count]
    said = "; ".join(told).capitalize()
    rounds = s.result.rounds
    lengths = [r.round_s for r in rounds]
    return (
        f"{len(rounds)} rounds of {s.name} in {sum(lengths):.4g} emulated seconds, between {min(lengths):.4g} and "
        f"{max(lengths):.4g} s long; each is, in the median, {s.result.summary.round_error:+.2%} off its own "
        f"prediction. {f'{said}.' if said else 'Plan, links and devices stayed as they were.'}"
    )
