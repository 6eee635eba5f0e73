"""Tasks, and a round of them: each has a key, a place, its work, and the keys that must be done before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from agents.schedule import segments

BS = "bs"
EVERYBODY = "all"
"""The UE in the key of a broadcast."""
MEAN = "mean"
"""The name of the model that the BS has averaged last."""
BROADCAST_PLACE = "air/down"
_UP, _DOWN = "/up", "/down"


class ScheduleError(ValueError):
    """A schedule that cannot be done, or loses samples; the text names the task. ``hint`` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Key(NamedTuple):
    """Which task of a round. ``ue`` is whom it is for: a UE, ``bs`` for several of them, ``all`` for a broadcast."""

    turn: int
    step: int
    micro_batch: int
    kind: str
    ue: str

    def __str__(self) -> str:
        return f"{self.kind} of {self.ue}, turn {self.turn}, step {self.step}, micro-batch {self.micro_batch}"

    @staticmethod
    def of(value: Sequence[Any]) -> Key:
        """The key that came as a list over the wire. ValueError when it is none."""
        turn, step, micro_batch, kind, ue = value
        if not all(isinstance(n, int) for n in (turn, step, micro_batch)) or not isinstance(kind, str):
            raise ValueError(f"{value!r} is no key of a task")
        return Key(turn, step, micro_batch, kind, str(ue))


@dataclass(frozen=True)
class Compute:
    """A pass through units ``first + 1`` … ``last`` of a model.

    ``model``: whose weights, a UE's name, ``bs``, or ``bs/ue1`` for a replica at the BS. ``rows`` is how many
    are computed, ``samples`` how many are trained; they differ where the gradients of ``paired`` rows of each UE are
    aggregated, in the way of ``aggregate`` (EPSL). A forward pass through the last unit of the model ends in the loss:
    a sum over samples divided by ``mean_over``. Samples get ``noise`` first, by this mechanism, unless it is empty.
    ``among``: a worker of the BS does it, one of so many that share its speed evenly.
    """

    model: str
    first: int
    last: int
    samples: int
    rows: int
    backward: bool = False
    mean_over: int = 0
    paired: int = 0
    aggregate: str = ""
    noise: str = ""
    among: int = 1


@dataclass(frozen=True)
class Noise:
    """Noise, by this mechanism, on the change of the weights of a model's units ``first + 1`` … ``last``."""

    first: int
    last: int
    mechanism: str


@dataclass(frozen=True)
class Step:
    """An optimiser step of a model's units ``first + 1`` … ``last`` on the gradients added up since the one before."""

    model: str
    first: int
    last: int


@dataclass(frozen=True)
class Average:
    """Federated averaging of the models of ``members``, weighed by the ``samples`` that each was trained on.

    ``replicas``: the rest of each member's model is averaged at the BS too, and goes to all replicas.
    """

    members: tuple[str, ...]
    samples: tuple[int, ...]
    replicas: bool


@dataclass(frozen=True)
class Load:
    """Taking over the weights that have come."""


@dataclass(frozen=True)
class Give:
    """Units ``first + 1`` … ``last`` of a model leave it: they are sent away, with their ``momentum`` or without.

    Of the model ``MEAN`` copies are sent.
    """

    model: str
    first: int
    last: int
    momentum: bool = False


@dataclass(frozen=True)
class Take:
    """Units ``first + 1`` … ``last`` of a model are those that have come, with their ``momentum`` or without.

    Where several come, they are averaged, weighed by ``samples``.
    """

    model: str
    first: int
    last: int
    samples: tuple[int, ...]
    momentum: bool = False


@dataclass(frozen=True)
class Activations:
    """What comes out of unit ``unit`` for so many samples, with their labels or without."""

    unit: int
    samples: int
    labels: bool


@dataclass(frozen=True)
class Gradients:
    """The loss's gradients of what comes out of unit ``unit``, for so many samples.

    ``weighted``: they are everybody's, and a UE takes its share λ of them.
    """

    unit: int
    samples: int
    weighted: bool = False


@dataclass(frozen=True)
class Weights:
    """The weights of units ``first + 1`` … ``last``, and with them their ``momentum`` if so."""

    first: int
    last: int
    momentum: bool = False


