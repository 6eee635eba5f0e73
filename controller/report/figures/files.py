"""Figures as files: SVG and PDF for a paper, PNG, and their data as CSV; the same figure gives the same bytes.

The converter writes several fonts in no fixed order, so that a figure may have only one, in one weight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import vl_convert

from controller.report.figures.figure import Figure
from controller.report.figures.theme import on_paper

WIDTH_PX = 640
IDS = re.compile(r"\b(clip|gradient_)\d+\b")
RESOURCES = re.compile(rb"(?:^ +/[A-Za-z]+\d+ \d+ 0 R\n)+", re.MULTILINE)

SUFFIXES: Mapping[str, Callable[[str], bytes]] = {
    ".svg": lambda svg: svg.encode(),
    ".pdf": lambda svg: _sorted(vl_convert.svg_to_pdf(svg)),
    ".png": lambda svg: vl_convert.svg_to_png(svg, scale=2),
}


def drawn(spec: Mapping[str, Any], suffix: str, width_px: int = WIDTH_PX) -> bytes:
    """A chart with its data as a file of this kind."""
    return SUFFIXES[suffix](_renumbered(vl_convert.vegalite_to_svg(on_paper(spec, width_px))))


def write_figures(figures: Sequence[Figure], folder: Path) -> None:
    """Every figure as SVG and PDF, and every frame of it as CSV. OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        svg = drawn(figure.drawable(), ".svg")
        (folder / f"{figure.name}.svg").write_bytes(svg)
        (folder / f"{figure.name}.pdf").write_bytes(SUFFIXES[".pdf"](svg.decode()))
        for name, frame in figure.frames.items():
            (folder / f"{figure.name}.{name}.csv").write_text(frame.to_csv(), encoding="utf-8")


def _renumbered(svg: str) -> str:
    """The converter goes on counting clips and gradients from one picture to the next."""
    numbers: dict[str, str] = {}
    return IDS.sub(lambda found: found[1] + numbers.setdefault(found[0], str(len(numbers))), svg)


def _sorted(pdf: bytes) -> bytes:
    """The converter lists a page's resources in no fixed order; sorted, they take the same bytes."""
    return RESOURCES.sub(lambda found: b"".join(sorted(found[0].splitlines(keepends=True))), pdf)
