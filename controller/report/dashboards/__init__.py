"""The Grafana dashboards as code: ``python -m controller.report.dashboards`` writes ``images/grafana/dashboards/``.

The written files are what everybody uses, and nothing else imports this package: it needs Grafana's SDK, which is among
the development dependencies only.
"""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from controller.report.dashboards.host import host
from controller.report.dashboards.links import links
from controller.report.dashboards.overview import overview
from controller.report.dashboards.ues import ues

FOLDER = Path(__file__).resolve().parents[3] / "images" / "grafana" / "dashboards"
DASHBOARDS = {"overview": overview, "ues": ues, "links": links, "host": host}


def documents() -> dict[str, str]:
    """File name → text of each dashboard; panels are numbered from 1 as they stand."""
    found = {}
    for name, make in DASHBOARDS.items():
        board = make().build()
        for number, panel in enumerate(board.panels or (), start=1):
            panel.id_val = number
        found[f"{name}.json"] = json.dumps(board, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"
    return found
