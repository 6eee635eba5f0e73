"""Which UEs take part in the rounds of a scheme: who was lost is left out; who is there again joins between rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from agents.job import Job
from agents.plan import Plan
from agents.schedule.task import Schedule
from agents.schedule.without import Contribution, without
from agents.wire.mgmt import Report
from controller.planners.replanning import Course
from controller.trial.losses import Loss
from controller.trial.prepare import Prepared
from controller.trial.session import Session
from testbed import links
from testbed.compute import PERIOD_US, UNLIMITED
from testbed.engine import Engine
from testbed.errors import EngineError, LinkError

Checkpointed = Callable[[str, str], Report | None]
"""What the last checkpoint of a scheme holds of an agent; None where there is none."""


@dataclass(frozen=True)
class Returned:
    """A UE that takes part again. ``weights``: its ``own``, the newest ``shared`` ones, those of a ``checkpoint``, or
    ``initial`` ones."""

    ue: str
    weights: str


class Members:
    """The UEs of a scheme that goes on; ``course`` gives the plans of those who are there."""

    def __init__(
        self,
        engine: Engine,
        prepared: Prepared,
        session: Session,
        course: Course,
        most_bytes: int,
        drawn: Mapping[str, int],
        checkpointed: Checkpointed,
    ) -> None:
        """``drawn``: how many samples each UE has drawn in this scheme until now, at whose end the checkpoint is."""
        self._engine, self._prepared, self._session, self._course = engine, prepared, session, course
        self._most_bytes, self._checkpointed = most_bytes, checkpointed
        self._drawn, self._saved = dict(drawn), dict(drawn)
        self._before = [replace(loss, came=(), late=()) for ue, loss in session.away.items() if ue not in course.away]

    def lost(self) -> list[Loss]:
        """The UEs that were lost since this was asked last: they have no part in the rounds that follow.

        At first those too that were away already when these rounds began.
        """
        before, self._before = self._before, []
        new = self._session.take_losses()
        found = [*(loss for loss in before if loss.ue not in {one.ue for one in new}), *new]
        for loss in found:
            self._course.lose(loss.ue)
            with suppress(EngineError):  # whoever starts it again need not wait long until it is ready
                self._engine.limit_cpu(self._session.deployment.agents[loss.ue].name, PERIOD_US, UNLIMITED)
        return found

    def returned(self, job: Job) -> Iterator[Returned]:
        """The UEs that are there again before a round, each with its link, its CPU limit, and the job until now."""
        for ue in list(self._session.away):
            if ue in job.plan.clusters or not self._session.answers_again(ue):
                continue
            self.set_links(job.plan)
            kept = self._session.back(ue, job, self._most_bytes, self._drawn.get(ue, 0))
            if kept is None:
                continue
            self._course.join(ue)
            name = self._session.deployment.agents[ue].name
            self._engine.limit_cpu(name, PERIOD_US, self._prepared.quotas_us[ue])
            yield Returned(ue, self._weights(job, ue, kept))

    def saved(self) -> None:
        """A checkpoint was written."""
        self._saved = dict(self._drawn)

    def set_links(self, plan: Plan) -> None:
        """Shapes the links of all whose containers run, also of those who are away: a link that is cut stays so."""
        while True:
            linked = self._session.linked
            try:
                links.set_links(self._engine, linked, plan, self._prepared.topology.radio)
                return
            except LinkError:
                if linked == self._session.linked:  # it is not that one has ended meanwhile
                    raise

    def taken(self, shares: Mapping[str, Contribution]) -> None:
        """Counts the samples that each UE has drawn in a round, whether they came or were lost."""
        for ue, share in shares.items():
            self._drawn[ue] = self._drawn.get(ue, 0) + share.came + share.lost

    def _weights(self, job: Job, ue: str, kept: bool) -> str:
        if job.schedule(1).shares_weights:
            return "shared"
        if not kept and (found := self._checkpointed(job.label, ue)) is not None:
            self._session.restore({ue: found}, self._drawn.get(ue, 0) - self._saved.get(ue, 0))
            return "checkpoint"
        return "own" if kept else "initial"


def left_of(schedule: Schedule, losses: Sequence[Loss]) -> Schedule:
    """What was left of a round in which these UEs were lost."""
    for loss in losses:
        schedule = without(schedule, loss.ue, loss.came)
    return schedule
