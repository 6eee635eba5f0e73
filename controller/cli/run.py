"""``testbed run``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controller.cli.arguments import AsJson, Cores, Quiet, seconds
from controller.cli.output import console, show
from testbed.errors import InputError

if TYPE_CHECKING:
    from controller.judge.results import Results
    from controller.trial.watch import Watcher


def run(
    topology: Annotated[
        Path | None, typer.Argument(help="A topology file, for example topologies/quickstart.yaml.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for results.json, events.jsonl and plans.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with the trial of this directory, instead of a topology.")
    ] = None,
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
    """Run a field trial: deploy, train under every scheme, measure, report, take down. Or go on with one (--resume)."""
    from controller.cli.report import write_page
    from controller.report.live.terminal import watching
    from controller.report.outcome import results_table
    from controller.trial.watch import Stage

    if resume is not None:
        given = {"TOPOLOGY": topology, "--out": out, "--scheme": scheme, "--rounds": rounds, "--cores": cores}
        _alone({**given, "--force": force or None})
        into = resume
        name, trial = _begun(resume)
    else:
        most_s = math.inf if yes else seconds("--max-wall", max_wall)
        file, into = _needed("TOPOLOGY", topology), _needed("--out", out)
        name, trial = _new(file, into, scheme, rounds, force, most_s, cores)
    with watching(console(stderr=True), name, quiet) as watcher:
        results = trial(watcher)
        watcher(Stage("writing the report"))
        page = write_page(into)
    show(results.model_dump(mode="json"), as_json, results_table(results))
    if not as_json:
        print(f"results: {into / 'results.json'}", page, sep="\n")
    if strict and not all(s.fidelity.ok for s in results.schemes.values()):
        raise typer.Exit(3)


Trial = Callable[["Watcher"], "Results"]


def _new(
    topology: Path,
    out: Path,
    scheme: str | None,
    rounds: int | None,
    force: bool,
    most_s: float,
    cores: int | None,
) -> tuple[str, Trial]:
    """A trial of a topology: its name, and what runs it."""
    from controller.cli.selection import select
    from controller.trial.field_trial import field_trial
    from testbed.engine import Engine
    from testbed.loading import load

    chosen = select(load(topology), scheme.split(",") if scheme else None, rounds=rounds)
    return chosen.name, lambda watcher: field_trial(Engine.connect(), chosen, out, watcher, force, most_s, cores)


def _begun(directory: Path) -> tuple[str, Trial]:
    """The trial of a run directory: its name, and what goes on with it."""
    from controller.trial.field_trial import go_on
    from controller.trial.resume import begun
    from testbed.engine import Engine

    name = begun(directory).topology.name
    return name, lambda watcher: go_on(Engine.connect(), name, directory, watcher)


def _needed(name: str, given: Path | None) -> Path:
    if given is None:
        raise InputError(name, "is missing", "type: testbed run TOPOLOGY --out DIR, or: testbed run --resume DIR")
    return given


def _alone(given: Mapping[str, Any]) -> None:
    """InputError where something is given beside ``--resume``, which goes on with what was begun."""
    for name, value in given.items():
        if value is not None:
            raise InputError(name, "is that of the trial which goes on", "leave it out with --resume")
