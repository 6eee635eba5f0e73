"""The predicted pipeline as a picture, after Fig. 2 of the C²P²SL paper: who does what, when."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from agents.schedule.task import BS
from controller.planners.planning import Planned
from controller.predict.simulate import Band, Event
from controller.report.pipeline import DARK, PALETTE, WEIGHTS_COLOUR, colour, headline, rows
from testbed.errors import InputError

# The same plan gives the same bytes: ids are hashed with a fixed salt, and no file says when it was made.
STYLE: Any = {"svg.hashsalt": "testbed", "svg.fonttype": "none", "font.size": 8, "hatch.linewidth": 0.6}
UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}

HEIGHT: dict[Band, float] = {"UE": 1.0, "up": 0.7, "down": 0.7, "BS": 1.4}
NAME: dict[Band, str] = {"UE": "UE computes", "up": "air up", "down": "air down", "BS": ""}
BAND_GAP = 0.6
WIDTH_IN, LEFT_IN, RIGHT_IN, HEAD_IN, FOOT_IN = 11.0, 0.95, 0.35, 0.35, 0.5
UNIT_IN, MOST_PANEL_IN = 0.2, 12.0
LABEL_PT = 6.0
MOST_BLOCKS = 20_000  # beyond, blocks are pixels: no viewer opens a drawing of that many shapes


def check_chart_file(file: Path) -> None:
    """InputError when the name does not end in a format that can be drawn."""
    if file.suffix not in UNDATED:
        raise InputError("--chart", f"{file} does not end in {', '.join(UNDATED)}", "name it, for example, chart.svg")


def write_chart(planned: Sequence[Planned], file: Path) -> None:
    """Draws the plans to a .svg, .png or .pdf file; the same plans give the same bytes."""
    check_chart_file(file)
    drawn = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure(planned).savefig(drawn, format=file.suffix[1:], metadata=UNDATED[file.suffix], dpi=150)
    try:
        file.write_bytes(drawn.getvalue())
    except OSError as error:
        raise InputError("--chart", f"{file}: {error.strerror}", "name a file in a folder that you can write") from None


def figure(planned: Sequence[Planned]) -> Figure:
    """One panel per plan, stacked on a common time axis that ends with the longest round."""
    heights = [_panel_in(p) for p in planned]
    height = sum(heights) + (HEAD_IN + FOOT_IN) * len(planned) + HEAD_IN
    drawn = Figure(figsize=(WIDTH_IN, height))
    longest_s = max(p.timeline.round_s for p in planned)
    top = height - HEAD_IN
    for p, panel in zip(planned, heights, strict=True):
        top -= HEAD_IN + panel
        width = (WIDTH_IN - LEFT_IN - RIGHT_IN) / WIDTH_IN
        axes = drawn.add_axes((LEFT_IN / WIDTH_IN, top / height, width, panel / height))
        _Panel(axes, p, longest_s, panel).draw()
        top -= FOOT_IN
    _legend(drawn, planned, height)
    return drawn


class _Panel:
    """One plan on one pair of axes; y counts units of row height downwards."""

    def __init__(self, axes: Axes, planned: Planned, longest_s: float, height_in: float) -> None:
        self._axes, self._planned = axes, planned
        self._scale, self._unit = (1.0, "s") if longest_s >= 1 else (1e3, "ms")
        self._end = longest_s * self._scale
        self._points_per_x = 72 * (WIDTH_IN - LEFT_IN - RIGHT_IN) / self._end
        self._points_per_y = 72 * height_in / _units(planned)

    def draw(self) -> None:
        """Rows, blocks and labels."""
        ticks: list[tuple[float, str]] = []
        blocks: list[tuple[Event, float, float]] = []
        for band, place in _bands(self._planned):
            self._background(band, place)
            step = math.ceil(LABEL_PT / (HEIGHT[band] * self._points_per_y))
            names = [(y, ue.replace(BS, "BS", 1) if band == "BS" else ue) for y, ue, _ in place]
            ticks += [(y + HEIGHT[band] / 2, name) for y, name in names[::step]]
            blocks += [(event, y, HEIGHT[band]) for y, _, events in place for event in events]
        self._blocks(blocks)
        self._frame(ticks)

    def _background(self, band: Band, place: list[tuple[float, str, list[Event]]]) -> None:
        top, bottom = place[0][0], place[-1][0] + HEIGHT[band]
        self._axes.axhspan(top, bottom, color="#f4f4f4", linewidth=0, zorder=0)
        for y, _, _ in place[1:]:
            self._axes.axhline(y, color="white", linewidth=0.8, zorder=0.5)
        self._axes.annotate(
            NAME[band],
            (0, (top + bottom) / 2),
            (-LEFT_IN * 72 + 8, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            rotation=90,
            va="center",
            fontsize=LABEL_PT + 1,
        )

    def _blocks(self, blocks: list[tuple[Event, float, float]]) -> None:
        looks: dict[tuple[str, bool], list[list[tuple[float, float]]]] = {}
        for event, y, height in blocks:
            left, right = event.start_s * self._scale, event.end_s * self._scale
            top, bottom = y + 0.06, y + height - 0.06
            corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
            looks.setdefault((colour(event), event.backward), []).append(corners)
            if not event.weights:
                self._number(event, (left + right) / 2, y + height / 2, right - left, height)
        for (shade, backward), corners_of in looks.items():
            many = len(blocks) > MOST_BLOCKS
            self._axes.add_collection(PolyCollection(corners_of, **_look(shade, backward), rasterized=many))

    def _number(self, event: Event, x: float, y: float, width: float, height: float) -> None:
        text = str(event.key.micro_batch + 1)
        if width * self._points_per_x < LABEL_PT * len(text) or height * self._points_per_y < LABEL_PT + 1:
            return
        dark = colour(event) in DARK and not event.backward
        ink = "white" if dark else "black"
        self._axes.text(x, y, text, ha="center", va="center_baseline", fontsize=LABEL_PT, color=ink, clip_on=True)

    def _frame(self, ticks: list[tuple[float, str]]) -> None:
        axes, end = self._axes, self._planned.timeline.round_s * self._scale
        axes.axvline(end, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
        axes.set_title(headline(self._planned), loc="left", fontsize=9)
        axes.set_xlim(0, self._end * 1.005)
        axes.set_ylim(_units(self._planned), 0)
        axes.set_yticks([y for y, _ in ticks], [label for _, label in ticks], fontsize=LABEL_PT)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"emulated time [{self._unit}]")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)


def _bands(planned: Planned) -> Iterator[tuple[Band, list[tuple[float, str, list[Event]]]]]:
    """Each band with its rows: where a row begins, whose it is, and what happens in it."""
    places: dict[Band, list[tuple[float, str, list[Event]]]] = {}
    y = 0.0
    for (band, ue), events in rows(planned.timeline, tuple(planned.plan.ues)).items():
        y += BAND_GAP if places and band not in places else 0.0
        places.setdefault(band, []).append((y, ue, events))
        y += HEIGHT[band]
    yield from places.items()


def _units(planned: Planned) -> float:
    drawn = rows(planned.timeline, tuple(planned.plan.ues))
    return sum(HEIGHT[band] for band, _ in drawn) + 3 * BAND_GAP


def _panel_in(planned: Planned) -> float:
    return min(UNIT_IN * _units(planned), MOST_PANEL_IN)


def _look(shade: str, backward: bool) -> dict[str, Any]:
    """Forward is solid; backward is a tint of the same colour with its outline."""
    if not backward:
        return {"facecolor": shade, "edgecolor": "white", "linewidth": 0.3}
    tint = tuple(1 - 0.35 * (1 - part) for part in to_rgb(shade))
    return {"facecolor": tint, "edgecolor": shade, "linewidth": 0.6, "hatch": "////"}


def _legend(drawn: Figure, planned: Sequence[Planned], height_in: float) -> None:
    most = max(p.plan.micro_batches for p in planned)
    entries = [(f"micro-batch {m + 1}" if m == 0 else str(m + 1), PALETTE[m], False) for m in range(min(most, 8))]
    entries += [("forward, activations", "#555555", False), ("backward, gradients", "#555555", True)]
    if any(e.weights for p in planned for e in p.timeline.events):
        entries.append(("weights", WEIGHTS_COLOUR, False))
    patches = [Patch(label=label, **_look(shade, backward)) for label, shade, backward in entries]
    drawn.legend(
        handles=patches,
        loc="upper left",
        bbox_to_anchor=(0, 1),
        ncols=len(patches),
        frameon=False,
        fontsize=7,
        handlelength=1.6,
        columnspacing=1.0,
    )
