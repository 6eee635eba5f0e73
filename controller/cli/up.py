"""``testbed up``."""

from __future__ import annotations

from controller.cli.arguments import Quiet, TopologyFile
from controller.cli.output import console


def up(topology: TopologyFile, quiet: Quiet = False) -> None:
    """Start a topology's containers, ready and limited, and leave them running."""
    from controller.report.live.terminal import watching
    from controller.trial.prepare import bring_up, prepare
    from controller.trial.watch import Warned
    from testbed.engine import Engine
    from testbed.loading import load
    from testbed.lock import held
    from testbed.monitor import targets

    loaded, engine = load(topology), Engine.connect()
    with (
        held(engine.id, loaded.name, "up"),
        watching(console(stderr=True), loaded.name, quiet) as watcher,
    ):
        deployment = bring_up(engine, prepare(engine, loaded, watcher), "up", watcher)
        unfound = targets.write(deployment)
        if unfound:
            watcher(Warned(unfound))
    print(f"{loaded.name} is up with {len(deployment.ues)} UEs; take it down with: testbed down {loaded.name}")
