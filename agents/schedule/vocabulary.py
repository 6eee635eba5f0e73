"""The words in which schemes are written: a round in the making, from a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from agents.plan import Plan
from agents.schedule.task import (
    BROADCAST_PLACE,
    BS,
    EVERYBODY,
    MEAN,
    Activations,
    Average,
    Compute,
    Give,
    Gradients,
    Key,
    Load,
    Noise,
    Schedule,
    ScheduleError,
    Step,
    Take,
    Task,
    Weights,
    Work,
    down,
    up,
)

_ORDER_STREAM = 4  # of the topology's seed


def replica(ue: str) -> str:
    """The name of the model at the BS that is a UE's own."""
    return f"{BS}/{ue}"


class Round:
    """A round that a scheme writes task by task; every place does its own in the order in which they are written.

    ``ues`` are those that take part, ``units`` is how many the model has. A word needs what the words before it have
    made of the same UE and micro-batch, in the same turn and step.
    """

    def __init__(self, plan: Plan, units: int, seed: int = 0, number: int = 1) -> None:
        self.plan, self.units = plan, units
        self.ues = tuple(plan.clusters)
        self._turn = self._step = 0
        self._seed, self._number, self._drawn = seed, number, False
        self._tasks: list[Task] = []
        self._keys: set[Key] = set()
        self._first_ready: set[str] = set()
        self._last: dict[str, Task] = {}
        self._trained: dict[str, int] = {}
        self._made: dict[tuple[str, str, int], Key] = {}
        self._backwards: dict[tuple[str, int, int], list[Key]] = {}

    def schedule(self) -> Schedule:
        """What has been written."""
        return Schedule(tuple(self._tasks), frozenset(self._first_ready), self._drawn)

    def begin(self, turn: int = 0, step: int = 0) -> None:
        """What follows belongs to this turn (a group of UEs that train together) and step (a batch of theirs)."""
        self._turn, self._step = turn, step
        self._made.clear()

    def as_they_come(self, place: str = BS) -> None:
        """The place does what is ready first, not what is written first."""
        self._first_ready.add(place)

    def micro_batches(self, *ues: str) -> list[int]:
        """The numbers of the micro-batches in which any of these UEs has samples."""
        return sorted({m for ue in ues for m, size in enumerate(self.plan.sizes(ue)) if size})

    def having(self, ues: Iterable[str], m: int) -> list[str]:
        """Those of the UEs that have samples in micro-batch ``m``."""
        return [ue for ue in ues if self.samples([ue], m)]

    def samples(self, ues: Iterable[str], m: int | None = None) -> int:
        """Samples of these UEs in a micro-batch, or in their whole batch."""
        sizes = [self.plan.sizes(ue) for ue in ues]
        return sum(sum(own) if m is None else own[m] if m < len(own) else 0 for own in sizes)

    def drawn(self, ues: Sequence[str]) -> list[str]:
        """The UEs in an order that is drawn anew in every round and step, from the seed."""
        self._drawn = True
        order = np.random.default_rng([self._seed, _ORDER_STREAM, self._number, self._step]).permutation(len(ues))
        return [ues[i] for i in order]

    def forward(self, ue: str, m: int) -> Key:
        """A UE's pass from its samples to its cut. Through the whole model it ends in the loss, a mean of its batch."""
        size = self.samples([ue], m)
        self._trained[ue] = self._trained.get(ue, 0) + size
        noise, total = self.plan.noise("input"), self.samples([ue])
        work = Compute(ue, 0, self.plan.cut_of(ue), size, size, mean_over=total, noise=noise)
        return self._compute("ue_forward", ue, m, ue, work)

    def uplink(self, ue: str, m: int, *, labels: bool = True) -> Key:
        """What came out of the UE's forward pass goes up, with the labels unless they stay."""
        sent = Activations(self.plan.cut_of(ue), self.samples([ue], m), labels)
        return self._put("uplink", ue, m, up(ue), sent, self._of("ue_forward", ue, m))

    def join(self, ues: Iterable[str], m: int, kind: str = "uplink") -> tuple[Key, ...]:
        """What these UEs have sent of micro-batch ``m``, in their order: what a joint pass of the BS needs."""
        return tuple(key for ue in ues for key in self._of(kind, ue, m))

    def bs_forward(self, ues: Sequence[str], m: int, *, model: str = BS, last: int | None = None) -> Key:
        """The BS's pass over what these UEs have sent; at the last unit it ends in the loss, a mean of their batch."""
        joined, to = self.having(ues, m), self.units if last is None else last
        total = self.samples(joined, m)
        work = Compute(model, self.plan.cut_of(joined[0]), to, total, total, mean_over=self.samples(ues))
        return self._at_the_bs("bs_forward", joined, m, work, self.join(joined, m))

    def bs_backward(
        self, ues: Sequence[str], m: int, *, model: str = BS, last: int | None = None, at_once: bool = False
    ) -> Key:
        """The BS's pass back; where its part ends before the last unit, from the gradients that the UEs have sent.

        ``at_once``: it follows what is written before it at the BS directly.
        """
        joined, to = self.having(ues, m), self.units if last is None else last
        total = self.samples(joined, m)
        work = Compute(model, self.plan.cut_of(joined[0]), to, total, total, backward=True)
        needs = (*self._of("bs_forward", joined[0], m), *self.join(joined, m, "head_uplink"))
        return self._at_the_bs("bs_backward", joined, m, work, needs, at_once)

    def serve(self, ues: Sequence[str], m: int, *, model: str = BS) -> Key:
        """Forward and, at once, backward at the BS."""
        self.bs_forward(ues, m, model=model)
        return self.bs_backward(ues, m, model=model, at_once=True)

    def serve_paired(self, ues: Sequence[str], m: int, paired: int, *, merges: bool, weighted: bool) -> None:
        """``serve`` with the gradients of ``paired`` rows of each UE aggregated, and broadcast to all (EPSL).

        Rows that are merged go forward once more, as one, and backward as one. ``weighted``: a UE takes its share.
        """
        forward, backward = self.bs_forward(ues, m), self.bs_backward(ues, m, at_once=True)
        more = {forward: paired * merges, backward: -paired * (len(ues) - 1) * merges}
        for i, task in enumerate(self._tasks):
            if task.key in more and isinstance(task.work, Compute):
                rows, reading = task.work.rows + more[task.key], self.plan.aggregate
                work = replace(task.work, rows=rows, paired=paired, aggregate=reading)
                self._tasks[i] = replace(task, work=work)
        self._put("broadcast", EVERYBODY, m, BROADCAST_PLACE, Gradients(self.plan.cut, paired, weighted), (backward,))

    def downlink(self, ue: str, m: int, *, but: int = 0) -> None:
        """A UE's gradients go down, all ``but`` those rows that were broadcast; nothing where no row is left."""
        rows = self.samples([ue], m) - but
        if rows > 0:
            sent = Gradients(self.plan.cut_of(ue), rows)
            self._put("downlink", ue, m, down(ue), sent, self._of("bs_backward", ue, m))

    def backward(self, ue: str, m: int) -> Key:
        """The UE's pass back, from the gradients that came or, if it has the whole model, at once from the loss."""
        size = self.samples([ue], m)
        work = Compute(ue, 0, self.plan.cut_of(ue), size, size, backward=True)
        came = (*self._of("broadcast", EVERYBODY, m), *self._of("downlink", ue, m))
        forward = self._of("ue_forward", ue, m)
        at_once = work.last == self.units and ue in self._last and self._last[ue].key in forward
        return self._compute("ue_backward", ue, m, ue, work, (*forward, *came), at_once)

    def head_downlink(self, ue: str, m: int, unit: int) -> Key:
        """What came out of the BS's units, which end at ``unit``, goes down to the UE's last ones."""
        sent = Activations(unit, self.samples([ue], m), labels=False)
        return self._put("head_downlink", ue, m, down(ue), sent, self._of("bs_forward", ue, m))

    def head(self, ue: str, m: int, unit: int, mean_over: int) -> Key:
        """The UE's own last units, after ``unit``: what came down goes forward into the loss and, at once, backward."""
        size = self.samples([ue], m)
        forward = Compute(ue, unit, self.units, size, size, mean_over=mean_over)
        key = self._compute("head_forward", ue, m, ue, forward, self._of("head_downlink", ue, m))
        back = replace(forward, backward=True, mean_over=0)
        return self._compute("head_backward", ue, m, ue, back, (key,), at_once=True)

    def head_uplink(self, ue: str, m: int, unit: int) -> Key:
        """The gradients of what went into the UE's last units go up."""
        sent = Gradients(unit, self.samples([ue], m))
        return self._put("head_uplink", ue, m, up(ue), sent, self._of("head_backward", ue, m))

    def step(self, model: str) -> None:
        """An optimiser step of every part of a model that went backward since the last one; right after, if it can."""
        for (whose, first, last), keys in list(self._backwards.items()):
            if whose == model:
                at = next(task.place for task in reversed(self._tasks) if task.key == keys[-1])
                before = self._last[at]
                key = keys[-1]._replace(kind=keys[-1].kind.replace("backward", "step"))
                at_once = before.key == keys[-1] or isinstance(before.work, Step)
                self._write(Task(key, at, Step(model, first, last), tuple(keys), at_once))
                del self._backwards[whose, first, last]

    def share_weights(self, members: Sequence[str], heirs: Sequence[str], *, replicas: bool = False) -> None:
        """The members' weights go up, are averaged, and go down to the heirs; so are ``replicas``, at the BS.

        Each member adds noise to its own first, if the plan says so.
        """
        mechanism = self.plan.noise("weights")
        for ue in members:
            sent = Weights(0, self.plan.cut_of(ue))
            if mechanism:
                self._put("noise", ue, 0, ue, Noise(sent.first, sent.last, mechanism), self._latest(ue))
            self._put("weights_up", ue, 0, up(ue), sent, self._latest(ue))
        work = Average(tuple(members), tuple(self._trained.pop(ue, 0) for ue in members), replicas)
        averaged = self._put("average", BS, 0, BS, work, self.join(members, 0, "weights_up"))
        for ue in heirs:
            came = self._put("weights_down", ue, 0, down(ue), Weights(0, self.plan.cut_of(ue)), (averaged,))
            self._put("load", ue, 0, ue, Load(), (came,))

    def move_up(self, senders: Sequence[str], first: int, last: int, *, model: str) -> None:
        """Units ``first + 1`` … ``last`` leave UEs; their mean, weighed by samples, is a part of a model at the BS."""
        momentum = self._with_momentum
        for ue in senders:
            given = self._put("give", ue, first, ue, Give(ue, first, last, momentum), ())
            self._put("move_up", ue, first, up(ue), Weights(first, last, momentum), (given,))
        work = Take(model, first, last, tuple(self.samples([ue]) for ue in senders), momentum)
        whose = senders[0] if model == replica(senders[0]) else BS
        self._put("take", whose, first, self._processor(model), work, self.join(senders, first, "move_up"))

    def move_down(self, heirs: Sequence[str], first: int, last: int, *, model: str) -> None:
        """Units ``first + 1`` … ``last`` of a model at the BS become a part of these UEs' own."""
        momentum = self._with_momentum and model != MEAN
        whose = heirs[0] if model == replica(heirs[0]) else BS
        given = self._put("give", whose, first, self._processor(model), Give(model, first, last, momentum), ())
        for ue in heirs:
            came = self._put("move_down", ue, first, down(ue), Weights(first, last, momentum), (given,))
            self._put("take", ue, first, ue, Take(ue, first, last, (1,), momentum), (came,))

    def catch_up(self, heirs: Sequence[str]) -> None:
        """UEs, and their replicas at the BS, get what was averaged last there, as far as their own cuts."""
        given = self._put("give", BS, 0, BS, Give(MEAN, 0, max(map(self.plan.cut_of, heirs))), ())
        for ue in heirs:
            cut, own = self.plan.cut_of(ue), replica(ue)
            came = self._put("move_down", ue, 0, down(ue), Weights(0, cut), (given,))
            self._put("take", ue, 0, ue, Take(ue, 0, cut, (1,)), (came,))
            self._put("take", ue, cut, self._processor(own), Take(own, cut, self.units, ()), ())

    def own_batch(self) -> None:
        """A batch of the BS's own data forward and backward through the whole model there."""
        size = self.plan.bs_batch
        work = Compute(BS, 0, self.units, size, size, mean_over=size)
        key = self._compute("bs_forward", BS, 0, BS, work)
        self._compute("bs_backward", BS, 0, BS, replace(work, backward=True, mean_over=0), (key,), at_once=True)

    def _processor(self, model: str) -> str:
        """Where a model at the BS is: at its UE's worker, where the plan has a worker for each."""
        return model if self.plan.workers == "per_ue" and model not in (BS, MEAN) else BS

    @property
    def shares(self) -> bool:
        """Whether there is somebody to share weights with: another UE that takes part, or is to come back."""
        return len(self.ues) > 1 or bool(self.plan.away)

    @property
    def _with_momentum(self) -> bool:
        return self.plan.moving is not None and self.plan.moving.momentum

    def _at_the_bs(
        self, kind: str, ues: Sequence[str], m: int, work: Compute, needs: tuple[Key, ...], at_once: bool = False
    ) -> Key:
        """A pass at the BS; it has the name of its UE where it is of one alone, and each UE of it finds it.

        A replica is computed by its UE's worker, where the plan has a worker for each.
        """
        place = self._processor(work.model)
        if place != BS:
            work = replace(work, among=len(self.ues))
        key = self._compute(kind, ues[0] if len(ues) == 1 else BS, m, place, work, needs, at_once)
        self._made.update({(kind, ue, m): key for ue in ues})
        return key

    def _compute(
        self,
        kind: str,
        ue: str,
        m: int,
        place: str,
        work: Compute,
        needs: tuple[Key, ...] = (),
        at_once: bool = False,
    ) -> Key:
        if work.last < self.units:
            work = replace(work, mean_over=0)
        key = self._put(kind, ue, m, place, work, needs, at_once)
        if work.backward:
            self._backwards.setdefault((work.model, work.first, work.last), []).append(key)
        return key

    def _put(
        self, kind: str, ue: str, m: int, place: str, work: Work, needs: tuple[Key, ...], at_once: bool = False
    ) -> Key:
        key = Key(self._turn, self._step, m, kind, ue)
        self._made[kind, ue, m] = key
        return self._write(Task(key, place, work, needs, at_once))

    def _write(self, task: Task) -> Key:
        if task.key in self._keys:
            raise ScheduleError(f"{task.key} is there twice", "begin(turn=…, step=…) tells batches apart")
        self._keys.add(task.key)
        self._tasks.append(task)
        self._last[task.place] = task
        return task.key

    def _latest(self, place: str) -> tuple[Key, ...]:
        """What was written last at a place, if anything."""
        return (self._last[place].key,) if place in self._last else ()

    def _of(self, kind: str, ue: str, m: int) -> tuple[Key, ...]:
        """What a word has made of this UE's micro-batch in this turn and step, if it has."""
        found = self._made.get((kind, ue, m))
        return () if found is None else (found,)
