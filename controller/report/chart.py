"""The predicted pipeline as a picture, after Fig. 2 of the C²P²SL paper: who does what, when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import altair as alt

from controller.planners.planning import Planned
from controller.report.figures import blocks
from controller.report.figures.figure import Drawing, Spec, data
from controller.report.figures.files import SUFFIXES, drawn
from controller.report.figures.frame import Frame
from controller.report.figures.theme import INK
from controller.report.pipeline import headline, rows
from testbed.errors import InputError
from testbed.files import writing

WIDTH_PX = 900
TRACK_PX, MOST_PANEL_PX = 17, 1000


def check_chart_file(file: Path) -> None:
    """InputError when the name does not end in a format that can be drawn."""
    if file.suffix not in SUFFIXES:
        raise InputError("--chart", f"{file} does not end in {', '.join(SUFFIXES)}", "name it, for example, chart.svg")


def write_chart(planned: Sequence[Planned], file: Path) -> None:
    """Draws the plans to a .svg, .png or .pdf file; the same plans give the same bytes."""
    check_chart_file(file)
    picture = drawn(figure(planned), file.suffix, WIDTH_PX)
    with writing("--chart", file):
        file.write_bytes(picture)


def figure(planned: Sequence[Planned]) -> Spec:
    """One panel per plan, stacked on a common time axis that ends with the longest round; with its data."""
    frames: dict[str, Frame] = {}
    panels = []
    longest_s = max(p.timeline.round_s for p in planned)
    shades = [rows(p.timeline.events, tuple(p.plan.ues)) for p in planned]
    for i, (p, tracks) in enumerate(zip(planned, shades, strict=True)):
        frames[f"blocks{i}"] = blocks.frame(blocks.blocks("predicted", tracks))
        frames[f"end{i}"] = Frame.of({"end_s": "end [s]"}, [(p.timeline.round_s,)])
    present = sorted({shade for i in range(len(planned)) for shade in blocks.present(frames[f"blocks{i}"])})
    for i, (p, tracks) in enumerate(zip(planned, shades, strict=True)):
        panels.append(_panel(i, p, blocks.tracks(tracks), longest_s, present))
    spec: Spec = alt.vconcat(*panels, spacing=18).to_dict()
    spec = {key: value for key, value in spec.items() if key not in ("config", "$schema")}
    return {**spec, "datasets": {name: frame.records() for name, frame in frames.items()}}


def _panel(i: int, p: Planned, tracks: Sequence[str], longest_s: float, shades: Sequence[str]) -> Drawing:
    base = blocks.base(f"blocks{i}", tracks, 1.005 * longest_s)
    end = alt.Chart(data(f"end{i}")).mark_rule(color=INK, strokeDash=[4, 2]).encode(x="end_s:Q")
    height = min(TRACK_PX * len(tracks), MOST_PANEL_PX)
    readable = height >= blocks.DIGIT_HEIGHT_PX * len(tracks)
    digit_s = f"{blocks.DIGIT_PX * longest_s / WIDTH_PX if readable else longest_s:.3g}"
    panel: Drawing = alt.layer(blocks.filled(base, 0.86, shades, digit_s), end)
    return panel.properties(width=WIDTH_PX, height=height, title=headline(p))
