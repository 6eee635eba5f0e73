"""``testbed doctor``."""

from __future__ import annotations

from controller.cli.arguments import AsJson
from controller.cli.output import show


def doctor(as_json: AsJson = False) -> None:
    """Say what this host offers: engine, cores, memory, cgroups, KVM, GPU, and how it shapes links, and why."""
    from controller.report.table import rows_table
    from controller.trial.host import diagnose
    from testbed.engine import Engine

    facts = diagnose(Engine.connect())
    show(facts, as_json, rows_table("", [{"what": k.replace("_", " "), "found": v} for k, v in facts.items()]))
