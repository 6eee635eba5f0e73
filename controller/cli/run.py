"""``testbed run``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.arguments import AsJson, Cores, Quiet, TopologyFile, seconds
from controller.cli.output import console, show


def run(
    topology: TopologyFile,
    out: Annotated[Path, typer.Option(help="Directory for results.json, events.jsonl and plans.")],
    scheme: Annotated[str | None, typer.Option(help="Run only these schemes, comma-separated.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds per scheme.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a finished trial in that directory.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Run it however long it takes.")] = False,
    max_wall: Annotated[
        str, typer.Option(help="The longest that it may take on the wall clock: 90s, 45m, 2h.", metavar="TIME")
    ] = "1h",
    cores: Cores = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 when a fidelity verdict is no.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a field trial: deploy, train under every scheme, measure, report, take down."""
    from controller.cli.report import write_page
    from controller.cli.selection import select
    from controller.report.live.terminal import watching
    from controller.report.outcome import results_table
    from controller.trial.field_trial import field_trial
    from controller.trial.watch import Stage
    from testbed.engine import Engine
    from testbed.loading import load

    most_s = math.inf if yes else seconds("--max-wall", max_wall)
    chosen = select(load(topology), scheme.split(",") if scheme else None, rounds=rounds)
    with watching(console(stderr=True), chosen.name, quiet) as watcher:
        results = field_trial(Engine.connect(), chosen, out, watcher, force, most_s, cores)
        watcher(Stage("writing the report"))
        page = write_page(out)
    show(results.model_dump(mode="json"), as_json, results_table(results))
    if not as_json:
        print(f"results: {out / 'results.json'}", page, sep="\n")
    if strict and not all(s.fidelity.ok for s in results.schemes.values()):
        raise typer.Exit(3)
