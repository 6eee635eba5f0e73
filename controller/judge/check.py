"""Whether the journal of a trial tells of rounds in which nothing was lost unsaid: pure, from its lines alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agents.own import OwnError
from agents.schedule.task import Schedule, ScheduleError
from agents.schedule.without import contributions
from controller.judge.obedience import wrong_order, wrong_tasks
from controller.judge.record import Record, asked, happened_in, round_of
from controller.trial.journal import FILE, Line
from testbed.errors import InputError
from testbed.topology import Training

SAME = 1e-6
_MOST = 5
MALFORMED = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, OwnError, ScheduleError)
"""What comes of lines in which something is missing, or is of another kind."""


@dataclass(frozen=True)
class Finding:
    """Something that cannot be so, and the number of the line at which it shows."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass(frozen=True)
class Checked:
    """What a journal was found to say: ``notes`` are of what is missing at its end, and no findings."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    rounds: int
    tasks: int


def check(lines: Sequence[Line], where: str = FILE) -> Checked:
    """All that is wrong in a journal, in order of its lines, which are numbered from 1.

    InputError, which starts with ``where`` and the line's number, for a line that lacks what its event has.
    """
    checking = Checking()
    for line in lines:
        try:
            checking.take(line)
        except MALFORMED as error:
            what = f"is no line of a journal: {type(error).__name__}: {error}"
            raise InputError(f"{where}:{checking.number}", what, "was it changed by hand?") from error
    return checking.end()


Rates = Mapping[str, tuple[float, float]]
"""Up and down (bit/s) of each UE."""


@dataclass
class _Scheme:
    """A scheme that goes on, or went: its lines by event, where each stands, and how far it is.

    ``away``: in which round each UE was lost that is not back; ``away_after``: the same as it was after each round.
    ``losses``: of the rounds since which nothing was lost or came back, so that one done again has the same;
    ``alike``: whether this round is such a one.
    """

    label: str
    number: int
    events: dict[str, list[Line]] = field(default_factory=dict)
    begun: tuple[int, int] | None = None
    last: int = 0
    rounds_s: list[float] = field(default_factory=list)
    losses: dict[int, float] = field(default_factory=dict)
    away: dict[str, int] = field(default_factory=dict)
    away_after: dict[int, dict[str, int]] = field(default_factory=dict)
    alike: bool = True
    evaluated: int = 0
    accuracy: float = 0.0
    ended: bool = False
    rates: dict[int, Rates] = field(default_factory=dict)


class Checking:
    """Takes the lines of a journal one after another."""

    def __init__(self) -> None:
        self.number = 0
        self._findings: list[Finding] = []
        self._schemes: dict[str, _Scheme] = {}
        self._rounds = self._tasks = 0
        self._end: Line | None = None
        self._broken: dict[str, str] = {}

    def take(self, line: Line) -> None:
        """The next line."""
        self.number += 1
        event, label = line["event"], line.get("scheme")
        if event == "journal":
            self._head = line
            self._asked = {one["label"]: one["rounds"] for one in line.get("coming", ())} or asked(line["topology"])
            self._training = Training(**line["topology"].get("training", {}))
            return
        if self._end is not None and event != "resume":
            self._find(f"{event} after the end")
        if event == "resume":
            self._end = None
            self._broken.clear()
        if event == "end":
            self._ends(line)
        elif event == "scheme":
            self._scheme_begins(line)
        elif label is not None and label not in self._schemes:
            self._find(f"{event} of {label}, which has not begun")
        elif label is not None and event in ("resume", "restart"):
            self._goes_back(self._schemes[label], event, line)
        elif label is not None:
            self._of_scheme(self._schemes[label], event, line)

    def end(self) -> Checked:
        """What was found, when there are no more lines."""
        notes = []
        if self._end is None:
            on = [one for one in self._schemes.values() if not one.ended]
            where = "".join(f", in round {one.begun[0]} of {one.label}" for one in on if one.begun)
            notes.append(f"the journal has no end after line {self.number}{where}: it was cut, or its trial goes on")
        elif "error" in self._end:
            notes.append(f"the trial broke off: {self._end['error']}")
        return Checked(tuple(self._findings), tuple(notes), self._rounds, self._tasks)

    def _find(self, text: str, line: int | None = None) -> None:
        self._findings.append(Finding(line or self.number, text))

    def _scheme_begins(self, line: Line) -> None:
        label = line["scheme"]
        for one in self._schemes.values():
            if not one.ended:
                self._find(f"{label} begins before {one.label} has ended")
        if label in self._schemes:
            self._find(f"{label} begins twice")
        if label not in self._asked:
            self._find(f"{label} was not asked for")
        rates = {ue: (one["uplink_bps"], one["downlink_bps"]) for ue, one in line["plan"]["ues"].items()}
        self._schemes[label] = _Scheme(label, self.number, {"scheme": [line]}, rates={0: rates})

    def _of_scheme(self, scheme: _Scheme, event: str, line: Line) -> None:
        if scheme.ended:
            self._find(f"{event} of {scheme.label}, which has ended")
        scheme.events.setdefault(event, []).append(line)
        match event:
            case "plan" | "change":
                self._between_rounds(scheme, event, line)
            case "round_begins":
                self._round_begins(scheme, line)
            case "task":
                self._happens(scheme, line)
            case "round":
                self._round_ends(scheme, line)
            case "evaluation":
                self._evaluated(scheme, line)
            case "fault":
                self._lost(scheme, line)
            case "returned":
                self._returned(scheme, line)
            case "checkpoint":
                self._saved(scheme, line)
            case "injected" | "undone":
                self._injected(event, line)
            case "scheme_end":
                self._scheme_ends(scheme)

    def _between_rounds(self, scheme: _Scheme, event: str, line: Line) -> None:
        """A plan, or a change, is of the round that comes next, once."""
        if scheme.begun or line["round"] != scheme.last + 1:
            self._find(f"a {event} of round {line['round']} of {scheme.label}, where round {_next(scheme)} comes next")
        same = [one for one in scheme.events[event] if one["round"] == line["round"]]
        if len([one for one in same if (one.get("task"), one.get("ue")) == (line.get("task"), line.get("ue"))]) > 1:
            self._find(f"a second {event} of round {line['round']} of {scheme.label}")

    def _round_begins(self, scheme: _Scheme, line: Line) -> None:
        if scheme.begun:
            self._find(f"round {line['round']} of {scheme.label} begins, and round {scheme.begun[0]} has not ended")
        if line["round"] != scheme.last + 1:
            self._find(f"round {line['round']} of {scheme.label} begins after round {scheme.last}")
        if scheme.last and scheme.evaluated < scheme.last and self._due(scheme, scheme.last):
            self._find(f"round {scheme.last} of {scheme.label} was not evaluated")
        scheme.begun = line["round"], self.number
        scheme.events["task"] = []

    def _happens(self, scheme: _Scheme, line: Line) -> None:
        self._tasks += 1
        if self._tells_beginnings(scheme) and (scheme.begun is None or line["round"] != scheme.begun[0]):
            where = f"in round {scheme.begun[0]}" if scheme.begun else "between rounds"
            self._find(f"a task of round {line['round']} of {scheme.label} {where}: {line['task']} of {line['ue']}")
        row = happened_in(line)
        if not 0.0 <= row.start_s <= row.end_s < math.inf:
            self._find(f"{row.key} lasts from {row.start_s} to {row.end_s}")

    def _round_ends(self, scheme: _Scheme, line: Line) -> None:
        number, label = line["round"], scheme.label
        self._rounds += 1
        if self._tells_beginnings(scheme) and (scheme.begun is None or scheme.begun[0] != number):
            self._find(f"round {number} of {label} ends without having begun")
        elif number != scheme.last + 1:
            self._find(f"round {number} of {label} ends after round {scheme.last}")
        if not math.isfinite(line["train_loss"]):
            self._find(f"round {number} of {label} has a loss of {line['train_loss']}")
        for text in self._as_planned(scheme, line):
            self._find(f"round {number} of {label}: {text}")
        rows = [happened_in(one) for one in scheme.events.get("task", ()) if one["round"] == number]
        scheme.rounds_s.append(round_of(line, rows).round_s if rows else 0.0)
        scheme.alike &= not line.get("degraded", False)
        if not scheme.alike:
            scheme.losses = {before: loss for before, loss in scheme.losses.items() if before < number}
        if scheme.losses.setdefault(number, line["train_loss"]) != line["train_loss"]:
            before = f"a loss of {scheme.losses[number]:.9g} before and of {line['train_loss']:.9g} now"
            self._find(f"round {number} of {label} was done again, with {before}: other weights, or other samples")
        scheme.begun, scheme.last, scheme.away_after[number] = None, number, dict(scheme.away)
        scheme.events["task"] = []

    def _as_planned(self, scheme: _Scheme, line: Line) -> Iterator[str]:
        """What of a round is not as its plan has it."""
        number = line["round"]
        record = Record(scheme.label, {**scheme.events, "round": [line]})
        rows = [happened_in(one) for one in scheme.events.get("task", ()) if one["round"] == number]
        lost = [one["ue"] for one in record.faults(number)]
        try:
            whole, left = record.planned(number), record.schedule(number)
            yield from _some(wrong_tasks(left, rows, whole, lost))
            yield from _some(wrong_order(left, rows))
            yield from _wrong_samples(line, whole, left)
            yield from _wrong_prediction(record, scheme, line)
            yield from self._wrong_rates(scheme, record, number)
            yield from _wrong_members(record, scheme, number)
        except MALFORMED as error:
            yield f"its plan, or that of line {scheme.number}, cannot be followed: {type(error).__name__}: {error}"

    def _wrong_rates(self, scheme: _Scheme, record: Record, number: int) -> Iterator[str]:
        """A link has another rate than before where a change says so, and only there."""
        rates = {ue: (one.uplink_bps, one.downlink_bps) for ue, one in record.plan_of(number).ues.items()}
        changes = (one for one in scheme.events.get("change", ()) if one["round"] == number)
        said = {one["ue"]: (one["uplink_bps"], one["downlink_bps"]) for one in changes if one["task"] == "link_change"}
        before = scheme.rates.get(number - 1, {})
        for ue in rates:
            if rates[ue] != said.get(ue, before.get(ue)):
                yield f"the link of {ue} has other rates than before, and no change says so"
        scheme.rates[number] = rates

    def _evaluated(self, scheme: _Scheme, line: Line) -> None:
        number = line["round"]
        if scheme.begun or number != scheme.last or number == scheme.evaluated:
            self._find(f"an evaluation after round {number} of {scheme.label}, where round {scheme.last} ended last")
        elif not math.isclose(line["emulated_s"], sum(scheme.rounds_s), rel_tol=SAME):
            took = f"its rounds took {sum(scheme.rounds_s):.6g}"
            self._find(f"an evaluation of {scheme.label} after {line['emulated_s']:.6g} s, and {took}")
        accuracies = line["accuracies"].values()
        scheme.evaluated = number
        scheme.accuracy = sum(accuracies) / max(1, len(accuracies))

    def _saved(self, scheme: _Scheme, line: Line) -> None:
        if scheme.begun or line["round"] != scheme.last:
            self._find(f"a checkpoint after round {line['round']} of {scheme.label}, where {scheme.last} ended last")

    def _goes_back(self, scheme: _Scheme, event: str, line: Line) -> None:
        """Rounds are done again, from the beginning of the scheme or from what a checkpoint has kept."""
        last = line["from_round"]
        saved = {one["round"]: one for one in scheme.events.get("checkpoint", ())}
        if last and last not in saved:
            self._find(f"a {event} of {scheme.label} from round {last}, after which there was no checkpoint")
        elif last and line.get("weights", saved[last].get("weights")) != saved[last].get("weights"):
            self._find(f"a {event} of {scheme.label} from round {last} with other weights than its checkpoint's")
        if last > scheme.last:
            self._find(f"a {event} of {scheme.label} from round {last}, and only {scheme.last} had ended")
        if scheme.ended:
            self._find(f"a {event} of {scheme.label}, which has ended")
        before = [one for kind in ("fault", "returned") for one in scheme.events.get(kind, ())]
        scheme.away = dict(scheme.away_after.get(last, {}))
        scheme.alike = not any(one["round"] > last for one in before) and not scheme.away
        kept = {kind: [one for one in found if one.get("round", 0) <= last] for kind, found in scheme.events.items()}
        scheme.events, scheme.begun, scheme.last = kept, None, last
        scheme.rounds_s, scheme.evaluated = scheme.rounds_s[:last], min(scheme.evaluated, last)

    def _lost(self, scheme: _Scheme, line: Line) -> None:
        """A UE is lost once, in the round that goes on or before the one that comes."""
        number, ue = line["round"], line["ue"]
        if number != (scheme.begun[0] if scheme.begun else scheme.last + 1):
            self._find(f"{ue} is lost in round {number} of {scheme.label}, where round {scheme.last} ended last")
        if ue in scheme.away:
            self._find(f"{ue} is lost in round {number} of {scheme.label}, and was in round {scheme.away[ue]}")
        scheme.away[ue] = number if scheme.begun else number - 1
        scheme.alike = False

    def _returned(self, scheme: _Scheme, line: Line) -> None:
        number, ue = line["round"], line["ue"]
        if scheme.begun or number != scheme.last + 1:
            self._find(f"{ue} is back in round {number} of {scheme.label}, where round {scheme.last} ended last")
        if scheme.away.pop(ue, None) is None:
            self._find(f"{ue} is back in round {number} of {scheme.label}, and was not lost")

    def _injected(self, event: str, line: Line) -> None:
        """What is broken is undone once, before it is broken again."""
        ue, kind = line["ue"], line["kind"]
        if "skipped" in line or (event == "injected" and "failed" in line):
            return
        if event == "undone":
            if self._broken.pop(ue, None) != kind:
                self._find(f"a {kind} of {ue} is undone that was not done")
        elif ue in self._broken:
            self._find(f"a {kind} of {ue}, of which a {self._broken[ue]} was not undone")
        else:
            self._broken[ue] = kind

    def _scheme_ends(self, scheme: _Scheme) -> None:
        label, count = scheme.label, self._asked.get(scheme.label, 0)
        target = self._training.target_accuracy
        if scheme.begun:
            self._find(f"{label} ends in round {scheme.begun[0]}")
        if scheme.last != count and not (target is not None and scheme.accuracy >= target):
            self._find(f"{label} ends after {scheme.last} rounds of {count}")
        if scheme.evaluated < scheme.last:
            self._find(f"round {scheme.last} of {label} was not evaluated")
        scheme.ended = True

    def _ends(self, line: Line) -> None:
        if "error" not in line:
            for label in self._asked:
                if label not in self._schemes:
                    self._find(f"the trial ends, and {label} never began")
                elif not self._schemes[label].ended:
                    self._find(f"the trial ends, and {label} has not ended")
        self._end = line

    def _due(self, scheme: _Scheme, number: int) -> bool:
        count = self._asked.get(scheme.label, 0)
        return number == count or number % self._training.every(max(1, count)) == 0

    def _tells_beginnings(self, scheme: _Scheme) -> bool:
        """Whether the journal says when rounds begin, as older ones do not."""
        return "at" in self._head or "round_begins" in scheme.events


def _next(scheme: _Scheme) -> int:
    return scheme.last + 1 + (scheme.begun is not None)


def _some(texts: Iterator[str]) -> Iterator[str]:
    """The first few, and how many more there are."""
    found = list(texts)
    yield from found[:_MOST]
    if len(found) > _MOST:
        yield f"and {len(found) - _MOST} more of this kind"


def _wrong_samples(line: Line, whole: Schedule, left: Schedule) -> Iterator[str]:
    """Of each UE's batch those samples came that its tasks tell, and the others are said to be lost."""
    said: Mapping[str, Sequence[int]] = line.get("samples", {})
    for ue, one in contributions(whole, left).items() if "samples" in line else ():
        if [*said.get(ue, ())] != [one.came, one.lost]:
            told = "{} came and {} were lost".format(*said[ue]) if ue in said else "nothing is said"
            yield f"of the samples of {ue} {one.came} came and {one.lost} were lost, and {told} at its end"


