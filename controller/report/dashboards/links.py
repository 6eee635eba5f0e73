"""*Links*: what they were planned to carry, and what they carry."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from controller.report.dashboards.parts import About, AnyPanel, Ask, frame, heat, lines
from controller.report.dashboards.promql import SCHEMES, rate_of_link, recorded, running


def links() -> dashboard.Dashboard:
    """The dashboard."""
    text = "Goodput of every link as its receiver saw it, beside the plan, in emulated bit/s."
    panels: list[AnyPanel] = [_error_lines(), _bytes()]
    for way in ("up", "down"):
        panels += [
            _rates(
                "link_goodput_bytes_per_second", way, f"Goodput {way}", "Training bytes over their time on the link."
            ),
            _rates(
                "planned_link_bytes_per_second", way, f"Planned {way}", "The radio's rate times the share of the air."
            ),
        ]
    return frame("links", "Testbed: links", text, panels)


def _rates(metric: str, way: str, title: str, text: str) -> AnyPanel:
    return heat(About(title, text, "bps"), Ask(running(rate_of_link(metric, way)), "{{ue}}"))


def _error_lines() -> AnyPanel:
    error = running(recorded("link_goodput_error"))
    return lines(
        About(
            "Goodput against plan",
            "Measured over planned, less 1: the lowest, the median and the highest link.",
            "percentunit",
        ),
        Ask(f"min by (direction) ({error})", "lowest {{direction}}"),
        Ask(f"quantile by (direction) (0.5, {error})", "median {{direction}}"),
        Ask(f"max by (direction) ({error})", "highest {{direction}}"),
        least=None,
    )


def _bytes() -> AnyPanel:
    carried = f"sum by (trial, scheme, direction) (testbed_link_bytes_total{{{SCHEMES}}})"
    rounds = f"max by (trial, scheme) (testbed_rounds_total{{{SCHEMES}}})"
    return lines(
        About("Training bytes in a round", "Over all links, mean of the rounds so far.", "decbytes"),
        Ask(running(f"{carried} / on (trial, scheme) group_left () {rounds}"), "{{scheme}} {{direction}}"),
    )
