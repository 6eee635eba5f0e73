"""The journal: what it holds, what results are derived from it, and what is left when a trial breaks off."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from controller.cli import main
from controller.judge.derive import derive
from controller.predict.latency import Latency
from controller.trial.journal import FILE, RESULTS, Journal, finished, read
from testbed.errors import InputError, StorageError
from testbed.files import write_atomically
from tests.unit.loopback import job

PLAN = job("psl", 2, 1, batches=(4,)).plan
HEAD = {"version": 1, "topology": {"name": "t"}, "host": {}, "time_dilation": 1.0}
TASKS = (
    ("ue_forward", "ue1", "ue1", 0.0, 1.0),
    ("uplink", "ue1", "ue1/up", 1.0, 2.0),
    ("bs_forward", "ue1", "bs", 2.0, 2.5),
    ("bs_backward", "ue1", "bs", 2.5, 3.0),
    ("downlink", "ue1", "ue1/down", 3.0, 4.0),
    ("ue_backward", "ue1", "ue1", 4.0, 5.0),
)


def begin(label: str = "psl") -> dict[str, Any]:
    predicted = {"round_s": 5.0, "bubble_rate": 0.8, "bs_busy_s": 1.0, "bs_idle_s": 4.0, "lower_bound_s": 1.0}
    fixed = {"units": 5, "duplex": "tdd", "seed": 7, "waits": Latency().to_json(), "target_accuracy": None}
    return {"scheme": label, "plan": PLAN.to_json(), "predicted": predicted, "paper": {}, **fixed}


def tasks(number: int, label: str = "psl") -> list[dict[str, Any]]:
    common = {"scheme": label, "round": number, "micro_batch": 0, "turn": 0, "step": 0, "bytes": 125_000}
    return [{**common, "task": t, "ue": u, "place": p, "start_s": a, "end_s": b} for t, u, p, a, b in TASKS]


def end_of(number: int, label: str = "psl") -> dict[str, Any]:
    predicted = {"predicted_s": 5.0, "predicted_bubble_rate": 0.8}
    return {"scheme": label, "round": number, "train_loss": 2.0, **predicted, "host": []}


def trial(out: Path, rounds: int = 2, *, whole: bool = True) -> None:
    """A journal of a trial of one scheme, that ended or broke off in a further round."""
    with Journal(out) as journal:
        journal.append("journal", [HEAD])
        journal.append("scheme", [begin()])
        for number in range(1, rounds + 1):
            journal.append("task", tasks(number))
            journal.append("round", [end_of(number)])
        if whole:
            accuracies = {"average": 0.5, "ue2": 0.7}  # a UE may have any name
            found = {"scheme": "psl", "round": rounds, "emulated_s": 10.0, "accuracies": accuracies, "mean": 0.65}
            journal.append("evaluation", [found])
            journal.append("scheme_end", [{"scheme": "psl", "scraped_idle_s": 8.0, "scraped_busy_s": 2.0}])
            journal.append("end", [{}])
        else:
            journal.append("task", tasks(rounds + 1)[:3])
            journal.append("end", [{"error": "ue1 stopped with exit status 137"}])


def test_results_follow_from_the_lines(tmp_path):
    trial(tmp_path)
    found = derive(read(tmp_path)).schemes["psl"]
    assert [(r.round_s, r.bubble_rate, r.train_loss) for r in found.rounds] == [(5.0, pytest.approx(0.8), 2.0)] * 2
    assert (found.summary.round_error, found.partial) == (0.0, False)
    assert found.scraped is not None
    assert found.scraped.bubble_rate == pytest.approx(0.8)


def test_a_ue_called_average_is_a_ue(tmp_path):
    trial(tmp_path)
    accuracy = derive(read(tmp_path)).schemes["psl"].accuracy
    assert accuracy is not None
    assert accuracy.per_ue == {"average": 0.5, "ue2": 0.7}
    assert (accuracy.final, accuracy.averaged) == (pytest.approx(0.6), 0.65)


def test_a_trial_that_broke_off_leaves_its_whole_rounds_marked_as_partial(tmp_path):
    trial(tmp_path, whole=False)
    found = derive(read(tmp_path))
    assert found.error == "ue1 stopped with exit status 137"
    one = found.schemes["psl"]
    assert (len(one.rounds), one.partial, one.accuracy, one.scraped) == (2, True, None, None)


def test_a_scheme_without_a_whole_round_is_left_out(tmp_path):
    trial(tmp_path, rounds=0, whole=False)
    assert derive(read(tmp_path)).schemes == {}


def test_a_line_that_was_being_written_is_left_out(tmp_path):
    trial(tmp_path)
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-5])
    assert [line["event"] for line in read(tmp_path)][-1] == "scheme_end"
    assert not finished(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "events.jsonl:1: is not the beginning of a journal"),
        ('{"event": "task"}\n', "events.jsonl:1: is not the beginning of a journal"),
        ('{"event": "journal", "version": 99}\n', "events.jsonl:1: is of version 99, and this reads 1 and 2 and 3"),
        ('{"event": "journal", "version": 1}\nnonsense\n{"event": "end"}\n', "events.jsonl:2: is no JSON"),
    ],
)
def test_what_is_no_journal_is_refused_by_line(tmp_path, text, words):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert words in str(error.value)


def test_results_of_a_directory_without_a_journal_exit_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["results", str(tmp_path)])
    assert stop.value.code == 2
    assert "has no events.jsonl" in capsys.readouterr().err


def test_the_verb_writes_results_again(tmp_path, capsys):
    trial(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["results", str(tmp_path), "--json"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / RESULTS).read_text())


def test_finished_is_what_ran_to_its_end(tmp_path):
    assert not finished(tmp_path)
    trial(tmp_path, whole=False)
    assert not finished(tmp_path)
    trial(tmp_path)
    assert finished(tmp_path)


def test_a_file_is_there_whole_or_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "results.json"
    write_atomically(file, "before")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "after")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Meanwhile the kernel takes no more bytes of a file, as a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_what_was_written_before_stays_whole_and_there_is_room_for_why(tmp_path: Path) -> None:
    trial(tmp_path, whole=False)
    room = (tmp_path / FILE).stat().st_size + 200
    with Journal(tmp_path) as journal, files_no_longer_than(room):
        journal.append("journal", [HEAD])
        journal.append("scheme", [begin()])
        for number in (1, 2):
            journal.append("task", tasks(number))
            journal.append("round", [end_of(number)])
        before = list(journal.lines)
        with pytest.raises(StorageError) as full:
            journal.append("task", tasks(3))
        assert (tmp_path / FILE).read_bytes().endswith(b"\n")
        journal.append("end", [{"error": str(full.value)}])
    assert full.value.message == f"{tmp_path / FILE}: File too large"
    assert full.value.exit_status == 1
    assert read(tmp_path) == journal.lines == [*before, {"event": "end", "error": str(full.value)}]
