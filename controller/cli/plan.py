"""``testbed plan``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.arguments import AsJson, TopologyFile
from controller.cli.output import console, print_json, show

if TYPE_CHECKING:
    from testbed.topology import Topology


def plan(
    topology: TopologyFile,
    scheme: Annotated[str | None, typer.Option(help="Plan this scheme only.")] = None,
    planner: Annotated[str | None, typer.Option(help="Use this planner.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="All planners side by side.")] = False,
    chart: Annotated[Path | None, typer.Option(help="Draw the predicted pipeline to a .svg, .png or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Plan each scheme of a topology and predict its round."""
    from controller.cli.selection import select
    from controller.planners.planning import plan_all
    from controller.predict.sizes import differences
    from controller.predict.workload import real_sizes
    from controller.report.gantt import gantt
    from controller.report.table import plan_table
    from controller.trial.fit import fit_if_calibrated
    from controller.trial.memory import peaks
    from testbed.loading import load

    chosen = select(load(topology), [scheme] if scheme else None, planner=planner)
    for difference in differences(chosen, real_sizes(chosen)):
        print(f"warning: {difference}", file=sys.stderr)
    if compare:
        _compare(chosen, as_json)
        return
    planned = plan_all(chosen, 1.0 if chosen.time_dilation == "auto" else float(chosen.time_dilation))
    fitted = fit_if_calibrated(chosen, planned)
    memory = [peaks(chosen, [p], bs_threads=fitted.bs_threads if fitted else 1) for p in planned]
    for p in planned:
        for warning in p.warnings:
            print(f"warning: {p.label}: {warning}", file=sys.stderr)
    if chart:
        from controller.report.chart import write_chart

        write_chart(planned, chart)
    if not as_json:
        console().print(plan_table(planned, memory))
        console().print(*(gantt(p) for p in planned), sep="\n")
        print(f"on this host: {fitted or f'not known before: testbed calibrate {topology}'}")
        return
    emulation = {"emulation": fitted.to_json()} if fitted else {}
    found = {
        p.label: {**p.to_json(), "memory_bytes": takes, **emulation} for p, takes in zip(planned, memory, strict=True)
    }
    print_json(found[planned[0].label] if scheme else found)


def _compare(topology: Topology, as_json: bool) -> None:
    from controller.planners.comparison import compare
    from controller.report.table import rows_table

    records = compare(topology)
    if topology.dynamics.still:
        show(records, as_json, rows_table(f"{topology.name}: planners", records))
        return
    from controller.planners.regret import regrets

    over_rounds = regrets(topology)
    if as_json:
        print_json({"planners": records, "rounds": over_rounds})
        return
    title = f"{topology.name}: the first plan, plans made anew, and an oracle's, over all rounds"
    console().print(rows_table(f"{topology.name}: planners", records), rows_table(title, over_rounds), sep="\n")
