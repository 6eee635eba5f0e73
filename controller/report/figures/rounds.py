"""A measured round over the predicted one, on the same tracks, with the tasks that it waited for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import altair as alt

from agents.schedule.task import BROADCAST_PLACE, BS, down, up
from agents.schedule.vocabulary import replica
from controller.judge.explain import Chain
from controller.judge.measured import Happened
from controller.predict.simulate import Band, Event, Timeline
from controller.report.figures import blocks
from controller.report.figures.figure import Drawing, Figure, Spec, data, slug, spec
from controller.report.figures.frame import Frame, Value
from controller.report.figures.theme import INK, MEASURED, PREDICTED
from controller.report.pipeline import rows

TRACK_PX = 19
DIGIT_S = f"{blocks.DIGIT_PX} * round_s / 1600"
"""A digit is on a block that has room for it where the chart is 1600 pixels wide, or zoomed in to be."""
MOST_UES = 16
ENDS = ("predicted", "critical chain")
CHAIN_TITLES = {
    "task": "task",
    "ue": "UE",
    "micro_batch": "micro-batch",
    "track": "track",
    "start_s": "start [s]",
    "end_s": "end [s]",
    "predicted_start_s": "predicted start [s]",
    "predicted_end_s": "predicted end [s]",
}
WHERE: dict[Band, str] = {"UE": "UEs compute", "up": "uplinks", "down": "downlinks", "BS": "the base station computes"}


@dataclass(frozen=True)
class Traced:
    """A round of a scheme: what happened, what it waited for, and what was predicted where that can be told.

    ``charged_s``: what of the round was the planner's time, before its first task.
    """

    name: str
    number: int
    ues: Sequence[str]
    happened: Sequence[Happened]
    chain: Chain
    predicted: Timeline | None
    charged_s: float = 0.0

    @property
    def measured(self) -> list[Event]:
        """What happened, as events; a broadcast arrives at each UE by itself."""
        return [
            Event(row.key, down(row.ue) if row.place == BROADCAST_PLACE else row.place, row.start_s, row.end_s)
            for row in self.happened
        ]

    @property
    def critical(self) -> list[Event]:
        """The measured events of the chain, the first one first."""
        place = {key: i for i, key in enumerate(self.chain.tasks)}
        return sorted((e for e in self.measured if e.key in place), key=lambda e: (place[e.key], e.end_s))


def measured_over_predicted(round_: Traced) -> Figure:
    """The pipeline of a round; of many UEs those with most of the chain."""
    ues = _shown(round_)
    measured = rows(_of(round_.measured, ues), ues)
    predicted = rows(_of(round_.predicted.events if round_.predicted else (), ues), ues)
    tracks = blocks.tracks(measured if len(measured) >= len(predicted) else predicted)
    found = blocks.frame(
        [*blocks.blocks("measured", measured, round_.critical), *blocks.blocks("predicted", predicted)]
    )
    lengths = {"measured": max(row.end_s for row in round_.happened)}
    lengths |= {"predicted": round_.predicted.round_s} if round_.predicted else {}
    frames = {
        "chain": Frame.of(CHAIN_TITLES, _chain(round_)),
        "blocks": found,
        "ends": Frame.of({"what": "what", "end_s": "end [s]"}, list(lengths.items())),
    }
    drawn = _lasting(_spec(tuple(tracks), tuple(blocks.present(found))), max(lengths.values()))
    name = f"pipeline_{slug(round_.name)}_round{round_.number}"
    title = f"Round {round_.number} of {round_.name}"
    return Figure(name, title, _says(round_, len(ues)), drawn, frames)


def _shown(round_: Traced) -> list[str]:
    """The UEs that are drawn, in the topology's order."""
    waited = [event.key.ue for event in round_.critical]
    most = sorted(round_.ues, key=lambda ue: -waited.count(ue))[:MOST_UES]
    return [ue for ue in round_.ues if ue in most]


def _of(events: Sequence[Event], ues: Sequence[str]) -> Iterator[Event]:
    """The events on the tracks of these UEs and of the BS itself."""
    places = {BS, BROADCAST_PLACE, *ues, *map(up, ues), *map(down, ues), *map(replica, ues)}
    yield from (event for event in events if event.place in places)


