"""One scheme of a trial → the tracks of its process in a trace: rounds, counters, two for each processor and link.

The scheme's emulated clock is the trace's: a round begins where it began, and its prediction beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from agents.schedule.task import (
    BROADCAST_PLACE,
    BS,
    Compute,
    Key,
    Schedule,
    Task,
    Weights,
    at_the_bs,
    down,
    goes_up,
    is_link,
    owner,
)
from controller.judge.derive import accuracy_of
from controller.judge.explain import BITS
from controller.judge.measured import Happened
from controller.judge.record import Record
from controller.predict.simulate import Event
from controller.report.trace.tracks import Args, Instant, Slice, Track, args, counted, in_lanes, nanoseconds

MEASURED, PREDICTED, CRITICAL = "measured", "predicted", "critical"
_PREDICTED_NAME = " (predicted)"


def tracks(record: Record, numbers: Sequence[int], flows: Iterator[int], error: str = "") -> list[Track]:
    """The tracks of these rounds of a scheme, from top to bottom.

    ``flows`` numbers the arrows of the whole trace; ``error``: why the scheme broke off, where it did.
    """
    places = _Places(record, flows)
    for number in numbers:
        places.add(number)
    found = [
        *_rounds(record, numbers),
        *_marks(record, numbers, error),
        *_ratios(record, numbers),
        Track("queue at the BS", values=counted(places.queue), unit="micro-batches"),
        Track("goodput up", values=counted(places.goodput_up), unit="bit/s"),
        Track("goodput down", values=counted(places.goodput_down), unit="bit/s"),
        *places.tracks(),
    ]
    return [track for track in found if track.slices or track.instants or track.values]


def _rounds(record: Record, numbers: Sequence[int]) -> Iterator[Track]:
    """Each round as a slice, as measured and as predicted; and what is charged of the planner's time."""
    measured, predicted, planner = [], [], []
    for row in record.rounds:
        if row.round not in numbers:
            continue
        begin_s, name = record.begins_s[row.round], f"round {row.round}"
        told = args(
            round_s=row.round_s,
            predicted_s=row.predicted_s,
            bubble_rate=row.bubble_rate,
            predicted_bubble_rate=row.predicted_bubble_rate,
            bs_busy_s=row.bs_busy_s,
            bs_idle_s=row.bs_idle_s,
            train_loss=row.train_loss,
        )
        measured.append(_slice(begin_s, begin_s + row.round_s, name, MEASURED, told))
        if row.predicted_s is not None:
            predicted.append(_slice(begin_s, begin_s + row.predicted_s, name, PREDICTED))
        if row.charged_s:
            planner.append(_slice(begin_s, begin_s + row.charged_s, "planning", MEASURED))
    yield from in_lanes("rounds", "", measured)
    yield from in_lanes(f"rounds{_PREDICTED_NAME}", "", predicted)
    yield from in_lanes("planner", "", planner)


def _marks(record: Record, numbers: Sequence[int], error: str) -> Iterator[Track]:
    """What changed, when, and what ended it."""
    instants = [
        Instant(nanoseconds(mark.at_s), f"{mark.kind}{f' of {mark.ue}' if mark.ue else ''}: {mark.text}", mark.kind)
        for mark in record.marks
        if mark.round in numbers
    ]
    if error:
        instants.append(Instant(nanoseconds(record.emulated_s), f"broke off: {error}", "fault"))
    if instants:
        yield Track("what changed", instants=instants)


def _ratios(record: Record, numbers: Sequence[int]) -> Iterator[Track]:
    """Bubble rates of rounds, 0 while there is none, and the accuracy since the last evaluation."""
    measured: dict[int, float] = {}
    predicted: dict[int, float] = {}
    accuracies: dict[int, float] = {}
    for row in record.rounds:
        if row.round in numbers:
            begin_ns = nanoseconds(record.begins_s[row.round])
            end_ns = nanoseconds(record.begins_s[row.round] + row.round_s)
            measured |= {begin_ns: row.bubble_rate, end_ns: 0.0}
            if row.predicted_bubble_rate is not None:
                predicted |= {begin_ns: row.predicted_bubble_rate, end_ns: 0.0}
    for line in record.evaluations:
        if line["round"] in numbers:
            accuracies[nanoseconds(line["emulated_s"])] = accuracy_of(line)
    found = {"bubble rate": measured, f"bubble rate{_PREDICTED_NAME}": predicted, "accuracy": accuracies}
    yield from (Track(name, values=list(values.items()), unit="ratio") for name, values in found.items() if values)


