"""*Host*: whether this host, at this moment, can emulate what was asked for."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from controller.report.dashboards.parts import About, Ask, frame, heat, lines, number
from controller.report.dashboards.promql import by_agent, lately, of_trial


def host() -> dashboard.Dashboard:
    """The dashboard."""
    text = "The load of the emulating host, in wall time: what the verdict looks at when a round is off."
    panels = [
        number(
            About("Time dilation", "Wall seconds for each emulated second.", "none", 6, 4),
            Ask(of_trial("time_dilation_ratio")),
        ),
        number(
            About("Busy now", "Part of all cores' time that was used.", "percentunit", 6, 4),
            Ask(of_trial("host_busy_ratio")),
        ),
        number(
            About(
                "Used by others now",
                "Part of all cores' time that went to other programs than the trial's.",
                "percentunit",
                6,
                4,
            ),
            Ask(of_trial("host_others_ratio")),
        ),
        number(
            About(
                "Stolen now", "Part of all cores' time that the hypervisor gave to other guests.", "percentunit", 6, 4
            ),
            Ask(of_trial("host_steal_ratio")),
        ),
        lines(
            About(
                "Cores",
                "Busy, used by other programs, and stolen by a hypervisor, of all cores' time.",
                "percentunit",
                24,
            ),
            Ask(of_trial("host_busy_ratio"), "busy"),
            Ask(of_trial("host_others_ratio"), "others"),
            Ask(of_trial("host_steal_ratio"), "stolen"),
        ),
        heat(
            About("Held back by quota", "Part of the time in which an agent's CPU quota held it back.", "percentunit"),
            Ask(by_agent("agent_throttled_ratio"), "{{ue}}"),
            scheme="Oranges",
        ),
        heat(
            About(
                "Waited for a core", "Part of the time in which an agent could have run and had no core.", "percentunit"
            ),
            Ask(by_agent("agent_waited_ratio"), "{{ue}}"),
            scheme="Oranges",
        ),
        lines(
            About(
                "Overruns", "Computations over the chosen time that took longer than modelled, by agent.", "none", 24
            ),
            Ask(f"topk(10, {lately('cpu_overruns_total')})", "{{ue}}"),
        ),
    ]
    return frame("host", "Testbed: host", text, panels, window=True)
