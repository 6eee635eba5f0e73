"""The files that Prometheus and Grafana are given, from ``images/``: for a container, or for a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from testbed.images import IMAGES

CONFIGURED = "/etc/testbed"
"""Where both find theirs in a container."""
TARGETS = "/targets"


def prometheus_files() -> dict[str, str]:
    """``prometheus.yml`` and its rules."""
    return _read(IMAGES / "prometheus", "prometheus.yml", "rules/*.yml")


def grafana_files(prometheus: str, folder: str = CONFIGURED) -> dict[str, str]:
    """Data source and dashboards, as Grafana provisions them when they lie in ``folder``.

    ``prometheus``: its URL.
    """
    files = _read(IMAGES / "grafana", "provisioning/*/*.yaml", "dashboards/*.json")
    given = {"${TESTBED_PROMETHEUS}": prometheus, "${TESTBED_DASHBOARDS}": f"{folder}/dashboards"}
    return {name: _filled(text, given) if name.endswith(".yaml") else text for name, text in files.items()}


def exported(prometheus: str, folder: Path, targets: Path) -> dict[str, str]:
    """All of both for a Prometheus and a Grafana elsewhere on this machine, which find them in ``folder``."""
    mine = {name: text.replace(TARGETS, str(targets)) for name, text in prometheus_files().items()}
    return {
        **{f"prometheus/{name}": text for name, text in mine.items()},
        **{f"grafana/{name}": text for name, text in grafana_files(prometheus, str(folder / "grafana")).items()},
    }


def _read(root: Path, *globs: str) -> dict[str, str]:
    found = sorted(path for glob in globs for path in root.glob(glob))
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in found}


def _filled(text: str, given: Mapping[str, str]) -> str:
    for name, value in given.items():
        text = text.replace(name, value)
    return text
