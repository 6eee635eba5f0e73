"""Arguments and options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.errors import InputError

TopologyFile = Annotated[Path, typer.Argument(help="A topology file, for example topologies/quickstart.yaml.")]
Trial = Annotated[str, typer.Argument(help="The name in the topology file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show only what comes out, not how it goes.")]
Cores = Annotated[
    int | None, typer.Option(min=1, help="The most cores of the host that it may take; all that are free.")
]

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(option: str, text: str) -> float:
    """A time that was given as 90s, 45m or 2h. InputError names the option."""
    number, unit = text[:-1], text[-1:]
    try:
        found = float(number) * _UNITS_S[unit]
    except (KeyError, ValueError):
        found = -1.0
    if not 0 < found < float("inf"):
        raise InputError(option, f"{text} is no time", "give a number with its unit: 90s, 45m or 2h")
    return found
