"""``testbed up``."""

from __future__ import annotations

from controller.cli.arguments import Cores, Quiet, TopologyFile
from controller.cli.output import console


def up(topology: TopologyFile, cores: Cores = None, quiet: Quiet = False) -> None:
    """Start a topology's containers, ready and limited, and leave them running."""
    from controller.report.live.terminal import watching
    from controller.trial.prepare import bring_up, prepare
    from controller.trial.watch import Warned
    from testbed.deploy import at_work
    from testbed.engine import Engine
    from testbed.loading import load
    from testbed.monitor import targets

    loaded, engine = load(topology), Engine.connect()
    with at_work(engine, loaded.name, "up"), watching(console(stderr=True), loaded.name, quiet) as watcher:
        prepared = prepare(engine, loaded, watcher, most_cores=cores)
        deployment = bring_up(engine, prepared, "up", watcher)
        unfound = targets.write(deployment)
        if unfound:
            watcher(Warned(unfound))
    print(f"{loaded.name} is up with {len(deployment.ues)} UEs; take it down with: testbed down {loaded.name}")
