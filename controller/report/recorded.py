"""A run directory as far as it can be read: results, the record of each scheme, and what is missing, in words.

Trials that broke off, still run, lost a part of their files or were written by another version are read as well.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from agents.own import OwnError, set_folder
from agents.schedule.task import ScheduleError
from controller.judge.derive import end_of, results_of, scheme_result, summary_of
from controller.judge.measured import after_warm_up
from controller.judge.record import Record, asked, by_scheme
from controller.judge.results import Results, Round, SchemeResult
from controller.trial.journal import FILE, MISFITS, RESULTS, Line, read_as_far
from testbed.errors import InputError, RecordError

State = Literal["running", "ended", "broken off"]


@dataclass(frozen=True)
class Recorded:
    """What a run directory holds. ``state``: ``running`` where no end was written, so also when it was killed.

    ``records``: of each scheme that began and can be read, by label; ``missing``: sentences. A scheme that began may
    have no results yet, and one may have results (from ``results.json``) and no record. ``lost``: the agents for whose
    loss the trial broke off.
    """

    directory: Path
    results: Results
    state: State
    records: Mapping[str, Record] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the topology."""
        return str(self.results.topology.get("name", self.directory.name))


def recorded(directory: Path, judged: bool = True) -> Recorded:
    """The run directory. InputError where there is none; RecordError where nothing in it can be shown.

    Where it need not be ``judged``, the results have no schemes; that takes half of the time.
    """
    if not directory.is_dir():
        raise InputError(str(directory), "is no directory", "give the --out of a trial")
    set_folder(directory)
    try:
        lines, wrong = read_as_far(directory)
    except InputError as error:
        return _from_results(directory, error)
    missing = [f"{wrong}; what follows it is left out"] if wrong else []
    return _from_lines(directory, lines, missing, judged)


def _from_lines(directory: Path, lines: Sequence[Line], missing: list[str], judged: bool) -> Recorded:
    try:
        ended = end_of(lines)
        of, without = _schemes_of(lines, judged)
        results = results_of(lines, {label: one for label, (_, one) in of.items() if one is not None})
        state: State = "running" if ended is None else "broken off" if results.error else "ended"
        having = {label: record for label, (record, _) in of.items()}
        missing = [*missing, *without.values(), *_unfinished(results, state, having, {*having, *without})]
        lost = tuple(ended.get("lost", ())) if ended else ()
    except MISFITS as error:
        return _from_results(directory, InputError(f"{directory / FILE}", f"lacks {_named(error)}"))
    return Recorded(directory, results, state, having, tuple(missing), lost)


def _schemes_of(
    lines: Sequence[Line], judged: bool
) -> tuple[dict[str, tuple[Record, SchemeResult | None]], dict[str, str]]:
    """The record of each scheme with what follows from it; and which have none, and why."""
    found: dict[str, tuple[Record, SchemeResult | None]] = {}
    missing: dict[str, str] = {}
    for label, events in by_scheme(lines).items():
        try:
            record = Record(label, events)
            measured = record.rounds
            found[label] = record, scheme_result(record) if judged and measured else None
        except (OwnError, ScheduleError) as error:
            missing[label] = f"{label}: {error} ({error.hint})"
        except MISFITS as error:
            missing[label] = f"{label}: its lines in {FILE} lack {_named(error)}"
    return found, missing


def _unfinished(results: Results, state: State, of: Mapping[str, Record], begun: Collection[str]) -> Iterator[str]:
    """What a trial that is not over, or broke off, has not measured."""
    if state == "running":
        yield f"{FILE} has no end: the trial is still running, or was killed"
    if results.error:
        yield f"the trial broke off: {results.error}"
    measured = {label: len(one.rounds) for label, one in results.schemes.items() if one.partial}
    measured |= {label: len(record.ends) for label, record in of.items() if record.finish is None}
    for label, rounds in measured.items():
        yield f"{label} is not over: {rounds} round{'s' if rounds != 1 else ''} measured"
    for label, record in of.items():
        if "costs" not in record.begin:
            yield f"{label}: an older version wrote no costs of its tasks, so no predicted timeline can be drawn"
    for label in asked(results.topology):
        if label not in begun:
            yield f"{label} was not begun"


def _from_results(directory: Path, error: InputError) -> Recorded:
    """What ``results.json`` holds, as far as this version knows it; RecordError where that is nothing."""
    missing = [f"{error.message if error.path == str(directory) else error}: no pipelines, only what {RESULTS} holds"]
    try:
        data = json.loads((directory / RESULTS).read_text(encoding="utf-8"))
        schemes: dict[str, SchemeResult] = {}
        for label, one in data["schemes"].items():
            try:
                schemes[label] = _as_known(one)
            except ValidationError as wrong:
                missing.append(f"{label}: {RESULTS} has no {_named(wrong)} as this version knows it")
        whole = Results.model_validate({**data, "schemes": {}}, extra="ignore")
        results = whole.model_copy(update={"schemes": schemes})
        state: State = "broken off" if results.error else "ended"
        missing += _unfinished(results, state, {}, data["schemes"])
    except (OSError, *MISFITS) as wrong:
        message = f"{directory}: nothing can be shown: {error}, and {RESULTS} cannot be read either"
        raise RecordError(message, "give the --out of a trial") from wrong
    return Recorded(directory, results, state, {}, tuple(missing))


def _as_known(one: dict[str, Any]) -> SchemeResult:
    """A scheme's results as another version wrote them. The summary follows from the rounds. ValidationError."""
    rounds = [Round.model_validate(row, extra="ignore") for row in one.get("rounds", ())]
    summary = (
        {"summary": summary_of(rounds).model_dump()} if any(row.predicted_s for row in after_warm_up(rounds)) else {}
    )
    return SchemeResult.model_validate({**one, **summary}, extra="ignore")


def _named(error: Exception) -> str:
    """What an error says is not there."""
    if isinstance(error, ValidationError):
        return ".".join(map(str, error.errors()[0]["loc"]))
    return str(error)