Work = Compute | Noise | Step | Average | Load | Give | Take | Activations | Gradients | Weights
Transfer = Activations | Gradients | Weights


@dataclass(frozen=True)
class Task:
    """One thing that happens at a place: a processor (``ue1``, ``bs``) or a link (``ue1/up``, ``air/down``).

    It starts when all that it ``needs`` is done and its place is free. One that ``continues`` the task listed before
    it at its place follows it at once.
    """

    key: Key
    place: str
    work: Work
    needs: tuple[Key, ...] = ()
    continues: bool = False

    @cached_property
    def computes(self) -> bool:
        """Whether it takes a processor's time."""
        return isinstance(self.work, Compute | Noise)

    @cached_property
    def transfers(self) -> bool:
        """Whether it takes a link's time."""
        return is_link(self.place)

    @cached_property
    def agent(self) -> str:
        """Who does it: the owner of the processor, or the sender."""
        return sender(self.place)


def up(ue: str) -> str:
    """The link from a UE to the BS."""
    return f"{ue}{_UP}"


def down(ue: str) -> str:
    """The link from the BS to a UE."""
    return f"{ue}{_DOWN}"


def is_link(place: str) -> bool:
    """Whether a place is a link and not a processor."""
    return place.endswith((_UP, _DOWN))


def goes_up(place: str) -> bool:
    """Whether a place is a link from a UE to the BS."""
    return place.endswith(_UP)


def goes_down(place: str) -> bool:
    """Whether a place is a link from the BS to UEs."""
    return place.endswith(_DOWN)


def owner(place: str) -> str:
    """The UE of a link or processor; ``bs`` for the BS and its workers, ``air`` for broadcasts."""
    return place.partition("/")[0]


def at_the_bs(place: str) -> bool:
    """Whether a place is a processor of the BS."""
    return owner(place) == BS


def workers(places: Iterable[str]) -> int:
    """How many processors the BS has among these places; 1 where there is none."""
    return max(1, len({place for place in places if at_the_bs(place)}))


def sender(place: str) -> str:
    """The agent that does what happens at a place."""
    return BS if goes_down(place) else owner(place)


