"""``testbed topology``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.arguments import AsJson, TopologyFile
from controller.cli.output import show

if TYPE_CHECKING:
    from controller.report.scene.scene import Scene


class Graph(StrEnum):
    """In what a topology is drawn."""

    MERMAID = "mermaid"
    SVG = "svg"


def topology(
    file: TopologyFile,
    graph: Annotated[Graph | None, typer.Option(help="Draw it: Mermaid text or an SVG picture.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the drawing to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show who is where, how fast it computes, and what its link carries, alone on the air and with an equal share."""
    from controller.report.scene.scene import scene
    from controller.report.scene.table import scene_table
    from testbed.errors import InputError
    from testbed.files import writing
    from testbed.loading import load

    if out and not graph:
        raise InputError("--out", "there is no drawing to write", "add --graph mermaid or --graph svg")
    if as_json and graph:
        raise InputError("--json", "a drawing is no JSON", "leave out --json or --graph")
    found = scene(load(file))
    if graph is None:
        show(found.to_json(), as_json, scene_table(found))
        return
    text = _drawn(found, graph)
    if out is None:
        print(text, end="")
        return
    with writing("--out", out):
        out.write_text(text, encoding="utf-8")


def _drawn(found: Scene, graph: Graph) -> str:
    from controller.report.scene.mermaid import mermaid
    from controller.report.scene.svg import svg

    return mermaid(found) if graph is Graph.MERMAID else svg(found)
