"""A healthy journal is clean, and each kind of change to one is found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from controller.cli import main
from controller.judge.check import check
from controller.trial.journal import FILE, Line, read_all
from testbed.errors import InputError
from tests import recorded
from tests.unit.test_recorded import SCENES, scene

Lines = list[Line]


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Callable[[str], Path]:
    @cache
    def of(name: str) -> Path:
        return recorded.write(tmp_path_factory.mktemp(name), scene(name))

    return of


@pytest.fixture
def lines(trial) -> Lines:
    """Of a trial whose links and devices change, and whose plans follow them."""
    return copy.deepcopy(read_all(trial("replanned")))


def at(lines: Lines, event: str, number: int = 2, **more: object) -> int:
    """Where the first line of this event in this round is."""
    wanted = {"event": event, "scheme": "c2p2sl", "round": number, **more}
    return next(i for i, line in enumerate(lines) if all(line.get(key) == value for key, value in wanted.items()))


def found(lines: Lines) -> str:
    return "\n".join(map(str, check(lines).findings))


@pytest.mark.parametrize("name", SCENES)
def test_a_healthy_journal_is_clean(trial, name):
    checked = check(read_all(trial(name)))
    assert checked.findings == () and checked.notes == ()
    assert checked.rounds == 3 * len(scene(name).schemes)


DROPPED = {
    "scheme": "which has not begun",
    "round_begins": "round 2 of c2p2sl ends without having begun",
    "round": "begins, and round 2 has not ended",
    "evaluation": "round 2 of c2p2sl was not evaluated",
    "scheme_end": "begins before c2p2sl has ended",
}


@pytest.mark.parametrize("event", DROPPED)
def test_a_line_that_is_missing_is_found(lines, event):
    del lines[at(lines, event, None if event.startswith("scheme") else 2)]
    assert DROPPED[event] in found(lines)


def test_every_task_that_is_missing_is_found(lines):
    for i, line in enumerate(lines):
        if line["event"] == "task" and line["round"] == 2:
            key = f"{line['task']} of {line['ue']}, turn 0, step 0, micro-batch {line['micro_batch']}"
            assert f"{key} did not happen" in found(lines[:i] + lines[i + 1 :])


DOUBLED = {
    "plan": "a second plan of round 2 of c2p2sl",
    "change": "a second change of round 2 of c2p2sl",
    "round_begins": "round 2 of c2p2sl begins, and round 2 has not ended",
    "task": "happened 2 times",
    "round": "round 2 of c2p2sl ends without having begun",
    "evaluation": "an evaluation after round 2",
    "scheme_end": "scheme_end of c2p2sl, which has ended",
    "scheme": "c2p2sl begins twice",
}


@pytest.mark.parametrize("event", DOUBLED)
def test_a_line_that_is_there_twice_is_found(lines, event):
    i = at(lines, event, None if event.startswith("scheme") else 2)
    assert DOUBLED[event] in found(lines[: i + 1] + lines[i:])


CHANGED = [
    ("round_begins", "round", 3, "round 3 of c2p2sl begins after round 1"),
    ("round", "round", 3, "round 3 of c2p2sl ends without having begun"),
    ("round", "predicted_s", 1.0, "it was predicted to take 1"),
    ("round_begins", "predicted_s", 1.0, "its predicted_s was 1 when it began"),
    ("round", "train_loss", float("nan"), "has a loss of nan"),
    ("task", "round", 1, "a task of round 1 of c2p2sl in round 2"),
    ("task", "micro_batch", 99, "micro-batch 99 at"),
    ("task", "ue", "ue9", "is not in the schedule"),
    ("task", "place", "bs", "is not in the schedule"),
    ("task", "end_s", 1e9, "before"),
    ("task", "start_s", -1.0, "lasts from -1.0"),
    ("evaluation", "emulated_s", 1e9, "an evaluation of c2p2sl after 1e+09 s"),
    ("evaluation", "round", 1, "an evaluation after round 1"),
    ("plan", "round", 3, "a plan of round 3 of c2p2sl, where round 2 comes next"),
    ("change", "round", 1, "a change of round 1 of c2p2sl, where round 2 comes next"),
]


@pytest.mark.parametrize(("event", "key", "value", "text"), CHANGED)
def test_a_value_that_was_changed_is_found(lines, event, key, value, text):
    lines[at(lines, event)][key] = value
    assert text in found(lines)


def test_a_rate_that_changed_unsaid_is_found(lines):
    del lines[at(lines, "change", task="link_change")]
    assert "has other rates than before, and no change says so" in found(lines)


def test_a_plan_with_another_batch_is_found(lines):
    i = at(lines, "plan", 1, scheme="psl")
    lines[i]["plan"]["ues"]["ue1"]["batch"] += 1
    assert "its plan takes" in found(lines)


def test_the_line_is_named(lines):
    i = at(lines, "evaluation")
    del lines[i]
    begins = at(lines, "round_begins", 3)
    assert found(lines).startswith(f"line {begins + 1}: round 2 of c2p2sl was not evaluated")


def test_a_scheme_that_never_ran_is_found(lines):
    left = [line for line in lines if line.get("scheme") != "psl"]
    assert "the trial ends, and psl never began" in found(left)


def test_what_follows_the_end_is_found(lines):
    assert "task after the end" in found([*lines, lines[at(lines, "task")]])


def test_a_journal_that_was_cut_is_checked_as_far_as_it_goes(lines):
    for length in range(1, len(lines), 7):
        checked = check(lines[:length])
        assert checked.findings == ()
        assert "was cut, or its trial goes on" in checked.notes[0]


BROKEN = {"scheme": "c2p2sl", "round": 2, "ue": "ue1", "kind": "freeze", "at": 0.0}


def test_what_was_broken_is_undone_once(lines):
    i = at(lines, "round")
    injected, undone = {"event": "injected", **BROKEN}, {"event": "undone", **BROKEN}
    assert found([*lines[:i], injected, undone, *lines[i:]]) == ""
    assert "a freeze of ue1 is undone that was not done" in found([*lines[:i], undone, *lines[i:]])
    assert "of which a freeze was not undone" in found([*lines[:i], injected, injected, *lines[i:]])
    skipped = {**injected, "skipped": "ue1 is already broken"}
    assert found([*lines[:i], injected, skipped, undone, *lines[i:]]) == ""


def again(lines: Lines, event: str = "restart", last: int = 1, saved: bool = True) -> Lines:
    """The journal of a trial whose rounds after the first were done again after the second."""
    begin, end = at(lines, "plan", last + 1), at(lines, "evaluation", 2) + 1
    checkpoint = [{"event": "checkpoint", "scheme": "c2p2sl", "round": last}] if saved else []
    restart = {"event": event, "scheme": "c2p2sl", "from_round": last}
    return [*lines[:begin], *checkpoint, *lines[begin:end], restart, *copy.deepcopy(lines[begin:])]


@pytest.mark.parametrize("event", ["restart", "resume"])
def test_rounds_that_are_done_again_replace_those_before(lines, event):
    assert found(again(lines, event)) == ""


def test_rounds_are_not_done_again_from_nowhere(lines):
    assert "from round 1, after which there was no checkpoint" in found(again(lines, saved=False))


def test_what_is_done_again_is_done_alike(lines):
    twice = again(lines)
    (i,) = [i for i, one in enumerate(twice) if one["event"] == "round" and one["round"] == 2][1:2]
    twice[i]["train_loss"] += 1e-6
    assert "round 2 of c2p2sl was done again, with a loss of" in found(twice)


def test_a_trial_that_broke_off_can_go_on(lines):
    i = at(lines, "round_begins", 3)
    broken = {"event": "end", "error": "bs stopped"}
    resume = {"event": "resume", "scheme": "c2p2sl", "from_round": 0}
    begin = at(lines, "scheme", None) + 1
    assert found([*lines[:i], broken, resume, *lines[begin:]]) == ""


def test_a_line_without_what_its_event_has_is_none(lines):
    i = at(lines, "round")
    del lines[i]["train_loss"]
    with pytest.raises(InputError, match=rf"{FILE}:{i + 1}: is no line of a journal: KeyError"):
        check(lines)


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["check", *arguments])
    printed = capsys.readouterr()
    return int(stop.value.code or 0), printed.out, printed.err


def test_the_command_tells_clean_from_wrong_and_from_no_journal(trial, tmp_path, capsys):
    out = trial("still")
    assert call(capsys, str(out), "--no-host")[:2] == (
        0,
        "the host was not looked at\n18 rounds, 453 tasks: nothing wrong\n",
    )
    text = (out / FILE).read_text().splitlines(keepends=True)
    cut = next(i for i, line in enumerate(text) if json.loads(line)["event"] == "task")
    (tmp_path / FILE).write_text("".join(text[:cut] + text[cut + 1 :]))
    status, printed, _ = call(capsys, str(tmp_path), "--no-host", "--json")
    assert status == 1
    assert json.loads(printed)["findings"][0]["text"].endswith("did not happen at ue1")
    (tmp_path / FILE).write_text("".join([*text[:cut], "{nonsense\n", *text[cut:]]))
    status, _, error = call(capsys, str(tmp_path), "--no-host")
    assert (status, error.startswith(f"{tmp_path / FILE}:{cut + 1}: is no JSON object")) == (2, True)
    assert call(capsys, str(tmp_path / "nothing"), "--no-host")[0] == 2
