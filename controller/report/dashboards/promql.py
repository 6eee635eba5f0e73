"""What the dashboards ask of Prometheus, as text.

Every expression names its metric, narrowed to the trial and the schemes that are chosen, and drops the labels of the
scrape (``instance``, ``job``, ``agent``), so that what agents and controller export can be set side by side.
``testbed_`` is left out of names here.
"""

from __future__ import annotations

TRIAL = 'trial="$trial"'
SCHEMES = f'{TRIAL}, scheme=~"$scheme"'


def of_trial(metric: str) -> str:
    """One value for the trial."""
    return f"max by (trial) (testbed_{metric}{{{TRIAL}}})"


def by_scheme(metric: str) -> str:
    """One value for each scheme."""
    return f"max by (trial, scheme) (testbed_{metric}{{{SCHEMES}}})"


def by_ue(metric: str) -> str:
    """One value for each scheme and UE (``bs`` is the base station)."""
    return f"max by (trial, scheme, ue) (testbed_{metric}{{{SCHEMES}}})"


def by_agent(metric: str) -> str:
    """One value for each agent of the trial, whatever scheme it runs."""
    return f"max by (trial, ue) (testbed_{metric}{{{TRIAL}}})"


def rate_of_link(metric: str, direction: str) -> str:
    """A rate in bit/s for each scheme and UE, of its link ``up`` or ``down``; metrics count bytes."""
    return f'8 * max by (trial, scheme, ue) (testbed_{metric}{{{SCHEMES}, direction="{direction}"}})'


def recorded(rule: str, more: str = "") -> str:
    """What a recording rule has computed."""
    return f"testbed:{rule}{{{SCHEMES}{more}}}"


def running(expression: str) -> str:
    """The same, of the scheme alone whose round began last: gauges of schemes that are over go on standing."""
    began = by_scheme("round_started_timestamp_seconds")
    newest = f"max by (trial) (testbed_round_started_timestamp_seconds{{{SCHEMES}}})"
    return f"{expression} and on (trial, scheme) ({began} == on (trial) group_left () {newest})"


def lately(counter: str, by: str = "ue") -> str:
    """How much a counter went up over the chosen window, in all schemes together."""
    return f"sum by ({by}) (increase(testbed_{counter}{{{SCHEMES}}}[$window]))"


def share_lately(part: str, rest: str, by: str = "ue") -> str:
    """``part / (part + rest)`` over the chosen window; nothing where no round ended in it."""
    return f"{lately(part, by)} / (({lately(part, by)} + {lately(rest, by)}) > 0)"


def line(metric: str, name: str = "$1") -> str:
    """One value for each scheme, under the label ``line``: the scheme's own, or a name with ``$1`` in its place."""
    return f'max by (line) (label_replace(testbed_{metric}{{{SCHEMES}}}, "line", "{name}", "scheme", "(.+)"))'


def line_and_predicted(measured: str, predicted: str) -> str:
    """Two metrics of each scheme as one set of lines: ``psl``, and ``psl (predicted)`` beside it."""
    return f"{line(measured)} or {line(predicted, '$1 (predicted)')}"


def changes(kind: str) -> str:
    """Above 0 where plans, channels or faults changed something within a minute, the step of annotations."""
    return f'sum by (trial, kind) (changes(testbed_changes_total{{{SCHEMES}, kind="{kind}"}}[1m]))'
