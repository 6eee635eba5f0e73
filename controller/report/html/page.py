"""A report → its page: the template filled in, with style, script, charts and their data inside."""

from __future__ import annotations

import base64
import json
from importlib import metadata
from pathlib import Path
from typing import Any

import vl_convert
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from controller.report.figures.figure import Figure
from controller.report.figures.theme import CONFIG, DARK, FONT, LIGHT, NARROW, variables
from controller.report.html import tables
from controller.report.html.report import Report
from controller.report.html.words import headline, verdict
from controller.report.recorded import Recorded
from controller.report.scene.scene import scene
from controller.report.scene.svg import svg
from testbed.kept import kept
from testbed.topology import Topology

HERE = Path(__file__).parent
MOST_ROWS = 400
"""A longer table is a CSV file's business."""


def page(report: Report) -> str:
    """The page as text; the same report gives the same text."""
    verdicts = [verdict(s) for s in report.series]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = _cell
    return environment.get_template("page.html.j2").render(
        title=_title(report),
        runs=report.runs,
        headline=headline(verdicts),
        verdicts=verdicts,
        summary=tables.summary(report.series),
        overview=report.overview,
        stories=report.stories,
        faults=tables.faults(report.series),
        plans=tables.plans(report.series),
        hosts=tables.hosts(report.results),
        differences=tables.differences(report.results),
        topologies={run: yaml.safe_dump(one.topology, sort_keys=False) for run, one in report.results.items()},
        maps={run: found for run, one in report.runs.items() if (found := _map(one))},
        light=variables(LIGHT),
        dark=variables(DARK),
        font=FONT,
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        library=_library(),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        data=_in_a_script(_data(report)),
    )


def _title(report: Report) -> str:
    names = dict.fromkeys(found.name for found in report.runs.values())
    if len(report.runs) == 1:
        return f"Field trial: {next(iter(names))}"
    return f"{len(report.runs)} field trials: {', '.join(names)}"


def _data(report: Report) -> dict[str, Any]:
    stories = [
        {
            "name": story.name,
            "course": story.course.name,
            "pipelines": {str(number): figure.name for number, figure in story.pipelines.items()},
        }
        for story in report.stories
    ]
    figures = {figure.name: _figure(figure) for figure in report.figures}
    with_links = [s for s in report.series if s.result.fidelity.link_errors] or report.series
    shortest = min(with_links, key=lambda s: s.result.summary.round_s.median, default=None)
    first = report.series.index(shortest) if shortest else 0
    return {
        "config": CONFIG,
        "narrow": NARROW,
        "stories": stories,
        "first": first,
        "figures": figures,
        "most_rows": MOST_ROWS,
    }


def _figure(figure: Figure) -> dict[str, Any]:
    frames = {name: frame.to_json() for name, frame in figure.frames.items()}
    return {"title": figure.title, "says": figure.says, "spec": figure.spec, "frames": frames}


def _map(found: Recorded) -> str | None:
    """Who is where, as the address of a picture; None for a topology that this version does not know."""
    try:
        drawn = svg(scene(Topology.model_validate(found.results.topology)))
    except (ValueError, KeyError):
        return None
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"


def _in_a_script(data: Any) -> str:
    """JSON in which nothing ends the script element that it is in."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, put together once for a version of the converter."""
    version = {"vl-convert-python": metadata.version("vl-convert-python")}
    bundle = kept("charts", version, lambda: vl_convert.javascript_bundle(), str)  # type: ignore[call-arg]  # has a default
    return bundle.replace("</script", "<\\/script")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
