"""Run directories → files: the page, and beside it the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from controller.report.figures.files import write_figures
from controller.report.html.page import page
from controller.report.html.report import Report, named
from controller.report.recorded import recorded
from controller.trial.journal import FILE, fitting
from testbed.files import write_atomically, writing


def publish(directories: Sequence[Path], out: Path, figures: Path | None, rounds: Sequence[int]) -> Iterator[str]:
    """Writes the page, and the figures unless there is no folder for them; says what it wrote, and what is missing.

    InputError or RecordError where nothing of a run can be shown, or nothing can be written.
    """
    report = Report(named([recorded(directory) for directory in directories]), rounds)
    for run, found in report.runs.items():
        yield from (f"missing: {run}: {one}" for one in found.missing)
    with fitting(Path(*directories[:1]) / FILE):
        content = page(report).encode()
    with writing("--out", out, "give a file that can be written"):
        write_atomically(out, content)
    yield f"report: {out}"
    if figures is None:
        return
    with writing("--figures", figures, "give a folder that can be written"):
        write_figures(list(report.figures), figures)
    yield f"figures: {figures}/ (SVG, PDF, CSV)"
