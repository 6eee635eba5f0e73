"""``testbed calibrate``."""

from __future__ import annotations

from controller.cli.arguments import AsJson, TopologyFile
from controller.cli.output import console, print_json


def calibrate(topology: TopologyFile, as_json: AsJson = False) -> None:
    """Measure anew how fast this host runs the topology's model and moves messages."""
    import dataclasses

    from controller.predict.workload import workload
    from controller.report.calibration import costs, speeds
    from controller.report.table import rows_table
    from testbed.calibration import calibrate as measure
    from testbed.engine import Engine
    from testbed.loading import load

    loaded = load(topology)
    found = measure(Engine.connect(), loaded, fresh=True)
    units = speeds(found, workload(loaded))
    if as_json:
        print_json({"units": units, "transport": dataclasses.asdict(found.transport)})
        return
    console().print(rows_table(f"{loaded.model.name}: one host core", units), rows_table("transport", costs(found)))