class _Places:
    """Slices of each place, measured and predicted, and what is counted beside them; rounds are added in order."""

    def __init__(self, record: Record, flows: Iterator[int]) -> None:
        self._record, self._flows = record, flows
        self._slices: dict[tuple[str, str], list[Slice]] = {}
        self._told: dict[Key, Args] = {}
        self._told_of: Schedule | None = None
        self.queue: list[tuple[int, int]] = []
        self.goodput_up: list[tuple[int, int]] = []
        self.goodput_down: list[tuple[int, int]] = []

    def add(self, number: int) -> None:
        """A round that was measured."""
        record, schedule = self._record, self._record.schedule(number)
        if schedule is not self._told_of:
            self._told_of, self._told = schedule, {task.key: _of_the_task(task) for task in schedule.tasks}
        rows, begin_s = record.rows(number), record.starts_s[number]
        self._measured(number, rows, begin_s)
        timeline = record.predicted(number)
        for event in timeline.events if timeline else ():
            self._predicted(event, schedule, number, begin_s)
        self.queue += ((nanoseconds(begin_s + at_s), by) for at_s, by in waiting(schedule, rows))

    def tracks(self) -> Iterator[Track]:
        """The tracks of the BS, then of each UE: what it computes, what goes up and down."""
        order = {agent: number for number, agent in enumerate((BS, *self._record.plan.ues))}

        def rank(one: tuple[str, str]) -> tuple[int, bool, bool, int, str]:
            agent, _, rest = one[0].partition("/")
            return order[agent], is_link(one[0]), not goes_up(one[0]), order.get(rest, 0), one[1]

        for place, category in sorted(self._slices, key=rank):
            name = _name(place) + (_PREDICTED_NAME if category == PREDICTED else "")
            yield from in_lanes(name, owner(place), self._slices[place, category])

    def _measured(self, number: int, rows: Sequence[Happened], begin_s: float) -> None:
        chain = self._record.chain(number).rows
        arrows = [(first, then, next(self._flows)) for first, then in pairwise(chain)]
        flows_out = {id(first): flow for first, _, flow in arrows}
        flows_in = {id(then): flow for _, then, flow in arrows}
        critical, links = {id(row) for row in chain}, self._record.links(number)
        for row in rows:
            start_ns, end_ns = nanoseconds(begin_s + row.start_s), nanoseconds(begin_s + row.end_s)
            told: Args = (("round", number),)
            if row.computed:
                told += tuple((name, value) for name in _PACED if (value := getattr(row, name)))
            elif row.seconds > 0:
                goodput_bps, planned_bps = round(row.bytes * BITS / row.seconds), links.rate_bps(row)
                told += (("bytes", int(row.bytes)), ("goodput_bps", goodput_bps), ("planned_bps", round(planned_bps)))
                counter = self.goodput_up if goes_up(row.place) else self.goodput_down
                counter += ((start_ns, goodput_bps), (end_ns, -goodput_bps))
            category = CRITICAL if id(row) in critical else MEASURED
            flows = tuple((found[id(row)],) if id(row) in found else () for found in (flows_in, flows_out))
            place = down(row.ue) if row.place == BROADCAST_PLACE else row.place
            self._put(
                place,
                MEASURED,
                Slice(start_ns, end_ns, _task_name(row.key), category, self._told[row.key], told, *flows),
            )

    def _predicted(self, event: Event, schedule: Schedule, number: int, begin_s: float) -> None:
        start_ns, end_ns = nanoseconds(begin_s + event.start_s), nanoseconds(begin_s + event.end_s)
        about, told = self._told[event.key], (("round", number),)
        one = Slice(start_ns, end_ns, _task_name(event.key), PREDICTED, about, told)
        for place in schedule.occupied(schedule.by_key[event.key]):
            if place != BROADCAST_PLACE:
                self._put(place, PREDICTED, one)

    def _put(self, place: str, category: str, one: Slice) -> None:
        self._slices.setdefault((place, category), []).append(one)


_PACED = ("overrun_s", "late_s", "cpu_s", "wait_s")
"""What is told of a computation on its host: overrun and late wake-up in emulated, the others in wall seconds."""


def waiting(schedule: Schedule, rows: Sequence[Happened]) -> Iterator[tuple[float, int]]:
    """When (s from the start of the round) the queue at the BS grows or shrinks: UEs' micro-batches that have arrived,
    until the BS begins to work on them."""
    of = {row.key: row for row in rows}
    for key, row in of.items():
        task = schedule.by_key[key]
        if not goes_up(row.place) or isinstance(task.work, Weights):
            continue
        served = [of[t.key].start_s for t in schedule.needing(key) if at_the_bs(t.place) and t.key in of]
        if served:
            yield row.end_s, 1
            yield max(row.end_s, min(served)), -1


def _of_the_task(task: Task) -> Args:
    """What is told of a task wherever it is shown; micro-batches count from 1, as in charts."""
    key, work = task.key, task.work
    return args(
        micro_batch=key.micro_batch + 1,
        ue=key.ue,
        turn=key.turn or None,
        step=key.step or None,
        samples=getattr(work, "samples", None) or None,
        units=f"{work.first + 1}-{work.last}" if isinstance(work, Compute | Weights) else None,
    )


def _task_name(key: Key) -> str:
    return f"{key.kind} {key.micro_batch + 1}"


def _name(place: str) -> str:
    if is_link(place):
        return "up" if goes_up(place) else "down"
    return "computes" if place in (BS, owner(place)) else f"computes for {place.partition('/')[2]}"


def _slice(start_s: float, end_s: float, name: str, category: str, told: Args = ()) -> Slice:
    return Slice(nanoseconds(start_s), nanoseconds(end_s), name, category, args=told)
