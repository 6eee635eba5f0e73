"""Watching a trial that runs elsewhere, or ran before: from what it writes, as far as it has got."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agents.plan import Plan
from controller.cli import main
from controller.judge.derive import derive
from controller.trial import replay
from controller.trial.follow import EVERY_S, follow
from controller.trial.journal import FILE, RESULTS, read
from controller.trial.replay import KILLED, told
from controller.trial.watch import (
    Changed,
    Evaluated,
    Learned,
    RoundBegins,
    RoundEnded,
    SchemeBegins,
    SchemeEnded,
    Stage,
    TrialBegins,
    TrialEnded,
    Warned,
    silent,
)
from controller.trial.whereabouts import Run, findable, names, run_into, run_of
from testbed.errors import InputError, TrialError
from testbed.kept import state_folder
from testbed.loading import parse
from tests import recorded

TOPOLOGY = """
name: told
training: {batch: 24, rounds: 3, evaluate_every: 2}
radio: {bandwidth_mhz: 5}
base_station: {clock_ghz: 4, flops_per_cycle: 1.5}
ues: [{name: ue1, distance_m: 120}, {name: ue2, distance_m: 250}]
dynamics: {shadowing_db: 6, compute_jitter: 0.3}
replan: {every: 1}
schemes: [{scheme: psl, replan: false}, {scheme: psl, cut: 2, planner: ao, label: anew}]
"""
BEGIN = TrialBegins("told", ("ue1",), 1.0, (), 0.0)


@pytest.fixture(scope="module")
def trials(tmp_path_factory) -> Callable[[bool], Path]:
    """The run directory of a trial that ran to its end, or broke off in its last scheme."""
    folder = tmp_path_factory.mktemp("trials")
    topology = parse(TOPOLOGY, "test")
    for name, whole in (("whole", True), ("broken", False)):
        recorded.write(folder / name, topology, noise=0.02, whole=whole)
    return lambda whole: folder / ("whole" if whole else "broken")


@pytest.fixture(autouse=True)
def _own_state(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def of(kind: type, events: list) -> list:
    return [event for event in events if isinstance(event, kind)]


def test_a_journal_tells_what_was_told_when_it_was_written(trials):
    events, results = list(told(trials(True), None)), derive(read(trials(True)))
    (begin,) = of(TrialBegins, events)
    assert (begin.name, begin.ues, [one.label for one in begin.coming]) == ("told", ("ue1", "ue2"), ["psl", "anew"])
    for label, result in results.schemes.items():
        rounds = [event for event in of(RoundEnded, events) if event.label == label]
        assert [event.row for event in rounds] == result.rounds
        for ue, found in result.ues.items():
            idle_s = [event.idle[ue] * event.row.round_s for event in rounds[1:]]
            assert sum(idle_s) / len(idle_s) == pytest.approx(found.idle_s)
    assert [(event.label, event.result) for event in of(SchemeEnded, events)] == list(results.schemes.items())
    begins, ends = of(RoundBegins, events), of(RoundEnded, events)
    assert [(b.label, b.number, b.predicted_s) for b in begins] == [
        (e.label, e.row.round, e.row.predicted_s) for e in ends
    ]
    assert all(begun.at < ended.at for begun, ended in zip(begins, ends, strict=True))
    assert [(event.label, event.number) for event in of(Evaluated, events)] == [
        ("psl", 2),
        ("psl", 3),
        ("anew", 2),
        ("anew", 3),
    ]
    made = {one.round: one.plan for one in results.schemes["anew"].replanned if one.plan}
    assert made, "or the scene has no plan that is made anew"
    assert [(e.label, e.number) for e in of(Changed, events) if e.kind == "plan"] == [("anew", n) for n in made]
    assert begins[-1].plan == Plan.from_json(made[max(made)])
    assert events[-1] == TrialEnded()


def test_a_trial_that_broke_off_says_why_and_whom_it_lost(trials):
    assert list(told(trials(False), None))[-1] == TrialEnded("ue1 stopped with exit status 137", ("ue1",))


def test_older_journals_have_no_beginnings_of_rounds(trials, tmp_path):
    lines = [line for line in read(trials(True)) if line["event"] != "round_begins"]
    lines[0] = {key: value for key, value in lines[0].items() if key not in ("coming", "at")} | {"version": 1}
    for line in lines[1:]:
        line.pop("at", None)
    (tmp_path / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    events = list(told(tmp_path, None))
    assert len(of(RoundEnded, events)) == 6
    assert [(one.label, one.rounds) for one in events[0].coming] == [("psl", 3), ("anew", 3)]


class Growing:
    """A file that gets another piece each time that it is waited for."""

    def __init__(self, path: Path, pieces: Iterator[bytes]) -> None:
        self._path, self._pieces, self.alive = path, pieces, True
        path.write_bytes(next(pieces))

    def pause(self, seconds: float) -> None:
        assert seconds == EVERY_S
        piece = next(self._pieces, None)
        if piece is None:
            self.alive = False
        else:
            with self._path.open("ab") as file:
                file.write(piece)

    def lines(self) -> list[dict]:
        return list(follow(self._path, lambda: self.alive, self.pause))


def test_a_file_is_followed_line_by_line_as_they_become_whole(tmp_path):
    text = b'{"event": "a"}\n{"event": "b"}\n{"event": "end"}\n{"event": "never"}\n'
    pieces = iter([text[:5], text[5:20], text[20:]])
    assert [line["event"] for line in Growing(tmp_path / "f", pieces).lines()] == ["a", "b", "end", "never"]
    later = iter([text[:40], text[40:47], b"", text[47:48]])
    assert [line["event"] for line in Growing(tmp_path / "f", later).lines()] == ["a", "b", "end"]


def test_following_ends_when_nobody_is_left_who_writes(tmp_path):
    assert [line["event"] for line in Growing(tmp_path / "f", iter([b'{"event": "a"}\n{"ev']).__iter__()).lines()] == [
        "a"
    ]


def test_what_cannot_be_followed_is_named(tmp_path):
    file = tmp_path / FILE
    with pytest.raises(InputError, match="No such file"):
        list(follow(file, lambda: True))
    file.write_text('{"event": "a"}\nnonsense\n')
    with pytest.raises(InputError, match=f"{FILE}:2: is no JSON"):
        list(follow(file, lambda: True))
    file.write_text('{"event": "a"}\n' * 5)
    alive = iter([True, True])
    with pytest.raises(TrialError, match="was begun anew"):
        list(follow(file, lambda: next(alive, False), lambda _: file.write_text("{}\n") and None))


def test_a_trial_is_found_by_name_and_directory_while_it_runs(tmp_path):
    with findable("cell", tmp_path, silent):
        run = run_of("cell")
        assert run is not None
        assert (run.out, run.alive, run_into(tmp_path), names()) == (tmp_path, True, run, ["cell"])
    assert run_of("cell") == replace(run, ended=True), "and known afterwards"
    assert not run_of("cell").alive, "though this process goes on"
    assert run_of("other") is run_into(tmp_path / "other") is None


def test_a_second_trial_of_a_name_does_not_take_the_place_of_one_that_runs(tmp_path):
    with findable("cell", tmp_path / "one", silent):
        with findable("cell", tmp_path / "two", silent):
            pass
        assert run_of("cell").out == tmp_path / "one"
    with findable("cell", tmp_path / "two", silent):
        pass
    assert run_of("cell").out == tmp_path / "two"


def test_a_process_with_the_number_of_one_that_is_dead_is_another_one(tmp_path):
    assert not Run(tmp_path, tmp_path, os.getpid(), "before").alive
    assert not Run(tmp_path, tmp_path, 2**22 + 1, "").alive


def test_a_trial_runs_where_nothing_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    seen = []
    with findable("cell", tmp_path, seen.append) as watcher:
        watcher(Stage("planning"))
    assert seen == [Stage("planning")]


def test_what_came_before_the_journal_is_told_too(trials, tmp_path):
    early = (Stage("planning"), Warned("ue2 has hardly any samples"), Learned("D = 1"), Stage("starting containers"))
    with findable("told", trials(True), silent) as watcher:
        for event in (*early, BEGIN, Stage("taking everything down")):
            watcher(event)
    events = list(told(trials(True), run_of("told")))
    assert tuple(events[: len(early)]) == early
    assert isinstance(events[len(early)], TrialBegins)
    assert events[-1] == TrialEnded()


def test_a_trial_that_failed_before_its_rounds_says_why(tmp_path):
    with pytest.raises(TrialError), findable("cell", tmp_path, silent) as watcher:
        watcher(Stage("waiting for the agents"))
        raise TrialError("ue2 did not get ready in 180 s")
    assert list(told(tmp_path, run_of("cell"))) == [
        Stage("waiting for the agents"),
        TrialEnded("ue2 did not get ready in 180 s"),
    ]


def test_a_testbed_that_was_killed_is_not_waited_for(trials, tmp_path):
    shutil.copy(trials(True) / FILE, tmp_path)
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-30])
    beginning = tmp_path / "runs.jsonl"
    for before in ("", '{"event": "rounds"}\n'):
        beginning.write_text(f'{{"event": "run"}}\n{before}')
        events = list(told(tmp_path, Run(beginning, tmp_path, os.getpid(), "before")))
        assert events[-1] == TrialEnded(KILLED)
        assert bool(of(RoundEnded, events)) == bool(before)


def test_of_a_trial_of_another_machine_silence_is_its_end(trials, tmp_path, monkeypatch):
    shutil.copy(trials(True) / FILE, tmp_path)
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-30])
    monkeypatch.setattr(replay, "LEAST_SILENCE_S", -1.0)
    monkeypatch.setattr(replay, "ROUNDS", -1.0)
    assert list(told(tmp_path, None))[-1] == TrialEnded(KILLED)


def watch(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["watch", *arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.mark.parametrize(("whole", "status"), [(True, 0), (False, 1)])
def test_a_trial_that_ran_before_is_shown_with_its_results(trials, capsys, whole, status):
    assert watch(str(trials(whole))) == status
    said = capsys.readouterr()
    assert said.err.count("round: scheme=psl ") == 3
    assert "told: emulated times" in said.out
    assert said.out.count("the trial broke off: ue1 stopped with exit status 137") == 1 - whole
    assert "broke off" not in said.err


def test_results_are_shown_as_json_too(trials, capsys):
    assert watch(str(trials(True)), "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((trials(True) / RESULTS).read_text())


def test_of_another_version_is_shown_what_can_be(trials, tmp_path, capsys):
    lines = (trials(True) / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text("".join([lines[0].replace('"version": 3', '"version": 99'), *lines[1:]]))
    assert watch(str(tmp_path)) == 1, "nothing can"
    assert "is of version 99" in capsys.readouterr().err
    shutil.copy(trials(True) / RESULTS, tmp_path)
    assert watch(str(tmp_path)) == 0
    said = capsys.readouterr()
    assert "told: emulated times" in said.out
    assert "is of version 99" in said.err


def test_who_is_not_there_is_named_with_the_way_out(tmp_path, capsys):
    assert watch("cell") == 2
    words = "cell: is neither a trial that was begun on this machine nor a directory (hint: give the --out of a trial)"
    assert capsys.readouterr().err.strip() == words
    with findable("field", tmp_path / "gone", silent):
        pass
    assert watch("cell") == 2
    assert "(hint: give one of field, or the --out of a trial)" in capsys.readouterr().err
    assert watch(str(tmp_path / "cell")) == 2
    (file,) = (state_folder() / "runs").iterdir()
    file.write_text(file.read_text().replace(str(os.getpid()), "1"))
    assert watch("field") == 2
    assert f"field: ran last into {tmp_path / 'gone'}, which is gone" in capsys.readouterr().err


def test_a_scheme_of_a_file_that_is_gone_is_said_not_to_be_judged(trials, tmp_path):
    """A scheme of the user's, whose file was beside its topology."""
    text = (trials(True) / FILE).read_text()
    (tmp_path / FILE).write_text(
        text.replace('"scheme": "psl", "planner": "uni', '"scheme": "mine.py:psl", "planner": "uni')
    )
    events = list(told(tmp_path, None))
    assert [event.label for event in of(SchemeEnded, events)] == ["anew"]
    assert "psl is not judged" in of(Warned, events)[0].text
    assert len(of(SchemeBegins, events)) == 2
