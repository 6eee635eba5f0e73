"""What tests of metrics and of the monitor share: Prometheus' own tools, and every expression that is shipped."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker.errors
import yaml

from testbed import images
from testbed.engine import Engine

ROOT = Path(__file__).resolve().parents[1]
DASHBOARDS = ROOT / "images/grafana/dashboards"
PAGE = ROOT / "docs/monitoring.md"
RULES = ROOT / "images/prometheus/rules"
NAME = f"monitor-test-{os.getpid()}"
"""What a monitor of tests is called: it leaves alone the one that a user has, and those of other tests."""
LABEL_VALUES = re.compile(r"label_values\((?:(?P<expr>.+),\s*)?(?P<label>\w+)\)")


def free_port() -> int:
    """A port of localhost that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def promtool(engine: Engine, command: str, folders: dict[Path, str]) -> str:
    """What promtool, in a container that has these folders, finds fault with; '' when with nothing."""
    image = images.prometheus(engine.client, print)
    try:
        engine.client.containers.run(
            image,
            ["-c", f"/bin/promtool {command} 1>&2"],
            entrypoint="/bin/sh",
            user="0",
            remove=True,
            network_mode="none",
            volumes={str(folder): {"bind": path, "mode": "ro"} for folder, path in folders.items()},
        )
    except docker.errors.ContainerError as error:
        return f"exit status {error.exit_status}: {error.stderr!r}"
    return ""


def expressions(trial: str) -> dict[str, list[str]]:
    """Every PromQL expression of panels, variables, annotations, rules and docs, variables filled in, by file."""
    found = {path.name: list(_of_dashboard(json.loads(path.read_text()), trial)) for path in DASHBOARDS.glob("*.json")}
    asked = re.findall(r"^```promql\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    found[PAGE.name] = [line.replace("quickstart", trial) for block in asked for line in block.splitlines()]
    for path in RULES.glob("*.yml"):
        rules = [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
        found[path.name] = [rule["expr"] for rule in rules]
        found[f"{path.name}, recorded"] = [rule["record"] for rule in rules if "record" in rule]
    return found


def alert_expressions() -> set[str]:
    """Those of alerts, which give nothing while all is well."""
    documents = [yaml.safe_load(path.read_text()) for path in RULES.glob("*.yml")]
    return {rule["expr"] for one in documents for group in one["groups"] for rule in group["rules"] if "alert" in rule}


def _of_dashboard(dashboard: dict[str, Any], trial: str) -> Iterator[str]:
    values = {"trial": trial, "datasource": "testbed", "__rate_interval": "1m", "__interval": "1s", "__range": "5m"}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] in ("custom", "interval"):
            values[variable["name"]] = variable["current"]["value"]
        elif variable["type"] == "query":
            values.setdefault(variable["name"], variable.get("allValue", ".+"))
    for text in _queries(dashboard):
        for name, value in values.items():
            text = re.sub(rf"\$(?:{name}\b|\{{{name}(?::\w+)?\}})", lambda _, value=value: value, text)
        assert not re.search(r"\$(?!\d)", text), f"a variable is left in {text}"
        yield text


def _queries(node: Any) -> Iterator[str]:
    """The ``expr`` of anything, and the ``label_values`` of variables as the series that they look at."""
    if isinstance(node, list):
        for item in node:
            yield from _queries(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "expr":
                yield value
            elif key == "query" and isinstance(value, str) and (asked := LABEL_VALUES.fullmatch(value)):
                series = asked["expr"] or f'{{{asked["label"]}!=""}}'
                yield f"count by ({asked['label']}) ({series})"
            else:
                yield from _queries(value)
