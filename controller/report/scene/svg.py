"""A scene as a picture: a map around the base station, what the scene consists of, and a list of all UEs.

The same scene gives the same bytes. Shapes tell apart what colours do, and colours follow the viewer's light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from controller.predict.instance import GIGA
from controller.report.scene.elements import circle, line, short, square, text
from controller.report.scene.map import MOST_FEW, draw_map, layout
from controller.report.scene.scene import Place, Scene, gflop, mbps, workers

WIDTH, MARGIN, GAP, ROW = 1040.0, 20.0, 30.0, 16.0
LEGEND_X = 640.0
# Heading of a column, what is written below it, and where it stands as a part of the list's width
COLUMNS = (("UE", "", 0.0), ("where", "", 0.35), ("GFLOP/s", "", 0.47), ("MB", "", 0.56))
SHARED_COLUMNS = (
    ("alone", "Mbit/s up / down", 0.72),
    ("share", "of the air", 0.83),
    ("shared", "Mbit/s up / down", 1.0),
)
OWN_COLUMNS = (("up / down", "Mbit/s", 0.8),)

STYLE = """
text { font: 11px system-ui, sans-serif; fill: #1a1a1a } .title { font-size: 16px } .soft { fill: #595959 }
.name { font-weight: bold } .end { text-anchor: end } .middle { text-anchor: middle } .small { font-size: 9px }
.bg { fill: #ffffff } .ring { fill: none; stroke: #c4c4c4; stroke-width: 0.75 } .link { stroke: #0072b2 }
.leader { stroke: #8e8e8e; stroke-width: 0.75; stroke-dasharray: 2 3 } .mgmt { stroke: #595959; stroke-dasharray: 2 3 }
.ue { fill: #e69f00; stroke: #1a1a1a } .bs { fill: #1a1a1a; stroke: #ffffff; stroke-width: 2 }
.halo { stroke: #ffffff; stroke-width: 3; paint-order: stroke } .rule { stroke: #8e8e8e }
@media (prefers-color-scheme: dark) {
text { fill: #f0f0f0 } .soft { fill: #b8b8b8 } .bg { fill: #14161a } .ring { stroke: #4a4d52 } .link { stroke: #56b4e9 }
.mgmt { stroke: #b8b8b8 } .ue { stroke: #f0f0f0 }
.bs { fill: #f0f0f0; stroke: #14161a } .halo { stroke: #14161a } }
""".strip()


def svg(scene: Scene) -> str:
    """The picture as one SVG document."""
    top = layout(scene).height
    parts = [*draw_map(scene), *_legend(scene), *_list(scene, top)]
    height = top + ROW * (3 + _rows_in_a_column(len(scene.ues))) + MARGIN
    title = f"{scene.name}: a base station and {len(scene.ues)} UEs"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(scene.model)}; air: {escape(scene.air)}. The list gives every UE's link and speed.</desc>",
            f"<style>{STYLE}</style>",
            f'<rect class="bg" width="{WIDTH:.0f}" height="{height:.0f}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _legend(scene: Scene) -> Iterator[str]:
    """What the scene consists of, beside the map."""
    bs, y = scene.base_station, 60.0
    yield text(MARGIN, 30, scene.name, "title name")
    memory = [f"memory {bs.memory_mb:.4g} MB"] if bs.memory_mb is not None else []
    rates = (
        ["alone: with the air to itself", "shared: with an equal share of it, as in the map"] if scene.shared else []
    )
    blocks = (
        ("bs", "base station", [gflop(bs.flop_per_s) + workers(bs), *memory]),
        ("ue", f"{len(scene.ues)} UEs", [f"training {scene.model}"]),
        (
            "link",
            "air: shaped, training traffic only",
            [*_wrapped(scene.air.split(", ")), *rates, "a thicker line is a faster uplink"],
        ),
        ("mgmt", "mgmt: unshaped, not drawn", ["plans, metrics, evaluation;", "joins all of them and the controller"]),
        ("", f"host: {bs.host}", ["a container each, and the controller"]),
    )
    for look, heading, lines in blocks:
        yield _symbol(look, LEGEND_X + 8, y - 4)
        yield text(LEGEND_X + 24, y, heading, "name")
        for words in lines:
            y += ROW
            yield text(LEGEND_X + 24, y, words, "soft")
        y += 1.6 * ROW


def _symbol(look: str, x: float, y: float) -> str:
    """What stands for it in the map, around a point."""
    if look == "bs":
        return square(look, (x, y), 14)
    if look == "ue":
        return circle(look, (x, y), 5)
    return line(look, (x - 8, y), (x + 8, y), 2.5) if look else ""


def _wrapped(parts: Sequence[str], most: int = 48) -> list[str]:
    """The parts in lines of at most so many characters."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 2 <= most:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


def _list(scene: Scene, top: float) -> Iterator[str]:
    """Every UE in one column, or in two where there are many."""
    per_column = _rows_in_a_column(len(scene.ues))
    width = WIDTH - 2 * MARGIN
    if per_column < len(scene.ues):
        width = (width - GAP) / 2
    for i in range(0, len(scene.ues), per_column):
        left = MARGIN + (width + GAP) * (i // per_column)
        yield from _column(scene.ues[i : i + per_column], left, top + ROW, width, scene.shared)


def _rows_in_a_column(n: int) -> int:
    return n if n <= MOST_FEW else math.ceil(n / 2)


def _column(ues: Sequence[Place], left: float, y: float, width: float, shared: bool) -> Iterator[str]:
    columns = (*COLUMNS, *(SHARED_COLUMNS if shared else OWN_COLUMNS))
    for heading, below, at in columns:
        anchor = "end" if at else ""
        yield text(left + at * width, y, heading, f"name {anchor}")
        yield text(left + at * width, y + 12, below, f"soft small {anchor}")
    yield line("rule", (left, y + 17), (left + width, y + 17))
    for i, ue in enumerate(ues):
        row = y + ROW * (i + 2)
        for (_, _, at), cell in zip(columns, _cells(ue, shared), strict=True):
            yield text(left + at * width, row, cell, "end" if at else "name")


def _cells(ue: Place, shared: bool) -> list[str]:
    memory = "-" if ue.memory_mb is None else f"{ue.memory_mb:.4g}"
    cells = [short(ue.name), ue.where or "-", f"{ue.flop_per_s / GIGA:.3g}", memory]
    cells.append(f"{mbps(ue.uplink_bps)} / {mbps(ue.downlink_bps)}")
    if shared:
        cells += [f"{ue.share:.1%}", f"{mbps(ue.shared_uplink_bps)} / {mbps(ue.shared_downlink_bps)}"]
    return cells
