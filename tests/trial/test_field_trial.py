"""A whole trial on real containers, read as its user would read it; nothing here hangs on how busy the machine is."""

from __future__ import annotations

import json
from itertools import pairwise

import jsonschema
import pytest

from agents.plan import Plan
from agents.schedule.task import Key
from agents.schemes import SCHEMES
from controller.judge.results import Results
from controller.trial.journal import VERSION
from tests.trial.conftest import SMALL, call

pytestmark = pytest.mark.docker

LABELS = ("sl", "psl", "pipelined", "sfl")
CLOSE_S = 1e-6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run of the small topology, and its directory."""
    out = tmp_path_factory.mktemp("run")
    return call("run", str(SMALL), "--out", str(out)), out


@pytest.fixture
def results(run):
    return json.loads((run[1] / "results.json").read_text())


@pytest.fixture
def lines(run):
    """The journal."""
    return [json.loads(line) for line in (run[1] / "events.jsonl").read_text().splitlines()]


def tasks_of(lines, scheme, number=None):
    """The tasks of a scheme, of one round or all."""
    mine = [line for line in lines if line["event"] == "task" and line["scheme"] == scheme]
    return [line for line in mine if number in (None, line["round"])]


def test_it_ends_well_and_leaves_nothing(run, leftovers):
    done, _ = run
    assert done.returncode == 0, done.stderr
    assert leftovers() == []
    assert "believe" in done.stdout and "it?" in done.stdout
    assert all(scheme in done.stdout for scheme in LABELS)


def test_results_follow_their_schema(results):
    jsonschema.validate(results, Results.model_json_schema(mode="serialization"))
    assert tuple(results["schemes"]) == LABELS
    assert results["error"] is None


@pytest.mark.parametrize("scheme", LABELS)
def test_scraped_idle_agrees_with_events(results, scheme):
    scraped = results["schemes"][scheme]["scraped"]
    assert scraped["bs_idle_s"] == pytest.approx(scraped["events_bs_idle_s"], rel=0.01)
    assert scraped["bubble_rate"] == pytest.approx(scraped["events_bubble_rate"], abs=0.01)
    assert scraped["bs_idle_s"] > 0


@pytest.mark.parametrize("scheme", LABELS)
def test_a_yes_is_within_its_limits_and_a_no_has_its_reasons(results, scheme):
    one = results["schemes"][scheme]
    error, bubbles = one["summary"]["round_error"], one["summary"]["bubble_rate_error"]
    if one["fidelity"]["ok"]:
        assert abs(error) <= 0.03
        assert abs(bubbles) <= 0.02
        assert one["fidelity"]["reasons"] == []
    else:
        assert one["fidelity"]["reasons"]
    median = one["summary"]["round_s"]["median"]
    assert error == pytest.approx(median / one["predicted"]["round_s"] - 1.0, abs=1e-9)


@pytest.mark.parametrize("scheme", LABELS)
def test_what_explains_the_error_adds_up_to_it(results, scheme):
    one = results["schemes"][scheme]
    shares = one["fidelity"]["explained"]
    typical = one["rounds"][-1]  # of two rounds, the one that counts
    assert sum(shares.values()) == pytest.approx(typical["round_s"] / typical["predicted_s"] - 1.0, abs=1e-6)


@pytest.mark.parametrize("scheme", LABELS)
def test_no_place_does_two_tasks_at_once(lines, scheme):
    for number in (1, 2):
        at: dict[str, list] = {}
        for task in tasks_of(lines, scheme, number):
            at.setdefault(task["place"], []).append((task["start_s"], task["end_s"]))
        for place, spans in at.items():
            spans.sort()
            assert all(b[0] >= a[1] - CLOSE_S for a, b in pairwise(spans)), place


@pytest.mark.parametrize("scheme", LABELS)
def test_every_task_of_the_schedule_was_done_after_what_it_needs(lines, scheme):
    begin = next(line for line in lines if line["event"] == "scheme" and line["scheme"] == scheme)
    plan = Plan.from_json(begin["plan"])
    for number in (1, 2):
        schedule = SCHEMES[plan.scheme].schedule(plan, begin["units"], begin["duplex"], begin["seed"], number)
        done = {
            Key(t["turn"], t["step"], t["micro_batch"], t["task"], t["ue"]): t for t in tasks_of(lines, scheme, number)
        }
        assert set(done) == {task.key for task in schedule.tasks if task.computes or task.transfers}
        for key, task in done.items():
            for need in schedule.by_key[key].needs:
                if need in done:
                    assert done[need]["end_s"] <= task["start_s"] + CLOSE_S, f"{key} before {need}"


def test_what_is_computed_adds_up_to_the_bubble_rate(results, lines):
    for scheme in LABELS:
        for row in results["schemes"][scheme]["rounds"]:
            tasks = tasks_of(lines, scheme, row["round"])
            busy_s = sum(t["end_s"] - t["start_s"] for t in tasks if t["place"] == "bs")
            assert row["bubble_rate"] == pytest.approx(1 - busy_s / max(t["end_s"] for t in tasks), abs=1e-9)


def test_plans_and_logs_are_written(run):
    out = run[1]
    for scheme in LABELS:
        plan = json.loads((out / scheme / "plan.json").read_text())
        assert sum(ue.batch for ue in Plan.from_json(plan).ues.values()) == 32
    assert (out / "logs" / "ue1.log").exists()


def test_the_journal_tells_the_whole_trial_in_order(lines):
    assert (lines[0]["event"], lines[0]["version"]) == ("journal", VERSION)
    assert lines[-1] == {"event": "end"}
    for scheme in LABELS:
        kinds = [line["event"] for line in lines if line.get("scheme") == scheme]
        assert (kinds[0], kinds[-1]) == ("scheme", "scheme_end")
        assert kinds.count("round") == 2
        assert "evaluation" in kinds


def test_results_are_derived_again_from_the_journal_alone(run, results):
    (run[1] / "results.json").unlink()
    done = call("results", str(run[1]), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == results
    assert json.loads((run[1] / "results.json").read_text()) == results


def test_a_finished_trial_is_not_written_over(run):
    before = (run[1] / "results.json").read_bytes()
    done = call("run", str(SMALL), "--out", str(run[1]))
    assert done.returncode == 2
    assert done.stderr.endswith("holds a finished trial (hint: choose another directory, or add --force)\n")
    assert (run[1] / "results.json").read_bytes() == before


def test_only_what_was_planned_crosses_the_air(lines):
    uplinks = [t for t in tasks_of(lines, "psl", 1) if (t["task"], t["ue"]) == ("uplink", "ue1")]
    payload = 16 * (64 * 7 * 7 * 4 + 1)
    assert len(uplinks) == 1
    assert payload < uplinks[0]["bytes"] < payload + 300


def test_schemes_and_rounds_can_be_chosen_and_force_writes_over(run, tmp_path, leftovers):
    (tmp_path / "events.jsonl").write_bytes((run[1] / "events.jsonl").read_bytes())
    chosen = ("--scheme", "psl", "--rounds", "1", "--json", "--force")
    done = call("run", str(SMALL), "--out", str(tmp_path), *chosen)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert list(printed["schemes"]) == ["psl"]
    assert len(printed["schemes"]["psl"]["rounds"]) == 1
    assert leftovers() == []
