"""``testbed ps``."""

from __future__ import annotations

from typing import Annotated

import typer

from controller.cli.arguments import AsJson
from controller.cli.output import show


def ps(name: Annotated[str | None, typer.Argument(help="One trial only.")] = None, as_json: AsJson = False) -> None:
    """List the containers of all trials that are up."""
    from controller.report.table import rows_table
    from testbed.deploy import ps as rows_of
    from testbed.engine import Engine

    rows = rows_of(Engine.connect(), name)
    if not rows and not as_json:
        print("nothing is up")
    else:
        show(rows, as_json, rows_table("", rows))
