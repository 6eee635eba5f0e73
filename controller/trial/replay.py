"""The events of a trial again, from what it wrote: for whoever watches one that runs elsewhere, or ran before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from agents.own import OwnError, set_folder
from agents.plan import Plan
from agents.schedule.task import ScheduleError
from controller.judge.derive import accuracy_of, scheme_result
from controller.judge.host_load import host_load
from controller.judge.measured import Happened, idle_shares
from controller.judge.record import Record, asked, happened_in, round_of
from controller.trial.follow import follow
from controller.trial.journal import FILE, MISFITS, Line, check, in_a_line
from controller.trial.watch import (
    Changed,
    Coming,
    Evaluated,
    Event,
    Learned,
    Redone,
    RoundBegins,
    RoundEnded,
    SchemeBegins,
    SchemeEnded,
    Stage,
    TrialBegins,
    TrialEnded,
    Warned,
)
from controller.trial.whereabouts import Run
from testbed.errors import InputError

LEAST_SILENCE_S, ROUNDS = 300.0, 10.0
"""A trial of which nobody knows whether it runs is over when it has written nothing for so long, and so many rounds."""
RESUMED = "the trial goes on after its testbed had ended"
KILLED = "it ended without a word: its testbed was killed"


def told(directory: Path, run: Run | None) -> Iterator[Event]:
    """What the trial that writes into a directory tells, as it comes, until it ends.

    ``run``: what is known of its process, if that was of this machine. InputError where a line cannot be understood.
    """
    if run is not None:
        ended = False
        for line in follow(run.file, lambda: run.alive):
            if line["event"] == "rounds":
                break
            yield from _before(line)
            ended = line["event"] == "end"
        else:
            yield from () if ended else (TrialEnded(KILLED),)
            return
    yield from _from_journal(directory, run)


def _before(line: Line) -> Iterator[Event]:
    """What was told before there was a journal."""
    match line["event"]:
        case "stage":
            yield Stage(line["text"])
        case "learned":
            yield Learned(line["text"])
        case "warned":
            yield Warned(line["text"])
        case "end":
            yield TrialEnded(line.get("error"))


def _from_journal(directory: Path, run: Run | None) -> Iterator[Event]:
    set_folder(directory)
    path, replay, event = directory / FILE, Replay(), None
    for line in follow(path, (lambda: run.alive) if run else lambda: _seems_alive(path, replay.patience_s)):
        try:
            events = list(replay(line, path))
        except MISFITS as error:
            raise InputError(
                f"{path}", f"a line of {in_a_line(line.get('event'))} lacks {in_a_line(error)}", "was it changed?"
            ) from error
        for event in events:
            if not isinstance(event, TrialEnded):  # a trial may have gone on after it
                yield event
    yield event if isinstance(event, TrialEnded) else TrialEnded(KILLED)


def _seems_alive(path: Path, patience_s: float) -> bool:
    return time.time() - path.stat().st_mtime < patience_s


class Replay:
    """The lines of a journal, one after another → the events that were told when they were written."""

    def __init__(self) -> None:
        self.patience_s = LEAST_SILENCE_S
        self._dilation = 1.0
        self._rounds: dict[str, int] = {}
        self._plans: dict[str, Plan] = {}
        self._lines: dict[str, dict[str, list[Line]]] = {}
        self._rounds_s: dict[str, list[float]] = {}
        self._rows: list[Happened] = []
        self._changed: tuple[str, int] | None = None

    def __call__(self, line: Line, path: Path) -> Iterator[Event]:
        """The events that a line is worth. InputError names the ``path`` of a journal of another version."""
        if line["event"] == "journal":
            check(path, [line])
            yield self._begin(line)
        elif line["event"] == "end":
            yield TrialEnded(line.get("error"), tuple(line.get("lost", ())))
        elif line["event"] in ("restart", "resume"):
            yield from self._again(line)
        elif "scheme" in line:
            label = line["scheme"]
            self._lines.setdefault(label, {}).setdefault(line["event"], []).append(line)
            yield from self._of_scheme(label, line)

    def _begin(self, line: Line) -> TrialBegins:
        topology, self._dilation = line["topology"], line["time_dilation"]
        coming = tuple(Coming(**one) for one in line.get("coming", ()))
        if not coming:  # older journals do not say: all rounds are thought to be alike
            coming = tuple(Coming(label, rounds, float(rounds)) for label, rounds in asked(topology).items())
        self._rounds = {one.label: one.rounds for one in coming}
        names = tuple(ue["name"] for ue in topology["ues"])
        return TrialBegins(topology["name"], names, self._dilation, coming, line.get("at", 0.0))

    def _again(self, line: Line) -> Iterator[Event]:
        """Rounds are done again: what was told of them is void."""
        label, from_round = line.get("scheme"), line.get("from_round", 0)
        if label is None:
            return
        kept = {
            kind: [one for one in found if one.get("round", 0) <= from_round]
            for kind, found in self._lines[label].items()
        }
        self._lines[label], self._changed = kept, None
        self._rows.clear()
        made = [one["plan"] for one in kept.get("plan", ()) if one["plan"] is not None]
        self._plans[label] = Plan.from_json(made[-1] if made else kept["scheme"][0]["plan"])
        self._rounds_s[label] = self._rounds_s.get(label, [])[:from_round]
        yield Redone(label, from_round, sum(self._rounds_s[label]), line.get("why", RESUMED))

    def _of_scheme(self, label: str, line: Line) -> Iterator[Event]:
        match line["event"]:
            case "scheme":
                self._plans[label] = plan = Plan.from_json(line["plan"])
                predicted = line["predicted"]
                yield SchemeBegins(label, self._rounds[label], plan, predicted["round_s"], predicted["bubble_rate"])
            case "plan" if line["plan"] is not None:
                self._plans[label] = Plan.from_json(line["plan"])
                yield Changed(label, line["round"], "plan")
            case "change" if (label, line["round"]) != self._changed:
                self._changed = label, line["round"]
                yield Changed(label, line["round"], "channel")
            case "round_begins":
                self.patience_s = max(LEAST_SILENCE_S, ROUNDS * line["predicted_s"] * self._dilation)
                predicted_s, bubble_rate = line["predicted_s"], line["predicted_bubble_rate"]
                yield RoundBegins(label, line["round"], self._plans[label], predicted_s, bubble_rate, line["at"])
            case "task":
                self._rows.append(happened_in(line))
            case "round":
                yield self._round(label, line)
            case "evaluation":
                yield Evaluated(label, line["round"], line["emulated_s"], accuracy_of(line))
            case "scheme_end":
                yield self._judged(label)

    def _round(self, label: str, line: Line) -> RoundEnded:
        rows = [row for row in self._rows if row.round == line["round"]]
        self._rows.clear()
        row = round_of(line, rows)
        self._rounds_s.setdefault(label, []).append(row.round_s)
        idle = idle_shares(self._plans[label].ues, rows, row.round_s)
        load = host_load(line["host"], [one for one in rows if one.computed])
        return RoundEnded(label, row, idle, line.get("at", 0.0), load)

    def _judged(self, label: str) -> Event:
        """The scheme as judged; a warning where it is the user's own and its file is not there."""
        try:
            return SchemeEnded(label, scheme_result(Record(label, self._lines.pop(label))))
        except (OwnError, ScheduleError) as error:
            return Warned(f"{label} is not judged: {error}")
