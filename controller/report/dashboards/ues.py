"""*UEs*: who waits, who is too slow, and whose link does not give what was planned."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from controller.report.dashboards.parts import About, AnyPanel, Ask, Column, frame, heat, lines, number, rows
from controller.report.dashboards.promql import by_ue, lately, of_trial, rate_of_link, recorded, running, share_lately

ERROR_SHOWN = 0.1
"""Goodput this far off its plan, to either side, has the strongest colour."""
IDLE = share_lately("ue_idle_seconds_total", "ue_busy_seconds_total")
OVERRUNS = "Computations over the chosen time that took longer than modelled"


def ues() -> dashboard.Dashboard:
    """The dashboard."""
    text = "Idle share, overruns and goodput against plan of every UE; a row each, so that hundreds can be seen."
    return frame("ues", "Testbed: UEs", text, [*_now(), *_each(), _spread(), _table()], window=True)


def _now() -> list[AnyPanel]:
    extremes = "Idle share over the chosen time, of the UE with the least and the most."
    return [
        number(
            About("UEs connected", "Part of the trial's UEs; orange while one is missing.", "percentunit", 6, 4),
            Ask(f"{of_trial('ues_connected')} / {of_trial('ues')}"),
            good_from=1,
        ),
        number(
            About("Least and most idle", extremes, "percentunit", 9, 4),
            Ask(f"bottomk(1, {IDLE})", "least: {{ue}}"),
            Ask(f"topk(1, {IDLE})", "most: {{ue}}"),
        ),
        number(
            About("Overruns", f"{OVERRUNS}, at all agents.", "none", 9, 4), Ask(f"sum({lately('cpu_overruns_total')})")
        ),
    ]


def _each() -> list[AnyPanel]:
    """A row for each UE, over time."""
    idle = "Part of its rounds in which a UE did not compute, over the chosen time."
    error = "Measured over planned, less 1, in the last round."
    return [
        heat(About("Idle share", idle, "percentunit"), Ask(IDLE, "{{ue}}"), most=1),
        heat(
            About("Overruns of each agent", f"{OVERRUNS} (bs: base station).", "none"),
            Ask(lately("cpu_overruns_total"), "{{ue}}"),
            scheme="Oranges",
        ),
        *(
            heat(
                About(f"Goodput against plan, {way}", error, "percentunit"),
                Ask(running(_error(way)), "{{ue}}"),
                scheme="PuOr",
                least=-ERROR_SHOWN,
                most=ERROR_SHOWN,
            )
            for way in ("up", "down")
        ),
    ]


def _error(way: str) -> str:
    rule = recorded("link_goodput_error", f', direction="{way}"')
    return f"max by (trial, scheme, ue) ({rule})"


def _spread() -> AnyPanel:
    return lines(
        About(
            "Idle share, spread over UEs", "Least, median and most idle UE over the chosen time.", "percentunit", 24, 7
        ),
        Ask(f"min({IDLE})", "least"),
        Ask(f"quantile(0.5, {IDLE})", "median"),
        Ask(f"max({IDLE})", "most"),
    )


def _table() -> AnyPanel:
    goodput, planned = "link_goodput_bytes_per_second", "planned_link_bytes_per_second"
    return rows(
        About(
            "UEs of each scheme", "Goodput of the last round; idle share and overruns of all rounds.", "none", 24, 10
        ),
        {"scheme": "scheme", "ue": "UE"},
        [
            Column("idle share", f"max by (trial, scheme, ue) ({recorded('ue_idle_ratio')})", "percentunit"),
            Column("up", rate_of_link(goodput, "up"), "bps"),
            Column("up planned", rate_of_link(planned, "up"), "bps"),
            Column("down", rate_of_link(goodput, "down"), "bps"),
            Column("down planned", rate_of_link(planned, "down"), "bps"),
            Column("overruns", by_ue("cpu_overruns_total"), "none"),
        ],
    )
