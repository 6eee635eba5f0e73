"""``testbed down``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from testbed.engine import Engine


def down(
    name: Annotated[str | None, typer.Argument(help="The name in the topology file.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every trial on this engine.")] = False,
) -> None:
    """Remove everything of a trial, also of one that runs: it is ended first. Nothing to remove is fine.

    Neither the topology file nor whatever started it is needed.
    """
    from testbed import deploy, lock
    from testbed.engine import Engine
    from testbed.errors import InputError, TestbedError
    from testbed.monitor import monitor

    if (name is None) != all_:
        raise InputError("NAME", "give the name of a trial, or --all, and not both", "testbed ps shows what is up")
    engine = Engine.connect()
    names = [name] if name is not None else sorted({*deploy.trials(engine), *lock.names(engine.id)})
    failures: list[TestbedError] = []
    for one in names:
        try:
            print(_down(engine, one))
        except TestbedError as error:  # does not keep the others
            failures.append(error)
    if all_ and not names:
        print("nothing was up")
    if all_ and monitor.parts(engine):
        print("the monitor stays; take it down with: testbed monitor down")
    if failures:
        raise TestbedError("; ".join(one.message for one in failures), failures[0].hint)


def _down(engine: Engine, name: str) -> str:
    """Takes one trial down, and whoever is at work on it; what to say of that."""
    from testbed import deploy, lock
    from testbed.monitor import targets

    with lock.taken_over(engine.id, name) as found:
        count = deploy.down(engine, name)
        targets.remove(name)
    said = [f"{count} things removed"] if count else []
    if found.told is not None:
        said.append(f"{found.told} was told to end" + (", and is still there" if found.stays else ""))
    return f"{name} is down ({', '.join(said)})" if said else f"{name} was not up"
