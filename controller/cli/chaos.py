"""``testbed chaos``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.arguments import AsJson, Quiet, TopologyFile
from controller.cli.check import checked, say
from controller.cli.output import console, print_json

FAULTS = 10


def chaos(
    topology: TopologyFile,
    out: Annotated[Path | None, typer.Option(help="Run directory; a new one under runs/ unless given.")] = None,
    faults: Annotated[int | None, typer.Option(min=1, help="How many faults to draw, of all rounds.")] = None,
    rate: Annotated[float | None, typer.Option(help="Or the share of rounds that get one.")] = None,
    kinds: Annotated[str | None, typer.Option(help="Of which kinds, comma-separated.")] = None,
    for_s: Annotated[float | None, typer.Option("--for", help="How long each lasts, in emulated seconds.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the topology's.")] = None,
    scheme: Annotated[str | None, typer.Option(help="Run only these schemes, comma-separated.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds per scheme.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a finished trial in that directory.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a field trial in which things break as the seed draws it, then check its journal.

    Exit 0 only when the trial went to its end and nothing in its journal is wrong. Without --faults and --rate it is
    the topology's own faults that strike, or ten that are drawn where it has none.
    """
    from controller.cli.selection import select
    from controller.judge.results import Results
    from controller.report.live.terminal import watching
    from controller.report.outcome import faults_table
    from controller.trial.field_trial import field_trial
    from controller.trial.journal import FILE, RESULTS
    from testbed.engine import Engine
    from testbed.errors import InputError, TestbedError
    from testbed.loading import load, with_faults

    chosen = select(load(topology), scheme.split(",") if scheme else None, rounds=rounds)
    drawn = {"count": faults, "rate": rate, "kinds": kinds.split(",") if kinds else None, "for_s": for_s}
    chosen = with_faults(chosen, {key: value for key, value in drawn.items() if value is not None}, FAULTS, seed)
    directory = out or Path("runs") / f"chaos-{chosen.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    error: TestbedError | None = None
    with watching(console(stderr=True), chosen.name, quiet) as watcher:
        try:
            field_trial(Engine.connect(), chosen, directory, watcher, force)
        except InputError:
            raise
        except TestbedError as broke_off:
            if not (directory / FILE).exists():  # before anything was measured
                raise
            error = broke_off
    found, left = checked(directory, host=True)
    results = Results.model_validate_json((directory / RESULTS).read_bytes())
    if as_json:
        print_json({"directory": str(directory), **found, "left": left, "error": str(error) if error else None})
    else:
        console().print(faults_table(results))
        say(directory, found, left)
        print(f"run directory: {directory}")
    if error is not None:
        raise error
    if found["findings"] or left["things"]:
        raise typer.Exit(1)