def _wrong_members(record: Record, scheme: _Scheme, number: int) -> Iterator[str]:
    """Who was lost and is not back has no part in the plan, and everybody else has the part that the plan gives."""
    away = {ue for ue, since in scheme.away.items() if since < number}
    planned = {*record.plan_of(number).away}
    for ue in sorted(away - planned):
        yield f"{ue} was lost in round {scheme.away[ue]}, and the plan has it take part"
    for ue in sorted(planned - away):
        yield f"{ue} was not lost, and the plan leaves it out"
    if bool(record.ends[number].get("degraded")) != any(since == number for since in scheme.away.values()):
        yield "it is said to be degraded, or whole, and who was lost in it says otherwise"


def _wrong_prediction(record: Record, scheme: _Scheme, line: Line) -> Iterator[str]:
    """What a round was predicted to take follows from the plan in force, and was said when it began."""
    number, predicted_s = line["round"], line["predicted_s"]
    for begin in scheme.events.get("round_begins", ())[-1:]:
        for what in ("predicted_s", "predicted_bubble_rate"):
            if begin["round"] == number and begin[what] != line[what]:
                yield f"its {what} was {begin[what]:.6g} when it began, and is {line[what]:.6g} at its end"
    timeline = record.predicted(number)
    if timeline is None:
        return
    follows_s = timeline.round_s + line.get("charged_s", 0.0)
    if not math.isclose(follows_s, predicted_s, rel_tol=SAME):
        yield f"its plan takes {follows_s:.6g} s, and it was predicted to take {predicted_s:.6g}"
