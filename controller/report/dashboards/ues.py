"""*UEs*: who waits, who is too slow, and whose link does not give what was planned."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from controller.report.dashboards.parts import About, Ask, Column, frame, heat, lines, number, rows
from controller.report.dashboards.promql import (
    by_link,
    by_ue,
    lately,
    of_trial,
    recorded,
    running,
    share_lately,
)

ERROR_SHOWN = 0.1
"""Goodput this far off its plan, to either side, has the strongest colour."""


def ues() -> dashboard.Dashboard:
    """The dashboard."""
    text = "Idle share, overruns and goodput against plan of every UE; a row each, so that hundreds can be seen."
    idle = share_lately("ue_idle_seconds_total", "ue_busy_seconds_total")
    panels = [
        number(
            About("UEs connected", "Orange while one is missing.", "percentunit", 6, 4),
            Ask(f"{of_trial('ues_connected')} / {of_trial('ues')}"),
            good_from=1,
        ),
        number(
            About(
                "Least and most idle",
                "Idle share over the chosen time, of the UE with the least and the most.",
                "percentunit",
                9,
                4,
            ),
            Ask(f"bottomk(1, {idle})", "{{ue}}"),
            Ask(f"topk(1, {idle})", "{{ue}} "),
        ),
        number(
            About(
                "Overruns",
                "Computations over the chosen time that took longer than modelled, at all agents.",
                "none",
                9,
                4,
            ),
            Ask(f"sum({lately('cpu_overruns_total')})"),
        ),
        heat(
            About(
                "Idle share", "Part of its rounds in which a UE did not compute, over the chosen time.", "percentunit"
            ),
            Ask(idle, "{{ue}}"),
            most=1,
        ),
        heat(
            About(
                "Overruns",
                "Computations over the chosen time that took longer than modelled (bs: base station).",
                "none",
            ),
            Ask(lately("cpu_overruns_total"), "{{ue}}"),
            scheme="Oranges",
        ),
        *(
            heat(
                About(
                    f"Goodput against plan, {way}", "Measured over planned, less 1, in the last round.", "percentunit"
                ),
                Ask(running(_error(way)), "{{ue}}"),
                scheme="PuOr",
                least=-ERROR_SHOWN,
                most=ERROR_SHOWN,
            )
            for way in ("up", "down")
        ),
        lines(
            About(
                "Idle share, spread over UEs",
                "Least, median and most idle UE over the chosen time.",
                "percentunit",
                24,
                7,
            ),
            Ask(f"min({idle})", "least"),
            Ask(f"quantile(0.5, {idle})", "median"),
            Ask(f"max({idle})", "most"),
        ),
        rows(
            About("UEs of each scheme", "Goodput of the last round; idle share of all rounds.", "none", 24, 10),
            {"scheme": "scheme", "ue": "UE"},
            [
                Column("idle share", f"max by (trial, scheme, ue) ({recorded('ue_idle_ratio')})", "percentunit"),
                Column("up", by_link("link_goodput_bits_per_second", "up"), "bps"),
                Column("up planned", by_link("planned_link_bits_per_second", "up"), "bps"),
                Column("down", by_link("link_goodput_bits_per_second", "down"), "bps"),
                Column("down planned", by_link("planned_link_bits_per_second", "down"), "bps"),
                Column("overruns", by_ue("cpu_overruns_total"), "none"),
            ],
        ),
    ]
    return frame("ues", "Testbed: UEs", text, panels, window=True)


def _error(way: str) -> str:
    rule = recorded("link_goodput_error", f', direction="{way}"')
    return f"max by (trial, scheme, ue) ({rule})"
