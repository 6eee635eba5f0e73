"""The schemes of one run, or of several, under the names that figures give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.judge.measured import after_warm_up, spread
from controller.judge.results import Results, SchemeResult, Spread


@dataclass(frozen=True)
class Series:
    """A scheme of a run; ``name`` tells it from all others."""

    name: str
    run: str
    label: str
    result: SchemeResult

    @property
    def bubble_rate(self) -> Spread:
        """The spread of the bubble rate over the rounds that medians are over."""
        return spread([r.bubble_rate for r in after_warm_up(self.result.rounds)])


def series(runs: Mapping[str, Results]) -> list[Series]:
    """All schemes, those with the same label beside each other; of several runs each names its own."""
    labels = dict.fromkeys(label for results in runs.values() for label in results.schemes)
    return [
        Series(label if len(runs) == 1 else f"{label} · {run}", run, label, results.schemes[label])
        for label in labels
        for run, results in runs.items()
        if label in results.schemes
    ]
