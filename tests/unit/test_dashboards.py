"""The dashboards that are checked in are what the code makes, are Grafana's own types, and can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from controller.report.dashboards import FOLDER, documents
from controller.report.reference import DOCS

FILES = sorted(documents())
RULES = FOLDER.parents[1] / "prometheus" / "rules" / "testbed.yml"


@pytest.fixture(params=FILES)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / request.param).read_text())
    return found


def test_the_folder_holds_what_the_code_makes_to_the_byte() -> None:
    assert sorted(file.name for file in FOLDER.iterdir()) == FILES
    for name, text in documents().items():
        assert (FOLDER / name).read_text() == text, "run: python -m controller.report.dashboards"


def test_it_goes_through_the_sdks_types_and_back(board: dict[str, Any]) -> None:
    register_default_plugins()
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert again == board


def test_every_panel_says_what_it_shows_in_which_unit_of_the_chosen_trial(board: dict[str, Any]) -> None:
    assert board["panels"]
    for panel in board["panels"]:
        assert panel["title"] and len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            names = re.findall(r"testbed[_:]\w+", target["expr"])
            assert names and target["expr"].count('trial="$trial"') == len(names)


def test_every_metric_is_exported_and_every_rule_recorded(board: dict[str, Any]) -> None:
    exported = set(re.findall(r"^\| `(testbed_\w+)`", (DOCS / "reference.md").read_text(), re.M))
    recorded = set(re.findall(r"record: (\S+)", RULES.read_text()))
    used = {name for text in _texts(board) for name in re.findall(r"testbed[_:]\w+", text)}
    assert used <= exported | recorded


def test_panels_lie_in_the_grid_without_overlap(board: dict[str, Any]) -> None:
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in board["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def test_only_variables_that_the_dashboard_has_are_used(board: dict[str, Any]) -> None:
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = {name for text in _texts(board) for name in re.findall(r"\$\{?([a-z]\w*)", text)}
    assert used <= variables
    assert variables <= used


def test_uids_and_links_lead_from_each_to_all(board: dict[str, Any]) -> None:
    (link,) = board["links"]
    assert set(link["tags"]) <= set(board["tags"])
    assert link["includeVars"] and link["keepTime"]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
