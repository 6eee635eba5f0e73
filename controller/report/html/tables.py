"""The report's tables: the schemes in short, their plans, the host, and in what the runs' topologies differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.judge.results import Results
from controller.report.figures.frame import Frame, Value
from controller.report.figures.series import Series
from controller.report.outcome import FAULTS, fault_rows

SUMMARY = {
    "scheme": "scheme",
    "plan": "plan",
    "rounds": "rounds",
    "emulated_s": "emulated [s]",
    "round_s": "round [s]",
    "p5_s": "5th perc. [s]",
    "p95_s": "95th perc. [s]",
    "predicted_s": "predicted [s]",
    "error": "error [%]",
    "bubble_rate": "bubble rate",
    "predicted_bubble_rate": "predicted",
    "ue_idle": "UE idle [%]",
    "accuracy": "accuracy [%]",
    "believe": "believe it?",
}
PLANS = {
    "scheme": "scheme",
    "ue": "UE",
    "batch": "batch [samples]",
    "slot_up_ms": "slot up [ms]",
    "slot_down_ms": "slot down [ms]",
    "uplink_mbps": "uplink [Mbit/s]",
    "downlink_mbps": "downlink [Mbit/s]",
    "cluster": "cluster",
}


def summary(found: Sequence[Series]) -> Frame:
    """One row per scheme."""
    return Frame.of(SUMMARY, [tuple(_summary(s)) for s in found])


def _summary(s: Series) -> Iterator[Value]:
    r, total = s.result, s.result.summary
    idle = [ue.idle_share for ue in r.ues.values()]
    yield f"{s.name}{' (not over)' if r.partial else ''}"
    yield f"{r.plan['planner']}: cut {r.plan['cut']}, k {r.plan['micro_batches']}"
    yield len(r.rounds)
    yield f"{sum(one.round_s for one in r.rounds):.4g}"
    yield from (f"{value:.4g}" for value in (total.round_s.median, total.round_s.p5, total.round_s.p95))
    yield f"{total.predicted_s:.4g}"
    yield f"{100 * total.round_error:+.2f}"
    yield from (f"{rate:.3f}" for rate in (total.bubble_rate, total.predicted_bubble_rate))
    yield f"{100 * sum(idle) / len(idle):.0f}" if idle else None
    yield f"{100 * r.accuracy.final:.1f}" if r.accuracy else None
    yield "yes" if r.fidelity.ok else "no"


def faults(found: Sequence[Series]) -> Frame:
    """One row per fault of each scheme: its round as predicted with it and as measured, and the samples it lost."""
    return Frame.of({name: name for name in FAULTS}, [row for s in found for row in fault_rows(s.name, s.result)])


def plans(found: Sequence[Series]) -> Frame:
    """One row per UE of each scheme's first plan."""
    rows = [
        (
            s.name,
            name,
            ue["batch"],
            1e3 * ue["slot_up_s"],
            1e3 * ue["slot_down_s"],
            ue["uplink_bps"] / 1e6,
            ue["downlink_bps"] / 1e6,
            ue["cluster"],
        )
        for s in found
        for name, ue in s.result.plan["ues"].items()
    ]
    return Frame.of(PLANS, rows)


def hosts(runs: Mapping[str, Results]) -> Frame:
    """What each trial says of the machine that it ran on, and its time dilation."""
    facts = {run: {"time_dilation": found.time_dilation, **_flat(found.host)} for run, found in runs.items()}
    return _side_by_side("fact", facts)


def differences(runs: Mapping[str, Results]) -> Frame:
    """The keys of the topologies that are not the same in all runs."""
    topologies = {run: _flat(found.topology) for run, found in runs.items()}
    keys = dict.fromkeys(key for flat in topologies.values() for key in flat)
    other = [key for key in keys if len({repr(flat.get(key)) for flat in topologies.values()}) > 1]
    return _side_by_side("key", {run: {key: flat.get(key) for key in other} for run, flat in topologies.items()})


def _side_by_side(what: str, columns: Mapping[str, Mapping[str, Value]]) -> Frame:
    keys = dict.fromkeys(key for column in columns.values() for key in column)
    titles = {what: what, **{run: run for run in columns}}
    return Frame.of(titles, [(key, *(column.get(key) for column in columns.values())) for key in keys])


def _flat(data: Any, prefix: str = "") -> dict[str, Value]:
    """``{"radio": {"duplex": "tdd"}}`` → ``{"radio.duplex": "tdd"}``; items of lists by their number."""
    if isinstance(data, Mapping):
        items = list(data.items())
    elif isinstance(data, list):
        items = list(enumerate(data, 1))
    else:
        return {prefix: data}
    return {key: value for name, one in items for key, value in _flat(one, f"{prefix}.{name}".lstrip(".")).items()}
