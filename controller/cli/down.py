"""``testbed down``."""

from __future__ import annotations

from controller.cli.arguments import Trial


def down(name: Trial) -> None:
    """Remove everything of a trial; nothing to remove is fine."""
    from testbed.deploy import down as remove
    from testbed.engine import Engine
    from testbed.monitor import targets

    count = remove(Engine.connect(), name)
    targets.remove(name)
    print(f"{name} is down ({count} things removed)" if count else f"{name} was not up")
