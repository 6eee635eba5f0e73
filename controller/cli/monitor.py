"""``testbed monitor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controller.cli.arguments import AsJson
from controller.cli.output import console, print_json

monitor_app = typer.Typer(no_args_is_help=True, help="Prometheus and Grafana, for whatever trials run.")

PrometheusPort = Annotated[int, typer.Option(min=1, max=65535, help="Where Prometheus listens on 127.0.0.1.")]
GrafanaPort = Annotated[int, typer.Option(min=1, max=65535, help="Where Grafana listens on 127.0.0.1.")]


@monitor_app.command("up")
def up(prometheus_port: PrometheusPort = 9090, grafana_port: GrafanaPort = 3000, as_json: AsJson = False) -> None:
    """Start what is not up yet; trials are found as they come and go."""
    from testbed.engine import Engine
    from testbed.monitor import monitor
    from testbed.monitor.status import status

    engine, shown = Engine.connect(), console(stderr=True)
    ports = {monitor.PROMETHEUS: prometheus_port, monitor.GRAFANA: grafana_port}
    missing = monitor.up(engine, ports, lambda text: shown.print(text, style="dim", highlight=False))
    found = status(engine)
    if as_json:
        print_json({**found, "missing": missing})
        return
    for one in found["containers"]:
        print(f"{one['part']} is up: {one['url']}")
    if missing:
        print(f"there is no Grafana: {missing}")
        print("load the image into Docker, or let a Grafana that you have show it: testbed monitor export DIR")


@monitor_app.command("down")
def down(as_json: AsJson = False) -> None:
    """Remove what ``monitor up`` made, with all that was gathered; trials go on."""
    from testbed.engine import Engine
    from testbed.monitor import monitor

    count = monitor.down(Engine.connect())
    if as_json:
        print_json({"removed": count})
    else:
        print(f"the monitor is down ({count} things removed)" if count else "the monitor was not up")


@monitor_app.command("status")
def status(as_json: AsJson = False) -> None:
    """Show what runs and where, which trials are scraped, who of them does not answer, and alerts that fire."""
    from controller.report.table import rows_table
    from testbed.engine import Engine
    from testbed.monitor import status as monitor

    found = monitor.status(Engine.connect())
    if as_json:
        print_json(found)
        return
    if not found["containers"]:
        print("the monitor is not up; type: testbed monitor up")
        return
    for title, rows in found.items():
        console().print(rows_table(title, [_in_words(row) for row in rows]) if rows else f"no {title}")


@monitor_app.command("export")
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write; made if it is missing.")],
    prometheus_url: Annotated[str, typer.Option(help="Where Grafana finds Prometheus.")] = "http://127.0.0.1:9090",
    as_json: AsJson = False,
) -> None:
    """Write configuration, rules, data source and dashboards for a Prometheus and a Grafana of your own."""
    from testbed.files import write_atomically, writing
    from testbed.monitor import targets
    from testbed.monitor.files import exported

    folder = directory.resolve()
    files = exported(prometheus_url, folder, targets.folder())
    with writing("DIR", directory, "give a directory that can be written"):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, text)
    if as_json:
        print_json({"directory": str(folder), "files": sorted(files)})
        return
    print(f"{len(files)} files in {directory}")
    print(f"Prometheus: prometheus --config.file={directory}/prometheus/prometheus.yml")
    print(f"Grafana: GF_PATHS_PROVISIONING={folder}/grafana/provisioning grafana server")
    print(f"or add the data source by hand, and import {directory}/grafana/dashboards/*.json")


def _in_words(row: dict[str, object]) -> dict[str, object]:
    silent = row.get("silent")
    if not isinstance(silent, dict):
        return row
    return {**row, "silent": "; ".join(f"{agent}: {why}" for agent, why in silent.items()) or "-"}
