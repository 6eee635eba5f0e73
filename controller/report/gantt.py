"""The predicted pipeline in the terminal: one row per UE's computation and air, one for the BS."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from agents.schedule.task import BS
from agents.schedule.vocabulary import replica
from controller.planners.planning import Planned
from controller.predict.simulate import Event
from controller.report.pipeline import colour, headline, row_name, rows

COLUMNS = 72
MOST_UES = 8
DIGITS = "123456789abcdefghijklmnopqrstuvwxyz"


def gantt(planned: Planned) -> Group:
    """Lines for one plan, over its own round; of many UEs the first eight.

    A digit is the micro-batch of the task that fills most of its column (from the tenth on a letter), ``w``
    is weights, a dot is idle. Backward passes and gradients are underlined.
    """
    round_s = planned.timeline.round_s
    ues = list(planned.plan.ues)[:MOST_UES]
    shown = {*ues, BS, *map(replica, ues)}
    lines = [Text(headline(planned), "bold")]
    for (band, ue), events in rows(planned.timeline.events, tuple(planned.plan.ues)).items():
        if ue in shown:
            lines.append(Text(f"{row_name(band, ue):>14} ") + _line(events, round_s))
    if len(planned.plan.ues) > MOST_UES:
        lines.append(Text(f"{'':>14} and {len(planned.plan.ues) - MOST_UES} more UEs", "dim"))
    lines.append(Text(f"{'':>14} 0{f'{round_s:.4g} s':>{COLUMNS - 1}}", "dim"))
    return Group(*lines)


def _line(events: Sequence[Event], round_s: float) -> Text:
    line = Text()
    for column in range(COLUMNS):
        begin_s, end_s = column * round_s / COLUMNS, (column + 1) * round_s / COLUMNS
        event = max(events, key=lambda e: min(e.end_s, end_s) - max(e.start_s, begin_s), default=None)
        if event is None or min(event.end_s, end_s) - max(event.start_s, begin_s) < (end_s - begin_s) / 3:
            line.append("·", "dim")
            continue
        mark = "w" if event.weights else DIGITS[event.key.micro_batch % len(DIGITS)]
        line.append(mark, f"{'underline ' if event.backward else ''}bold {colour(event)}")
    return line
