"""``testbed report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller.cli.uncollected import uncollected


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
