"""How long a trial will still take on the wall clock."""

from __future__ import annotations

from controller.report.live.state import SchemeSoFar, Seen


def left_s(seen: Seen, now: float) -> float | None:
    """Wall seconds from ``now`` on, not below 0; None before it is known which schemes come.

    What was estimated before the trial holds for schemes to come, times what those so far took of their estimate.
    """
    if not seen.schemes:
        return None
    pace = _pace(seen)
    return sum(_left_s(scheme, pace, now) for scheme in seen.schemes.values() if not scheme.over)


def _left_s(scheme: SchemeSoFar, pace: float, now: float) -> float:
    rounds, done = scheme.coming.rounds, len(scheme.rows)
    if scheme.begun_at is None or scheme.until is None:
        elapsed_s = 0.0 if scheme.begun_at is None else now - scheme.begun_at
        return max(0.0, scheme.coming.wall_s * pace - elapsed_s)
    each_s = (scheme.until - scheme.begun_at) / done
    return max(0.0, each_s * (rounds - done) - (now - scheme.until))


def _pace(seen: Seen) -> float:
    """Wall seconds that rounds took, for each that they were estimated to take; 1 before any has ended."""
    took_s, estimated_s = 0.0, 0.0
    for scheme in seen.schemes.values():
        if scheme.begun_at is not None and scheme.until is not None:
            took_s += scheme.until - scheme.begun_at
            estimated_s += scheme.coming.wall_s * len(scheme.rows) / scheme.coming.rounds
    return took_s / estimated_s if estimated_s > 0 else 1.0
