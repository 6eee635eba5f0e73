"""*Host*: whether this host, at this moment, can emulate what was asked for."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from controller.report.dashboards.parts import About, Ask, frame, heat, lines, number
from controller.report.dashboards.promql import by_agent, by_ue, lately, of_trial, running


def host() -> dashboard.Dashboard:
    """The dashboard."""
    text = "The load of the emulating host, in wall time: what the verdict looks at when a round is off."
    panels = [
        number(
            About("Time dilation", "Wall seconds for each emulated second.", "none", 6, 4),
            Ask(of_trial("time_dilation_ratio")),
        ),
        number(
            About("Busy now", "Part of the cores' time in the last round that was used.", "percentunit", 6, 4),
            Ask(of_trial("host_busy_ratio")),
        ),
        number(
            About(
                "Used by others now",
                "Part of the cores' time in the last round that programs other than agents used.",
                "percentunit",
                6,
                4,
            ),
            Ask(of_trial("host_others_ratio")),
        ),
        number(
            About(
                "Stolen now", "Part of the cores' time in the last round that the hypervisor took.", "percentunit", 6, 4
            ),
            Ask(of_trial("host_steal_ratio")),
        ),
        lines(
            About(
                "Cores",
                "Parts of the cores' time in the last round: all used, used by other programs than agents, stolen.",
                "percentunit",
                24,
            ),
            Ask(of_trial("host_busy_ratio"), "busy"),
            Ask(of_trial("host_others_ratio"), "others"),
            Ask(of_trial("host_steal_ratio"), "stolen"),
        ),
        heat(
            About(
                "Held back by quota",
                "Part of the last round in which an agent's CPU quota held it back.",
                "percentunit",
            ),
            Ask(running(by_ue("agent_throttled_ratio")), "{{ue}}"),
            scheme="Oranges",
        ),
        heat(
            About(
                "Waited for a core",
                "Part of an agent's CPU time in the last round, waits included, without a core.",
                "percentunit",
            ),
            Ask(running(by_ue("agent_waited_ratio")), "{{ue}}"),
            scheme="Oranges",
        ),
        heat(
            About("Memory", "Resident memory of an agent after its last round.", "bytes"),
            Ask(by_agent("agent_memory_bytes"), "{{ue}}"),
        ),
        lines(
            About(
                "Overruns", "Computations over the chosen time that took longer than modelled, at all agents.", "none"
            ),
            Ask(f"sum({lately('cpu_overruns_total')})", "overruns"),
        ),
    ]
    return frame("host", "Testbed: host", text, panels, window=True)
