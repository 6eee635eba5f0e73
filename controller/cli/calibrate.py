"""``testbed calibrate``."""

from __future__ import annotations

from controller.cli.arguments import AsJson, TopologyFile
from controller.cli.output import console, print_json


def calibrate(topology: TopologyFile, as_json: AsJson = False) -> None:
    """Measure anew how fast this host runs the topology's model and moves messages, and what that means for a trial."""
    import dataclasses
    from functools import partial

    from controller.planners.planning import plan_all
    from controller.predict.sizes import check_rows
    from controller.predict.workload import workload
    from controller.report.calibration import costs, speeds
    from controller.report.table import rows_table
    from controller.trial.fit import fit
    from testbed.calibration import calibrate as measure
    from testbed.deploy import at_work
    from testbed.engine import Engine
    from testbed.loading import load

    loaded, engine = load(topology), Engine.connect()
    check_rows(loaded)
    with at_work(engine, loaded.name, "calibrate"):
        found = measure(engine, loaded, fresh=True)
        fitted = fit(loaded, plan_all(loaded), partial(measure, engine, loaded), int(engine.info()["NCPU"]))
    units = speeds(found, workload(loaded))
    if as_json:
        transport = dataclasses.asdict(found.transport)
        print_json({"units": units, "transport": transport, "emulation": fitted.to_json()})
        return
    console().print(rows_table(f"{loaded.model.name}: one host core", units), rows_table("transport", costs(found)))
    print(f"on this host: {fitted}")
