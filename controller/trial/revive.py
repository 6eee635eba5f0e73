"""A base station that has died is started again, and made ready for what it goes on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from controller.trial.journal import Line
from controller.trial.session import Session
from testbed.compute import PERIOD_US, UNLIMITED
from testbed.deploy import BS, Deployment
from testbed.engine import Engine
from testbed.errors import GoneError, TestbedError, TrialError

MOST_RESTARTS = 3
"""So often a base station is started again without a round between that had not ended before."""
ANSWERS_S = 5.0
"""One that runs and gives no answer for so long is frozen."""


class Restarts:
    """Counts how often the base station was started again in a scheme, and when that was too often."""

    def __init__(self) -> None:
        self._count, self._furthest = 0, 0

    def another(self, lines: Sequence[Line], scheme: str, error: TestbedError) -> None:
        """Before the next one. TrialError when no new round has ended since the last so many."""
        ended = (one["round"] for one in lines if one["event"] == "round" and one["scheme"] == scheme)
        furthest = max(ended, default=0)
        if furthest > self._furthest:
            self._count, self._furthest = 0, furthest
        self._count += 1
        if self._count > MOST_RESTARTS:
            message = f"{error.message}; it was started again {MOST_RESTARTS} times, and no further round has ended"
            raise TrialError(message, error.hint or "see logs/bs.log in the run directory", (BS,)) from error


def gone(engine: Engine, deployment: Deployment, session: Session, error: TestbedError) -> bool:
    """Whether it is the base station that has died, or is frozen; not one that runs and has failed at its work."""
    before = deployment.agents[BS]
    try:
        now = engine.inspect(before.name)
    except GoneError:
        return False
    if now.status != "running" or now.pid != before.pid:
        return True
    return isinstance(error, TrialError) and BS in error.lost and not session.answers(BS, ANSWERS_S)


def revive(engine: Engine, deployment: Deployment) -> Deployment:
    """Starts the base station's container again, without a CPU limit while it gets ready; the deployment as it is
    then."""
    name = deployment.agents[BS].name
    engine.limit_cpu(name, PERIOD_US, UNLIMITED)
    engine.restart(name)
    return replace(deployment, agents={**deployment.agents, BS: engine.inspect(name)})


def told(error: TestbedError, from_round: int, wall_s: float) -> Mapping[str, Any]:
    """What the journal says of a restart, ``wall_s`` after the base station was found to be gone."""
    return {"from_round": from_round, "why": error.message, "wall_s": wall_s}
