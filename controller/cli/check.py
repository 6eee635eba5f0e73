"""``testbed check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from controller.cli.arguments import AsJson
from controller.cli.output import print_json


def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The --out of a trial.")],
    host: Annotated[bool, typer.Option(help="Look also whether anything of the trial is left on this host.")] = True,
    as_json: AsJson = False,
) -> None:
    """Read a trial's journal, events.jsonl, and say what cannot be so in it; exit 1 when there is anything.

    Every sample of every batch has been trained once or is reported lost, rounds follow each other and their plans,
    what is done again is done alike, and nothing of the trial is left on this host.
    """
    found, left = checked(directory, host)
    if as_json:
        print_json({**found, "left": left})
    else:
        say(directory, found, left)
    if found["findings"] or left["things"]:
        raise typer.Exit(1)


def say(directory: Path, found: dict[str, Any], left: dict[str, list[str]]) -> None:
    """Prints what ``checked`` gave, a line each, and how much it is of."""
    for finding in found["findings"]:
        print(f"{directory / 'events.jsonl'}:{finding['line']}: {finding['text']}")
    for text in (*left["things"], *found["notes"], *left["notes"]):
        print(text)
    count = len(found["findings"]) + len(left["things"])
    print(f"{found['rounds']} rounds, {found['tasks']} tasks: {count or 'nothing'} wrong")


def checked(directory: Path, host: bool) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What is wrong in the journal of a run directory, and what is left of its trial on the host."""
    from dataclasses import asdict

    from agents.own import set_folder
    from controller.judge.check import check as judge
    from controller.trial.journal import read_all

    set_folder(directory)
    lines = read_all(directory)
    found = judge(lines, str(directory / "events.jsonl"))
    left = (
        _left(lines[0]["topology"]["name"], "end" not in {line["event"] for line in lines}) if host else _not_looked()
    )
    return asdict(found), left


def _left(name: str, goes_on: bool) -> dict[str, list[str]]:
    """What of a trial of this name the engine has, unless it was brought up by hand, or the trial may go on."""
    from testbed.deploy import left
    from testbed.engine import Engine
    from testbed.errors import EngineError

    try:
        things = left(Engine.connect(), name)
    except EngineError as error:
        return {"things": [], "notes": [f"the host was not looked at: {error.message}"]}
    if things and goes_on:
        return {"things": [], "notes": [f"{len(things)} things of {name} are there: it may go on"]}
    return {"things": [f"{thing} is left of {name}; type: testbed down {name}" for thing in things], "notes": []}


def _not_looked() -> dict[str, list[str]]:
    return {"things": [], "notes": ["the host was not looked at"]}
