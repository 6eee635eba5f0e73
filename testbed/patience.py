"""How long an engine that refuses, drops or fails what it is asked is asked again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
"""Before each further try; the last one again and again."""
FAILURES = 4
"""An engine that answers, but with a failure of its own, is asked no more often than this."""
AWAY_S = 45.0
"""An engine that has answered nothing for so long is given up. One that restarts ends its containers first."""


class Fault(Enum):
    """What keeps a call from being done: nobody answers, or the engine says that it has failed."""

    AWAY = 1
    FAILED = 2


class Patience:
    """Calls of one engine, each tried again while that may help; all of its threads wait for an engine together."""

    def __init__(
        self,
        fault: Callable[[Exception], Fault | None],
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``fault``: what an error means, None where the same call would fail again."""
        self._fault, self._pause, self._clock = fault, pause, clock
        self._away_since: float | None = None
        self._lock = threading.Lock()

    def __call__(self, call: Callable[[], Any], done: Callable[[], bool] | None = None) -> Any:
        """What a call gives. The error that it raises last, when it is given up.

        ``call`` may be done twice without harm. Where it may not, ``done`` looks whether it was done although no
        answer came; it then gives None.
        """
        tries = failures = 0
        while True:
            try:
                answer = call()
            except Exception as error:
                fault = self._fault(error)
                failures += fault is Fault.FAILED
                if fault is None or failures == FAILURES or (fault is Fault.AWAY and self._given_up()):
                    raise
            else:
                self._answered()
                return answer
            self._pause(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
            tries += 1
            if done is not None and done():
                return None

    def _answered(self) -> None:
        with self._lock:
            self._away_since = None

    def _given_up(self) -> bool:
        """Whether the engine has been away for too long."""
        with self._lock:
            now = self._clock()
            if self._away_since is None:
                self._away_since = now
            return now - self._away_since >= AWAY_S
