"""``testbed validate``."""

from __future__ import annotations

from controller.cli.arguments import AsJson, TopologyFile
from controller.cli.output import print_json


def validate(topology: TopologyFile, as_json: AsJson = False) -> None:
    """Check a topology file; with --json print it with every default and every draw filled in."""
    from testbed.loading import load

    loaded = load(topology)
    if as_json:
        print_json(loaded.model_dump(mode="json"))
    else:
        print(f"{topology.name}: {loaded.name} with {len(loaded.ues)} UEs is valid")