@cache
def _spec(tracks: tuple[str, ...], shades: tuple[str, ...]) -> Spec:
    """The chart of rounds on these tracks in these shades, however long they are: Altair takes 0.3 s for it."""
    base = blocks.base("blocks", tracks)
    measured = blocks.filled(base.transform_filter("datum.what == 'measured'"), 0.66, shades, DIGIT_S, zooms=True)
    predicted = _outlined(base.transform_filter("datum.what == 'predicted'"), ENDS[0], 1.0, 0.9)
    chain = _outlined(base.transform_filter("datum.critical"), ENDS[1], 0.66, 1.8)
    zoom = alt.selection_interval(name="zoom", bind="scales", encodings=["x"], zoom="wheel![event.ctrlKey]")
    outlines = alt.layer(predicted, chain)
    length = alt.param(name="round_s", value=1.0)
    drawn = alt.layer(measured.add_params(zoom), outlines, _round_ends()).add_params(length)
    apart = drawn.resolve_scale(color="independent", stroke="independent", strokeDash="independent")
    return spec(apart, TRACK_PX * len(tracks))


def _lasting(chart: Spec, round_s: float) -> Spec:
    """The chart for rounds that take so long."""
    params = [{**one, "value": round_s} if one["name"] == "round_s" else one for one in chart["params"]]
    return {**chart, "params": params}


def _outlined(chart: Drawing, what: str, share: float, width_px: float) -> Drawing:
    outline = alt.Scale(domain=list(ENDS), range=[PREDICTED, INK])
    return (
        chart.transform_calculate(outline=f"'{what}'")
        .mark_bar(height=alt.RelativeBandSize(share), filled=False, strokeWidth=width_px, clip=True)
        .encode(
            x2="end_s:Q",
            stroke=alt.Stroke("outline:N", title="outline", scale=outline),
        )
    )


def _round_ends() -> Drawing:
    looks: dict[str, Any] = {"domain": ["measured", "predicted"]}
    return (
        alt.Chart(data("ends"))
        .mark_rule(strokeWidth=1.5, clip=True)
        .encode(
            x="end_s:Q",
            color=alt.Color("what:N", title="end of the round", scale=alt.Scale(**looks, range=[MEASURED, PREDICTED])),
            strokeDash=alt.StrokeDash(
                "what:N", title="end of the round", scale=alt.Scale(**looks, range=[[1, 0], [4, 3]])
            ),
            tooltip=["what:N", "end_s:Q"],
        )
    )


def _chain(round_: Traced) -> Iterator[tuple[Value, ...]]:
    planned = {event.key: event for event in (round_.predicted.events if round_.predicted else ())}
    for event in round_.critical:
        key, due = event.key, planned.get(event.key)
        yield (
            key.kind,
            key.ue,
            key.micro_batch + 1,
            event.place,
            event.start_s,
            event.end_s,
            due.start_s if due else None,
            due.end_s if due else None,
        )


def _says(round_: Traced, shown: int) -> str:
    end_s = max(row.end_s for row in round_.happened)
    against = ""
    if round_.predicted:
        predicted_s = round_.predicted.round_s
        against = f", against {predicted_s:.4g} s as predicted ({end_s / predicted_s - 1:+.2%})"
    spent: dict[str, float] = {}
    for event in round_.critical:
        spent[WHERE[event.band]] = spent.get(WHERE[event.band], 0.0) + event.end_s - event.start_s
    shares = ", ".join(f"{where} {seconds:.4g} s" for where, seconds in sorted(spent.items(), key=lambda s: -s[1]))
    few = f" Drawn are the {shown} of {len(round_.ues)} UEs that it waited for most." if shown < len(round_.ues) else ""
    charged = f" after {round_.charged_s:.4g} s of planning" if round_.charged_s else ""
    return (
        f"Round {round_.number} of {round_.name} took {end_s:.4g} s{charged}{against}. It waited for a chain of "
        f"{len(round_.chain.tasks)} tasks: {shares}.{few}"
    )