@dataclass(frozen=True)
class Schedule:
    """One round. A place does its tasks in the order listed, or, if it is in ``first_ready``, as they get ready.

    ``drawn``: an order in it was drawn for this round, so that others differ. ``segments_of_whole``: where it is what
    is left of another one, the segments of that, which its tasks keep.
    """

    tasks: tuple[Task, ...]
    first_ready: frozenset[str] = frozenset()
    drawn: bool = False
    segments_of_whole: Mapping[Key, int] | None = field(default=None, compare=False)

    @cached_property
    def by_key(self) -> Mapping[Key, Task]:
        """Every task by its key."""
        return {task.key: task for task in self.tasks}

    @cached_property
    def ues(self) -> tuple[str, ...]:
        """The UEs that have something to do, in the order in which they are listed."""
        return tuple(dict.fromkeys(o for t in self.tasks if (o := owner(t.place)) not in (BS, "air")))

    @cached_property
    def holders(self) -> tuple[str, ...]:
        """The UEs that get shared weights last; nobody where weights are never shared, or all that should were lost."""
        last = max((task.key.turn for task in self.tasks if isinstance(task.work, Average)), default=0)
        return tuple(task.place for task in self.tasks if isinstance(task.work, Load) and task.key.turn == last)

    @cached_property
    def shares_weights(self) -> bool:
        """Whether weights are averaged and handed on."""
        return any(isinstance(task.work, Average) for task in self.tasks)

    @cached_property
    def at(self) -> Mapping[str, tuple[Task, ...]]:
        """The tasks of each place, in order. A broadcast is at the link of each UE as well, which it keeps busy."""
        found: dict[str, list[Task]] = {}
        for task in self.tasks:
            for place in self.occupied(task):
                found.setdefault(place, []).append(task)
        return {place: tuple(tasks) for place, tasks in found.items()}

    def needing(self, key: Key) -> Sequence[Task]:
        """The tasks that need this one."""
        return self._needing.get(key, ())

    def processors(self, agent: str) -> tuple[str, ...]:
        """The places at which an agent computes, in the order in which they are listed."""
        return tuple(place for place in self.at if not is_link(place) and owner(place) == agent)

    def occupied(self, task: Task) -> tuple[str, ...]:
        """The places that are busy while a task is done."""
        if task.place != BROADCAST_PLACE:
            return (task.place,)
        return (task.place, *(down(ue) for ue in self.receivers(task)))

    def receivers(self, task: Task) -> tuple[str, ...]:
        """Who a transfer goes to: those who need it. Nobody for what is no transfer."""
        if not task.transfers:
            return ()
        if task.place == BROADCAST_PLACE:
            return self._hearers.get(task.key, ())
        return (BS,) if goes_up(task.place) else (owner(task.place),)

    def sources(self, gradients: Task) -> tuple[str, ...]:
        """The UEs from whose activations the BS has made these gradients."""
        back = (self.by_key[key] for key in gradients.needs if not self.by_key[key].transfers)
        forward = (self.by_key[key] for task in back for key in task.needs if not self.by_key[key].transfers)
        return tuple(key.ue for task in forward for key in task.needs if isinstance(self.by_key[key].work, Activations))

    @cached_property
    def before(self) -> Mapping[Key, Sequence[Key]]:
        """For each task those that must be done first: what it needs, and the one before it where order counts."""
        found = {task.key: list(task.needs) for task in self.tasks}
        for place, tasks in self.at.items():
            for first, then in pairwise(tasks):
                if then.continues or place not in self.first_ready:
                    found[then.key].append(first.key)
        return found

    @cached_property
    def ordered(self) -> tuple[Task, ...]:
        """The tasks so that each comes after all that must be done first. ScheduleError names a cycle."""
        left = {key: len(keys) for key, keys in self.before.items()}
        after: dict[Key, list[Key]] = {key: [] for key in left}
        for key, keys in self.before.items():
            for one in keys:
                if one not in after:
                    raise ScheduleError(f"{key} needs {one}, which is not there", "add that task first")
                after[one].append(key)
        ready = [task.key for task in self.tasks if not left[task.key]]
        for key in ready:
            for one in after[key]:
                left[one] -= 1
                if not left[one]:
                    ready.append(one)
        if len(ready) < len(left):
            raise ScheduleError(f"these tasks wait for each other: {self._cycle(left)}", "write them in another order")
        return tuple(self.by_key[key] for key in ready)

    @cached_property
    def segment_of(self) -> Mapping[Key, int]:
        """The segment of each task, from 0: all of one are started at a common instant, when those before are done."""
        if self.segments_of_whole is not None:
            return self.segments_of_whole
        return segments.of(self)

    @cached_property
    def segments(self) -> int:
        """How many segments there are."""
        return max(self.segment_of.values(), default=0) + 1

    def _cycle(self, left: Mapping[Key, int]) -> str:
        """One cycle among the tasks that could not be put in order."""
        key = next(key for key, count in left.items() if count)
        seen: dict[Key, None] = {}
        while key not in seen:
            seen[key] = None
            key = next(one for one in self.before[key] if left[one])
        path = list(seen)
        return "; ".join(str(one) for one in path[path.index(key) :])

    @cached_property
    def _needing(self) -> Mapping[Key, Sequence[Task]]:
        found: dict[Key, list[Task]] = {}
        for task in self.tasks:
            for key in task.needs:
                found.setdefault(key, []).append(task)
        return found

    @cached_property
    def _hearers(self) -> Mapping[Key, tuple[str, ...]]:
        broadcasts = {task.key for task in self.tasks if task.place == BROADCAST_PLACE}
        found: dict[Key, dict[str, None]] = {key: {} for key in broadcasts}
        for task in self.tasks:
            for key in broadcasts.intersection(task.needs) if broadcasts else ():
                found[key][task.agent] = None
        return {key: tuple(agents) for key, agents in found.items()}

    def knows(self, agent: str, task: Task) -> bool:
        """Whether an agent learns at once that a task is done: it did it itself, or it received what was sent."""
        return agent in self.receivers(task) if task.transfers else agent == task.agent
