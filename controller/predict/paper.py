"""A decision in the C²P²SL paper's own terms: bubble rate (eqs 16–18) and the constraints of P1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.predict.instance import Decision, Floats, Instance
from controller.predict.timing import decision_per_sample

# Solvers meet a binding constraint to about 1e-8; a millionth of its right side is still "holds".
TOLERANCE = 1e-6
PRINTED = ("C2", "C3", "C4")


@dataclass(frozen=True)
class RoundTimes:
    """Seconds that each task takes for a whole round, k micro-batches together: per UE (n,), and for the BS.

    A micro-batch of eqs 7–12 holds ``b_i / k`` samples, so each of its times is one k-th of these.
    """

    forward: Floats
    up: Floats
    down: Floats
    backward: Floats
    work: float

    @property
    def idle(self) -> float:
        """k times the idle time of eq. 17."""
        return float((self.forward + self.up).max() + (self.down + self.backward).max())

    def least(self, problem: Instance) -> float:
        """No round is shorter (s), whatever k: one processor, or one UE's half-duplex air, is busy that long."""
        air = (self.up.max(), self.down.max())
        air_s, ue_s = sum(air) if problem.duplex == "tdd" else max(air), (self.forward + self.backward).max()
        return float(max(self.work, air_s, ue_s))


def round_times(problem: Instance, decision: Decision) -> RoundTimes:
    """Eqs 7–12, summed over the micro-batches. A UE without samples takes no time, slot or no slot."""
    per, batch = decision_per_sample(problem, decision), decision.batch
    per_ue = (per.ue_forward, per.uplink, per.downlink, per.ue_backward)
    forward, up, down, backward = (np.multiply(batch, x, where=batch > 0, out=np.zeros(problem.n)) for x in per_ue)
    passes_s = per.ue_pass * np.minimum(batch, decision.micro_batches)
    work = float(batch.sum()) * (per.bs_forward + per.bs_backward)
    work += 2 * per.bs_pass * min(int(batch.max()), decision.micro_batches)
    return RoundTimes(forward + passes_s, up, down, backward + passes_s, work)


def bubble_rate(times: RoundTimes, micro_batches: int) -> float:
    """Eq. 16 with the idle time of eq. 17 and the work of eq. 18."""
    idle_s = times.idle / micro_batches
    return idle_s / (idle_s + times.work)


def constraints(problem: Instance, decision: Decision) -> dict[str, bool]:
    """Whether C2, C3 and C4 of P1 hold, and C4 as it takes for eq. 17 to be the idle time.

    C4 leaves out computing: where a UE's forward is slower than its uplink, or its backward slower than its downlink,
    the last gradient waits although C4 holds.
    """
    times, k = round_times(problem, decision), decision.micro_batches
    before, after = max(times.forward.max(), times.up.max()), max(times.down.max(), times.backward.max())
    return {
        "C2": bool((decision.batch <= problem.batch_cap(decision.cut)).all()),
        "C3": _at_most(before, times.work),
        "C4": _at_most((k - 1) / k * (times.up.max() + times.down.max()), times.work),
        "C4_corrected": _at_most((k - 1) / k * (before + after), times.work),
    }


def broken(problem: Instance, decision: Decision) -> tuple[str, ...]:
    """The constraints of P1 among C2, C3 and C4 that do not hold."""
    return tuple(name for name, holds in constraints(problem, decision).items() if not holds and name in PRINTED)


def _at_most(left: float, right: float) -> bool:
    return bool(left <= right * (1 + TOLERANCE))
