"""Runs → the figures of a report, and what else its page shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from controller.judge.measured import after_warm_up
from controller.judge.record import Record
from controller.judge.results import Results
from controller.report.figures.accuracy import accuracies
from controller.report.figures.course import course
from controller.report.figures.figure import Figure
from controller.report.figures.rounds import Traced, measured_over_predicted
from controller.report.figures.series import Series, series
from controller.report.figures.shares import goodputs, idle_shares
from controller.report.figures.spreads import spreads
from controller.report.recorded import Recorded
from testbed.errors import InputError


@dataclass(frozen=True)
class Story:
    """One scheme of a run as it went: its rounds in time, and the pipelines of some of them."""

    name: str
    course: Figure
    pipelines: Mapping[int, Figure]


@dataclass(frozen=True)
class Report:
    """What a report shows. ``runs``: by the names that it gives them; ``asked``: rounds to draw beside the typical."""

    runs: Mapping[str, Recorded]
    asked: Sequence[int] = ()

    @cached_property
    def results(self) -> Mapping[str, Results]:
        """The results of each run."""
        return {run: found.results for run, found in self.runs.items()}

    @cached_property
    def series(self) -> Sequence[Series]:
        """Every scheme of every run of which a round was measured."""
        return series(self.results)

    @cached_property
    def overview(self) -> Sequence[Figure]:
        """What sets all schemes beside each other."""
        found = self.series
        return [*spreads(found), *accuracies(found), *idle_shares(found), *goodputs(found)] if found else []

    @cached_property
    def stories(self) -> Sequence[Story]:
        """What shows one scheme at a time."""
        return [_story(s, self.runs[s.run], self.asked) for s in self.series]

    @property
    def figures(self) -> Iterator[Figure]:
        """All of them."""
        yield from self.overview
        for story in self.stories:
            yield from (story.course, *story.pipelines.values())


def named(found: Sequence[Recorded]) -> dict[str, Recorded]:
    """Runs by the directory's last part, or all of it where two have the same. InputError for one given twice."""
    paths = [one.directory.resolve() for one in found]
    for path in paths:
        if paths.count(path) > 1:
            raise InputError(str(path), "was given twice", "give each run directory once")
    lasts = [path.name for path in paths]
    return {
        path.name if lasts.count(path.name) == 1 else _tail(path): one for path, one in zip(paths, found, strict=True)
    }


def _tail(path: Path) -> str:
    return "/".join(path.parts[1:])


def _story(s: Series, run: Recorded, asked: Sequence[int]) -> Story:
    record = run.records.get(s.label)
    broke = run.results.error if s.result.partial else None
    return Story(s.name, course(s, record.marks if record else (), broke), dict(_pipelines(s, record, asked)))


def _pipelines(s: Series, record: Record | None, asked: Sequence[int]) -> Iterator[tuple[int, Figure]]:
    """The typical round, and those that were asked for; none where the journal is not there."""
    if record is None:
        return
    for number in dict.fromkeys([typical(s), *(n for n in asked if n in record.ends)]):
        rows = record.rows(number)
        if rows:
            found = record.chain(number), record.predicted(number), record.ends[number].get("charged_s", 0.0)
            yield number, measured_over_predicted(Traced(s.name, number, list(record.plan.ues), rows, *found))


def typical(s: Series) -> int:
    """The number of the round of median length, round 1 left out as warm-up."""
    ordered = sorted(after_warm_up(s.result.rounds), key=lambda r: r.round_s)
    return ordered[(len(ordered) - 1) // 2].round
