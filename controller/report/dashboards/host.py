"""*Host*: whether this host, at this moment, can emulate what was asked for."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from controller.report.dashboards.parts import About, AnyPanel, Ask, frame, heat, lines, number
from controller.report.dashboards.promql import by_agent, by_ue, lately, of_trial, running

LOADS = (
    ("Busy", "host_busy_ratio", "that was used"),
    ("Used by others", "host_others_ratio", "that programs other than agents used"),
    ("Stolen", "host_steal_ratio", "that the hypervisor took"),
)


def host() -> dashboard.Dashboard:
    """The dashboard."""
    text = "The load of the emulating host, in wall time: what the verdict looks at when a round is off."
    return frame("host", "Testbed: host", text, [*_now(), _load(), *_agents(), _overruns()], window=True)


def _now() -> list[AnyPanel]:
    return [
        number(
            About("Time dilation", "Wall seconds for each emulated second.", "none", 6, 4),
            Ask(of_trial("time_dilation_ratio")),
        ),
        *(
            number(
                About(f"{name} now", f"Part of the cores' time in the last round {which}.", "percentunit", 6, 4),
                Ask(of_trial(metric)),
            )
            for name, metric, which in LOADS
        ),
    ]


def _load() -> AnyPanel:
    text = "Parts of the cores' time in the last round: all that was used, used by programs other than agents, stolen."
    asks = (Ask(of_trial(metric), name.lower()) for name, metric, _ in LOADS)
    return lines(About("Cores", text, "percentunit", 24), *asks)


def _agents() -> list[AnyPanel]:
    """A row for each agent, over time."""
    throttled = "Part of the last round in which an agent's CPU quota held it back."
    waited = "Part of an agent's CPU time in the last round, waits included, without a core."
    return [
        heat(
            About("Held back by quota", throttled, "percentunit"),
            Ask(running(by_ue("agent_throttled_ratio")), "{{ue}}"),
            scheme="Oranges",
        ),
        heat(
            About("Waited for a core", waited, "percentunit"),
            Ask(running(by_ue("agent_waited_ratio")), "{{ue}}"),
            scheme="Oranges",
        ),
        heat(
            About("Memory", "Resident memory of an agent after its last round.", "bytes"),
            Ask(by_agent("agent_memory_bytes"), "{{ue}}"),
        ),
    ]


def _overruns() -> AnyPanel:
    text = "Computations over the chosen time that took longer than modelled, at all agents."
    return lines(About("Overruns", text, "none"), Ask(f"sum({lately('cpu_overruns_total')})", "overruns"))
