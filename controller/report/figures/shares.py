"""Who idled for how much of the rounds, and how close every link came to its plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from agents.schedule.task import goes_up, owner
from controller.judge.verdict import LINK_ERROR
from controller.report.figures.figure import Drawing, Figure, data, spec
from controller.report.figures.frame import Frame, Value
from controller.report.figures.series import Series
from controller.report.figures.theme import MEASURED, PREDICTED, SOFT

ROW_PX = 26
MOST_NAMED = 16
"""Beyond so many columns, cells are too narrow for numbers and names."""
DIRECTIONS = ("uplink", "downlink")


def idle_shares(found: Sequence[Series]) -> list[Figure]:
    """A heat map: schemes by the base station and the UEs."""
    rows = [(s.name, agent, share) for s in found for agent, share in _idle(s)]
    frame = Frame.of({"scheme": "scheme", "agent": "agent", "idle": "idle [share of the rounds]"}, rows)
    agents = list(dict.fromkeys(agent for _, agent, _ in rows))
    chart = _heat_map([s.name for s in found], agents)
    says = f"Idle share of the rounds. {'; '.join(_idle_says(s) for s in found)}."
    return [Figure("idle", "Idle shares", says, spec(chart, ROW_PX * len(found)), {"idle": frame})]


def _idle(s: Series) -> Iterator[tuple[str, float]]:
    yield "BS", s.result.summary.bubble_rate
    for name, ue in s.result.ues.items():
        yield name, ue.idle_share


def _idle_says(s: Series) -> str:
    shares = [share for agent, share in _idle(s) if agent != "BS"]
    return (
        f"{s.name}: base station {s.result.summary.bubble_rate:.0%}, "
        f"UEs {min(shares):.0%} to {max(shares):.0%}, {sum(shares) / len(shares):.0%} in the mean"
    )


def _heat_map(names: Sequence[str], agents: Sequence[str]) -> Drawing:
    named = len(agents) <= MOST_NAMED
    base = alt.Chart(data("idle")).encode(
        x=alt.X(
            "agent:N",
            title=None,
            sort=list(agents),
            axis=alt.Axis(labelAngle=0 if named else -90, ticks=False, domain=False, labelOverlap=True),
        ),
        y=alt.Y("scheme:N", title=None, sort=list(names), axis=alt.Axis(ticks=False, domain=False)),
    )
    scale = alt.Scale(scheme="cividis", domain=[0, 1])
    legend = alt.Legend(format="%", gradientLength=160)
    cells = base.mark_rect().encode(
        color=alt.Color("idle:Q", title="idle [% of the rounds]", scale=scale, legend=legend),
        tooltip=["scheme:N", "agent:N", alt.Tooltip("idle:Q", format=".1%", title="idle")],
    )
    if not named:
        return alt.layer(cells)
    ink = alt.condition("datum.idle > 0.55", alt.value("#000000"), alt.value("#ffffff"))
    return alt.layer(cells, base.mark_text().encode(text=alt.Text("idle:Q", format=".0%"), color=ink))


def goodputs(found: Sequence[Series]) -> list[Figure]:
    """How far each link's goodput was from its plan; none where nothing was sent."""
    rows = [row for s in found for row in _links(s)]
    if not rows:
        return []
    titles = {
        "scheme": "scheme",
        "ue": "UE",
        "direction": "direction",
        "off": "goodput against the rounds' own plan [share]",
        "planned_mbps": "the first plan's rate [Mbit/s]",
        "goodput_mbps": "median goodput [Mbit/s]",
    }
    chart = _errors([s.name for s in found if s.result.fidelity.link_errors])
    figure = spec(chart, ROW_PX * len({row[0] for row in rows}))
    limit = Frame.of({"off": "limit [share]"}, [(-LINK_ERROR,), (0.0,), (LINK_ERROR,)])
    frames = {"links": Frame.of(titles, rows), "limit": limit}
    return [Figure("goodput", "Goodput against plan", _goodput_says(found), figure, frames)]


def _links(s: Series) -> Iterator[tuple[Value, ...]]:
    for link, off in s.result.fidelity.link_errors.items():
        ue, up = owner(link), goes_up(link)
        planned, measured = s.result.plan["ues"][ue], s.result.ues[ue]
        bps = (planned["uplink_bps"], measured.uplink_bps) if up else (planned["downlink_bps"], measured.downlink_bps)
        mbps = [None if value is None else value / 1e6 for value in bps]
        yield s.name, ue, DIRECTIONS[0 if up else 1], off, *mbps


def _errors(names: Sequence[str]) -> Drawing:
    looks: dict[str, Any] = {"domain": list(DIRECTIONS)}
    x: dict[str, Any] = {"title": "goodput against plan [%]"}
    axis = alt.Axis(format="+.1%")
    limit = alt.Chart(data("limit")).mark_rule(color=SOFT, strokeDash=[2, 3]).encode(x=alt.X("off:Q", axis=axis, **x))
    points = (
        alt.Chart(data("links"))
        .mark_point(size=55, filled=True, opacity=0.85)
        .encode(
            x=alt.X("off:Q", axis=axis, **x),
            y=alt.Y("scheme:N", title=None, sort=list(names), axis=alt.Axis(ticks=False, domain=False, grid=True)),
            shape=alt.Shape(
                "direction:N", title=None, scale=alt.Scale(**looks, range=["triangle-up", "triangle-down"])
            ),
            color=alt.Color("direction:N", title=None, scale=alt.Scale(**looks, range=[MEASURED, PREDICTED])),
            tooltip=[
                "scheme:N",
                "ue:N",
                "direction:N",
                alt.Tooltip("off:Q", format="+.2%"),
                "planned_mbps:Q",
                "goodput_mbps:Q",
            ],
        )
    )
    return alt.layer(limit, points)


def _goodput_says(found: Sequence[Series]) -> str:
    each = []
    for s in found:
        errors = s.result.fidelity.link_errors
        if errors:
            worst = max(errors, key=lambda link: abs(errors[link]))
            each.append(f"{s.name}: {len(errors)} links, the farthest off is {worst} with {errors[worst]:+.2%}")
    return f"Median goodput of every link against its plan; the verdict's limit is {LINK_ERROR:.0%}. {'; '.join(each)}."
