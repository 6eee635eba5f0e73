"""Run directories: what a whole one tells of every round, and what can still be read of one that is not whole."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import pytest

from agents.own import set_folder
from controller.report.recorded import recorded as read
from controller.trial.journal import FILE, RESULTS
from testbed.errors import InputError, RecordError
from testbed.loading import parse
from tests import recorded

UES = "ues: [{name: ue1, distance_m: 120}, {name: ue2, distance_m: 250}, {name: ue3, distance_m: 300}]"
HEAD = f"""
name: told
training: {{batch: 24, rounds: 3, evaluate_every: 1}}
radio: {{bandwidth_mhz: 5}}
base_station: {{clock_ghz: 4, flops_per_cycle: 1.5}}
{UES}
"""
MOVING = "dynamics: {shadowing_db: 6, compute_jitter: 0.3}"
SCENES = {
    "still": "schemes: [sl, sfl-v2, {scheme: epsl, phi: 0.5}, {scheme: pipar, micro_batches: 2, sync_every: batch}, "
    "c2p2sl, centralised]",
    "moving": f"{MOVING}\nschemes: [psl, sfl-v2, {{scheme: epsl, phi: 0.5}}, c2p2sl]",
    "replanned": f"{MOVING}\nreplan: {{charge: true}}\nschemes: [c2p2sl, {{scheme: psl, cut: 2, planner: ao}}]",
}


def scene(name: str):
    """A topology by the name of its scene."""
    return parse(f"{HEAD}\n{SCENES[name]}", "test")


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """From the name of a scene to the run directory of a trial that went as predicted; made once."""

    @cache
    def of(name: str) -> Path:
        return recorded.write(tmp_path_factory.mktemp(name), scene(name))

    return of


@pytest.fixture
def whole(trial, tmp_path):
    """A copy of the run directory of a trial that ended."""
    return Path(shutil.copytree(trial("still"), tmp_path / "run"))


@pytest.mark.parametrize("name", SCENES)
def test_a_trial_that_went_as_predicted_is_told_as_it_was_predicted(trial, name):
    found = read(trial(name))
    assert (found.state, found.missing) == ("ended", ())
    for label, record in found.records.items():
        rounds = found.results.schemes[label].rounds
        assert [row.round for row in rounds] == list(record.starts_s) == [1, 2, 3]
        for row in rounds:
            predicted = record.predicted(row.round)
            assert predicted.round_s + row.charged_s == pytest.approx(row.predicted_s, abs=1e-9)
            assert row.predicted_s == pytest.approx(row.round_s, abs=1e-9)
            happened = {(r.key, r.ue): (r.place, r.start_s, r.end_s) for r in record.rows(row.round)}
            assert {place for place, _, _ in happened.values()} == {event.place for event in predicted.events}
            last = max(happened.values(), key=lambda one: one[2])
            chain = record.chain(row.round)
            assert chain.planned_s == pytest.approx(last[2], abs=1e-9)
            assert {chain.tasks[-1]} <= {key for key, _ in happened}


def test_slots_that_are_gated_follow_the_rates_of_a_round(tmp_path):
    topology = scene("moving")
    radio = topology.radio.model_copy(update={"slots": "gated"})
    found = read(recorded.write(tmp_path, topology.model_copy(update={"radio": radio})))
    waits = {label: [record.links(n).waits.up.period_s.tolist() for n in (1, 2)] for label, record in
             found.records.items()}  # fmt: skip
    assert all(first != second for first, second in waits.values())
    for record in found.records.values():
        for row in record.rounds:
            assert record.predicted(row.round).round_s == pytest.approx(row.predicted_s, abs=1e-9)


def test_changes_and_new_plans_are_marked_on_the_emulated_time_axis(trial):
    found = read(trial("replanned"))
    record = found.records["c2p2sl"]
    lengths_s = [row.round_s for row in record.rounds]
    assert {mark.kind for mark in record.marks} >= {"channel", "device"}
    for mark in record.marks:
        assert mark.at_s == pytest.approx(sum(lengths_s[: mark.round - 1]))
    assert [record.starts_s[n] for n in (1, 2)] == [
        pytest.approx(record.rounds[0].charged_s),
        pytest.approx(lengths_s[0] + record.rounds[1].charged_s),
    ]
    plans = [one for one in record.replanned if one.plan]
    assert [mark.round for mark in record.marks if mark.kind == "plan"] == [one.round for one in plans]
    assert record.emulated_s == pytest.approx(record.evaluations[-1]["emulated_s"])


def lines(directory: Path) -> list[str]:
    return (directory / FILE).read_text().splitlines(keepends=True)


def cut(directory: Path, keep: int, rest: str = "") -> None:
    """Leaves so many lines of the journal, and what follows them."""
    (directory / FILE).write_text("".join(lines(directory)[:keep]) + rest)


def test_a_trial_that_runs_shows_its_rounds_and_what_is_to_come(whole):
    at = [number for number, line in enumerate(lines(whole)) if '"event": "round"' in line]
    cut(whole, at[4] + 1, lines(whole)[at[4] + 1][:40])  # the second scheme after its second round
    (whole / RESULTS).unlink()
    found = read(whole)
    assert found.state == "running"
    assert [len(record.rounds) for record in found.records.values()] == [3, 2]
    assert list(found.results.schemes) == ["sl", "sfl-v2"]
    text = "\n".join(found.missing)
    assert "still running, or was killed" in text
    assert "sfl-v2 is not over: 2 rounds measured" in text
    assert "epsl was not begun" in text
    assert "sl is not over" not in text.replace("sfl-v2 is", "")


def test_a_scheme_that_has_just_begun_has_a_prediction_and_no_results(whole):
    at = [number for number, line in enumerate(lines(whole)) if '"event": "scheme"' in line]
    cut(whole, at[0] + 1)
    found = read(whole)
    assert found.results.schemes == {}
    assert found.records["sl"].predicted(1).round_s > 0
    assert "sl is not over: 0 rounds measured" in found.missing


def test_a_trial_that_broke_off_says_why(tmp_path):
    found = read(recorded.write(tmp_path, scene("still"), whole=False))
    assert (found.state, found.lost) == ("broken off", ("ue1",))
    assert "the trial broke off: ue1 stopped with exit status 137" in found.missing
    assert "centralised is not over: 3 rounds measured" in found.missing


def test_a_journal_that_was_spoilt_is_read_up_to_there(whole):
    at = [number for number, line in enumerate(lines(whole)) if '"event": "round"' in line]
    cut(whole, at[1] + 1, "nonsense\n" + "".join(lines(whole)[at[1] + 1 :]))
    found = read(whole)
    assert [row.round for row in found.results.schemes["sl"].rounds] == [1, 2]
    assert found.missing[0].startswith(f"{whole / FILE}:{at[1] + 2}: is no JSON")


@pytest.mark.parametrize("key", ["rounds", "fidelity", "plan"])
def test_of_another_versions_trial_the_results_are_shown(whole, key):
    (whole / FILE).write_text('{"event": "journal", "version": 99}\n')
    results = json.loads((whole / RESULTS).read_text())
    results["schemes"]["psl-of-tomorrow"] = {"colour": "blue"}
    results["schemes"]["sl"]["tomorrow"] = 1
    del results["schemes"]["c2p2sl"][key]
    del results["schemes"]["epsl"]["summary"]["predicted_s"]
    (whole / RESULTS).write_text(json.dumps(results))
    found = read(whole)
    assert found.records == {}
    assert list(found.results.schemes) == ["sl", "sfl-v2", "epsl", "pipar", "centralised"]
    assert "version 99" in found.missing[0]
    assert f"c2p2sl: {RESULTS} has no {key} as this version knows it" in found.missing
    assert not any("was not begun" in text for text in found.missing)
    epsl = found.results.schemes["epsl"]
    assert epsl.summary.predicted_s == pytest.approx(epsl.rounds[1].predicted_s)


def test_a_scheme_whose_lines_lack_something_does_not_hide_the_others(whole):
    spoilt = [line.replace('"waits"', '"weights"') if '"scheme": "sl"' in line else line for line in lines(whole)]
    (whole / FILE).write_text("".join(spoilt))
    found = read(whole)
    assert "sfl-v2" in found.records and "sl" not in found.records
    assert any(text.startswith("sl: its lines in events.jsonl lack 'waits'") for text in found.missing)


def test_a_scheme_of_the_users_whose_file_is_gone_is_missed(whole):
    own = [line.replace('"scheme": "c2p2sl", "planner"', '"scheme": "mine.py:c2p2sl", "planner"') for line in
           lines(whole)]  # fmt: skip
    (whole / FILE).write_text("".join(own))
    found = read(whole)
    assert "sl" in found.records and "c2p2sl" not in found.records
    assert any("there is no file mine.py" in text for text in found.missing)
    set_folder(Path())


@pytest.mark.parametrize("text", [None, "", "nonsense", '{"event": "journal", "version": 2}\n'])
def test_where_nothing_can_be_shown_it_is_an_error_with_status_1(tmp_path, text):
    if text is not None:
        (tmp_path / FILE).write_text(text)
    with pytest.raises(RecordError) as error:
        read(tmp_path)
    assert error.value.exit_status == 1
    assert str(tmp_path) in str(error.value)


def test_a_directory_that_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="is no directory"):
        read(tmp_path / "nowhere")
