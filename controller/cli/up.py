"""``testbed up``."""

from __future__ import annotations

from controller.cli.arguments import TopologyFile
from controller.cli.output import console


def up(topology: TopologyFile) -> None:
    """Start a topology's containers, ready and limited, and leave them running."""
    from controller.report.progress import Terminal
    from controller.trial.prepare import bring_up, prepare
    from controller.trial.watch import Warned
    from testbed.engine import Engine
    from testbed.loading import load
    from testbed.monitor import targets

    loaded, engine = load(topology), Engine.connect()
    with Terminal(console(stderr=True)) as terminal:
        deployment = bring_up(engine, prepare(engine, loaded, terminal), "up", terminal)
        unfound = targets.write(deployment)
        if unfound:
            terminal(Warned(unfound))
    print(f"{loaded.name} is up with {len(deployment.ues)} UEs; take it down with: testbed down {loaded.name}")
