"""How long a trial will take on the wall clock: an estimate, before anything is started."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.planners.planning import Planned
from testbed import data
from testbed.compute import Calibration
from testbed.topology import Topology

START_S, START_OF_AN_AGENT_S = 5.0, 0.7
"""From the first container until all agents are ready."""
OF_A_ROUND_S, OF_A_SEGMENT_S = 0.06, 0.06
"""What is not emulated: messages of the controller around a round, and the lead with which a segment starts."""


TEST_SETS = 8
"""So many times, at most, the test set is gone through before the last round, however many models there are."""


@dataclass(frozen=True)
class Duration:
    """Wall seconds of the rounds and evaluations of each scheme, and of all that is before and after."""

    schemes_s: Mapping[str, float]
    start_s: float

    @property
    def wall_s(self) -> float:
        """The whole trial."""
        return self.start_s + sum(self.schemes_s.values())

    def __str__(self) -> str:
        longest = max(self.schemes_s, key=lambda label: self.schemes_s[label])
        return f"about {in_words(self.wall_s)}, of which {longest} takes {in_words(self.schemes_s[longest])}"


def duration(
    topology: Topology, planned: Sequence[Planned], dilation: float, calibration: Calibration, cores: int
) -> Duration:
    """About how long the trial takes at this dilation."""
    schemes_s: dict[str, float] = {}
    for one in planned:
        schedule = one.schedule(1)
        between_s = OF_A_ROUND_S + OF_A_SEGMENT_S * schedule.segments
        models, test = 1 if schedule.holders else max(1, len(schedule.ues)), data.info(topology.data).test
        on_the_way = (one.rounds - 1) // topology.training.every(one.rounds)
        images = models * (test + on_the_way * images_each(models, test, last=False))
        evaluated_s = calibration.forward_s(1, len(calibration.units), images) / cores
        schemes_s[one.label] = one.rounds * (one.timeline.round_s * dilation + between_s) + evaluated_s
    return Duration(schemes_s, START_S + START_OF_AN_AGENT_S * (len(topology.ues) + 1))


def images_each(models: int, test: int, last: bool) -> int:
    """Of how many of the ``test`` images each of so many models is asked: of all at the last, of a share on the way."""
    return test if last else min(test, math.ceil(TEST_SETS * test / models))


def in_words(seconds: float) -> str:
    """A duration with the unit that fits: 45 s, 12 min, 3.4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
