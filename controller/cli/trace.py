"""``testbed trace``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from controller.cli.arguments import AsJson
from controller.cli.output import print_json
from controller.cli.uncollected import uncollected

FILE = "trace.pftrace.gz"


def trace(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The --out of a trial.")],
    out: Annotated[
        Path | None, typer.Option(help=f"Write to this file, gzipped if it ends in .gz; DIR/{FILE} if not given.")
    ] = None,
    scheme: Annotated[str | None, typer.Option(help="Only these schemes, comma-separated.")] = None,
    rounds: Annotated[str | None, typer.Option(help="Only these rounds, for example 3,5-7.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write what was predicted and measured as a trace for ui.perfetto.dev."""
    from controller.report.recorded import recorded
    from controller.report.trace.choice import processes, rounds_of
    from controller.report.trace.perfetto import serialised
    from controller.trial.journal import FILE as JOURNAL
    from controller.trial.journal import fitting
    from testbed.files import write_atomically, writing

    file, numbers = out or directory / FILE, rounds_of(rounds) if rounds else None
    with uncollected():
        found = recorded(directory, judged=False)
        with fitting(directory / JOURNAL):
            chosen = processes(found, [name.strip() for name in scheme.split(",")] if scheme else None, numbers)
            content = serialised(chosen.items(), file.suffix == ".gz")
    with writing("--out", file):
        write_atomically(file, content)
    for sentence in found.missing:
        print(f"missing: {sentence}", file=sys.stderr)
    if as_json:
        slices = sum(len(track.slices) for tracks in chosen.values() for track in tracks)
        told = {"file": str(file), "bytes": len(content), "schemes": list(chosen), "slices": slices}
        print_json({**told, "missing": list(found.missing)})
    else:
        print(f"trace: {file} ({len(content) / 1e6:.2f} MB); open it in https://ui.perfetto.dev, where it stays local")
