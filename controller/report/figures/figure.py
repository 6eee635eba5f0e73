"""A figure: a chart without its data and looks, the data, and what it shows in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt

from controller.report.figures.frame import Frame

Spec = dict[str, Any]
Drawing = Any
"""A chart of Altair, of one layer or several: its own types do not say what can be done with the result."""


@dataclass(frozen=True)
class Figure:
    """One figure. ``name``: of its files; ``says``: a sentence or two with the numbers, for who cannot see it.

    ``spec``: Vega-Lite, whose data sources are the names of ``frames``; the first frame is the one to show as a table.
    """

    name: str
    title: str
    says: str
    spec: Spec
    frames: Mapping[str, Frame]

    def drawable(self) -> Spec:
        """The chart with its data."""
        return {**self.spec, "datasets": {name: frame.records() for name, frame in self.frames.items()}}


def spec(chart: Drawing, height_px: int) -> Spec:
    """A chart as Vega-Lite that is as wide as its place; its config and schema are left to whoever draws it."""
    found: Spec = chart.properties(width="container", height=height_px).to_dict()
    return {key: value for key, value in found.items() if key not in ("config", "$schema")}


def data(name: str) -> alt.NamedData:
    """A chart's reference to one of its figure's frames."""
    return alt.NamedData(name=name)


def slug(name: str) -> str:
    """A name that a file can have everywhere."""
    return "".join(c if c.isalnum() or c == "-" else "_" for c in name)
