"""``testbed watch``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.arguments import AsJson
from controller.cli.output import console, show

if TYPE_CHECKING:
    from controller.trial.whereabouts import Run

MOST_NAMED = 5


def watch(
    trial: Annotated[str, typer.Argument(metavar="NAME|DIR", help="A trial of this machine, or the --out of any.")],
    as_json: AsJson = False,
) -> None:
    """Follow a trial that runs elsewhere, or ran before, until it ends; then show its results. Ctrl-C leaves it alone.

    Exit status 1 when the trial broke off.
    """
    from controller.cli.entry import Interrupted
    from controller.report.live.terminal import watching
    from controller.report.outcome import results_table
    from controller.report.recorded import recorded
    from controller.trial.replay import told
    from testbed.errors import InputError

    directory, run = _found(trial)
    try:
        with watching(console(stderr=True), trial) as watcher:
            try:
                for event in told(directory, run):
                    watcher(event)
            except InputError:  # what is wrong is among what is missing
                pass
    except Interrupted:
        print(f"{trial} is left alone", file=sys.stderr)
        raise typer.Exit from None
    found = recorded(directory)
    show(found.results.model_dump(mode="json"), as_json, results_table(found.results))
    for sentence in found.missing:
        if found.results.error is None or found.results.error not in sentence:  # the table has that already
            print(sentence, file=sys.stderr)
    if found.results.error is not None:
        raise typer.Exit(1)


def _found(trial: str) -> tuple[Path, Run | None]:
    """The run directory that is meant, and the process that writes there if it is of this machine."""
    from controller.trial.whereabouts import names, run_into, run_of
    from testbed.errors import InputError

    directory = Path(trial)
    if directory.is_dir():
        return directory, run_into(directory)
    run = run_of(trial) if "/" not in trial else None
    if run is None:
        known = ", ".join(names()[:MOST_NAMED])
        hint = f"give one of {known}, or the --out of a trial" if known else "give the --out of a trial"
        raise InputError(trial, "is neither a trial that was begun on this machine nor a directory", hint)
    if not run.alive and not run.out.is_dir():
        raise InputError(trial, f"ran last into {run.out}, which is gone", "give the --out of another trial")
    return run.out, run
