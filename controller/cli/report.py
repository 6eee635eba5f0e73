"""``testbed report``."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.uncollected import uncollected

_PR_SET_PDEATHSIG = 1
MOST_S = 120.0
"""What the page at the end of a trial may take on the wall clock."""


def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Run directories: the --out of trials.")],
    out: Annotated[Path | None, typer.Option(help="The page; DIR/report.html, or comparison.html for several.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the figures as SVG and PDF, data as CSV; beside the page.")
    ] = None,
    round_: Annotated[list[int] | None, typer.Option("--round", help="Draw this round too; may be repeated.")] = None,
    page_only: Annotated[bool, typer.Option("--page-only", help="Write no figures beside the page.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write what trials measured as one HTML page, and its figures for a paper."""
    from controller.report.html.publish import publish

    alone = directories[0] / "report.html" if len(directories) == 1 else Path("comparison.html")
    page = out or alone
    folder = None if page_only else figures or page.with_suffix("")
    with uncollected():
        for line in publish(directories, page, folder, round_ or []):
            print(line)
    if open_:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def write_page(directory: Path, most_s: float = MOST_S) -> str:
    """Writes a trial's page in a process of its own, for which nothing can go wrong here; what to say of it."""
    code = "from controller.cli import main; main()"
    command = [sys.executable, "-c", code, "report", str(directory), "--page-only"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=most_s, preexec_fn=_goes_with_its_parent)
    except subprocess.TimeoutExpired:
        return f"no report: it took longer than {most_s:.0f} s; type: testbed report {directory}"
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it was stopped"])[-1]
        return f"no report: {why}; type: testbed report {directory}"
    return done.stdout.strip().splitlines()[-1]


def _goes_with_its_parent() -> None:
    """Has the kernel end this process when the one that started it ends, though that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
