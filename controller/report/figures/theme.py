"""Looks: colours as names that a page gives a value in light and in dark, and paper its own; shapes beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from controller.report.pipeline import DARK as DARK_SHADES
from controller.report.pipeline import PALETTE, WEIGHTS_COLOUR

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "panel": "#f4f5f7",
    "ink": "#16191d",
    "soft": "#4c545e",
    "line": "#d5d9de",
    "yes": "#0b6b3a",
    "no": "#b3261e",
    "link": "#1a56a8",
    "measured": "#0060a8",
    "predicted": "#b04a00",
    "s0": "#0060a8",
    "s1": "#b04a00",
    "s2": "#00795a",
    "s3": "#a8447f",
    "s4": "#2f7fb3",
    "s5": "#8a6d00",
    "s6": "#332288",
    "s7": "#555b63",
    **{f"m{i}": shade for i, shade in enumerate(PALETTE)},
    **{f"t{i}": "#ffffff" if shade in DARK_SHADES else "#000000" for i, shade in enumerate(PALETTE)},
    "mweights": WEIGHTS_COLOUR,
    "tweights": "#000000",
}
"""After Okabe and Ito, darkened to three to one against white; each is told by a shape or a label as well."""
LIGHTER = ("#9a8cff", "#9bdcf5", "#4fbf6f", "#e8d98a", "#f0909c", "#66d0c0", "#d67aa8", "#d98ad0")
"""The shades of micro-batches, as light as a dark page needs them."""
DARK: Mapping[str, str] = {
    "paper": "#14171a",
    "panel": "#1e2226",
    "ink": "#eceff2",
    "soft": "#aab3bd",
    "line": "#3b424a",
    "yes": "#5fd39a",
    "no": "#ff8a80",
    "link": "#8ab8ff",
    "measured": "#56b4e9",
    "predicted": "#f0a15a",
    "s0": "#56b4e9",
    "s1": "#f0a15a",
    "s2": "#3fc79a",
    "s3": "#e295c4",
    "s4": "#8fb8ff",
    "s5": "#f0e442",
    "s6": "#b7a6ff",
    "s7": "#b9c0c8",
    **{f"m{i}": shade for i, shade in enumerate(LIGHTER)},
    **{f"t{i}": "#000000" for i in range(len(LIGHTER))},
    "mweights": "#a6adb5",
    "tweights": "#000000",
}

SERIES = tuple(f"var(--s{i})" for i in range(8))
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (12, 3))
"""Numbers of which none divides another: two series that share a colour differ in shape and dash."""

INK, SOFT, LINE, PAPER = "var(--ink)", "var(--soft)", "var(--line)", "var(--paper)"
MEASURED, PREDICTED = "var(--measured)", "var(--predicted)"

CONFIG: Mapping[str, Any] = {
    "background": None,
    "font": FONT,
    "aria": False,
    "mark": {"aria": False},
    "view": {"stroke": None},
    "axis": {
        "domainColor": SOFT,
        "tickColor": SOFT,
        "gridColor": LINE,
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "labelLimit": 130,
    },
    "axisXQuantitative": {"tickCount": 9},
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "orient": "top",
        "columns": 4,
        "labelLimit": 170,
        "titleLimit": 340,
    },
    "title": {"color": INK, "fontSize": 12, "fontWeight": "normal", "anchor": "start"},
    "text": {"color": INK, "fontSize": 10},
}

NARROW: Mapping[str, Any] = {
    "axisXQuantitative": {"tickCount": 5},
    "legend": {**CONFIG["legend"], "columns": 2, "layout": {"top": {"direction": "vertical", "anchor": "start"}}},
}
"""What is otherwise where there is no room beside each other."""


def on_paper(spec: Mapping[str, Any], width: int) -> dict[str, Any]:
    """A chart for a file of its own: so many pixels wide, with the light colours by value, on white."""
    legend = {**CONFIG["legend"], "columns": 9}
    whole = {**spec, "width": width, "config": {**CONFIG, "legend": legend, "background": LIGHT["paper"]}}
    text = re.sub(r"var\(--(\w+)\)", lambda name: LIGHT[name[1]], json.dumps(whole))
    found: dict[str, Any] = json.loads(text)
    return found


def variables(colours: Mapping[str, str]) -> str:
    """The colours as CSS declares them."""
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
