"""How verbs print: a table on a terminal, or JSON."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console


def console(stderr: bool = False) -> Console:
    """The terminal, or something wide where there is none."""
    found = Console(stderr=stderr)
    return found if found.is_terminal else Console(stderr=stderr, width=160)


def show(data: Any, as_json: bool, table: Any) -> None:
    """Prints the data as JSON, or the table that shows it."""
    if as_json:
        print_json(data)
    else:
        console().print(table)


def print_json(data: Any) -> None:
    """Prints JSON for people and programs."""
    print(json.dumps(data, indent=1))
