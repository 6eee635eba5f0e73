"""``testbed results``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller.cli.arguments import AsJson
from controller.cli.output import show


def results(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The --out of a trial.")], as_json: AsJson = False
) -> None:
    """Derive results.json again from a trial's journal, events.jsonl, and show it."""
    from agents.own import set_folder
    from controller.judge.derive import derive
    from controller.report.outcome import results_table
    from controller.trial.journal import FILE, RESULTS, fitting, read
    from testbed.files import write_atomically

    set_folder(directory)
    lines = read(directory)
    with fitting(directory / FILE):
        found = derive(lines)
        table, text = results_table(found), found.model_dump_json(indent=1)
    write_atomically(directory / RESULTS, text + "\n")
    show(found.model_dump(mode="json"), as_json, table)
