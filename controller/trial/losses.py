"""How it is found that a UE is lost while agents are at work: by what the engine tells, and by what does not come."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agents.schedule.task import BS, Key

LATE, PATIENCE_S = 1.5, 5.0
"""A segment is late after so many times its predicted length and so many wall seconds more: then agents are looked
at."""
QUOTA_LATE = 10.0
"""Instead of ``LATE`` where the kernel's own scheduling sets the pace, which no prediction knows well."""
STILL_S = 2.0
"""Wall seconds in which nothing at all must have happened, at two looks, before somebody is to blame."""
LOOK_S = 2.0
"""Wall seconds that an agent has to say how it goes; it has a thread for that alone."""

LossKind = Literal["killed", "oom", "frozen", "cut"]
Looks = Mapping[str, Mapping[str, Any]]
"""What each agent that gave an answer says of its round: ``busy``, ``progress`` and ``waits_for``."""


@dataclass(frozen=True)
class Loss:
    """A UE that is lost: how and why, and when that was found (monotonic ns) and had begun, where that is known.

    ``came``: what the BS had of it in the round that was under way. ``late``: optimiser steps that others had made
    before, on gradients of a loss over all samples and not over those that came.
    """

    ue: str
    kind: LossKind
    why: str
    found_ns: int
    began_ns: int | None = None
    came: tuple[Key, ...] = ()
    late: tuple[Key, ...] = ()


def patience_s(predicted_s: float, dilation: float, paced: bool) -> float:
    """Wall seconds until agents are looked at which should take so long (emulated) for what they do."""
    return (LATE if paced else QUOTA_LATE) * predicted_s * dilation + PATIENCE_S


class Lookout:
    """Decides at each look at the agents who owe an answer whom the others need not wait for any more."""

    def __init__(self, patience_s: float, in_segment: bool = False) -> None:
        """``in_segment``: they are in a segment of a round, in which something must always be computed or come."""
        self._patience_s, self._in_segment = patience_s, in_segment
        self.wait_anew()

    def wait_anew(self) -> None:
        """Those who are left get the whole time again."""
        self._look_at, self._deaf = time.monotonic() + self._patience_s, 0
        self._before: Mapping[str, int] = {}

    @property
    def due(self) -> bool:
        """Whether it is time to look."""
        return time.monotonic() >= self._look_at

    def lost(self, waiting: Collection[str], looks: Looks) -> dict[str, tuple[LossKind, str]]:
        """Of the UEs that owe an answer those that are lost: who does not say how it goes, or keeps the others waiting.

        Nobody is to blame while anything is computed or comes. BS among them: it gave no answer at two looks.
        """
        self._look_at = time.monotonic() + STILL_S
        silent = [name for name in waiting if name not in looks]
        self._deaf = self._deaf + 1 if BS in silent else 0
        if self._deaf > 1:
            return {BS: ("frozen", f"does not say how it goes, {LOOK_S:.0f} s after it was asked")}
        found: dict[str, tuple[LossKind, str]] = {
            name: ("frozen", "fell silent: it runs, and gives no answer") for name in silent if name != BS
        }
        now = {name: look["progress"] for name, look in looks.items()}
        still = now == self._before and not any(look["busy"] for look in looks.values())
        self._before = now
        if self._in_segment and not silent and still:
            found = {ue: ("cut", "is there, and nothing goes over the air") for ue in _owing(waiting, looks)}
        return found


def _owing(waiting: Collection[str], looks: Looks) -> Sequence[str]:
    """Whom the BS waits for; all that are not done, when it is."""
    return [*looks[BS]["waits_for"]] if BS in looks else [name for name in waiting if name != BS]
