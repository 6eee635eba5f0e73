"""A whole trial on real containers, read as its user would read it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from agents.plan import Plan
from controller.judge.results import Results
from tests.trial.conftest import SMALL, call

pytestmark = pytest.mark.docker

SCHEMES = ("sl", "psl", "pipelined")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run of the small topology, and its directory."""
    out = tmp_path_factory.mktemp("run")
    return call("run", str(SMALL), "--out", str(out)), out


@pytest.fixture
def results(run):
    return json.loads((run[1] / "results.json").read_text())


def test_it_ends_well_and_leaves_nothing(run, leftovers):
    done, _ = run
    assert done.returncode == 0, done.stderr
    assert leftovers() == []
    assert "believe it?" in done.stdout
    assert all(scheme in done.stdout for scheme in SCHEMES)


def test_results_follow_their_schema(results):
    jsonschema.validate(results, json.loads(Path("docs/results.schema.json").read_text()))
    assert Results.model_json_schema(mode="serialization") == json.loads(Path("docs/results.schema.json").read_text())
    assert tuple(results["schemes"]) == SCHEMES
    assert all([r["round"] for r in s["rounds"]] == [1, 2] for s in results["schemes"].values())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_scraped_idle_agrees_with_events(results, scheme):
    scraped = results["schemes"][scheme]["scraped"]
    assert scraped["bs_idle_s"] == pytest.approx(scraped["events_bs_idle_s"], rel=0.01)
    assert scraped["bubble_rate"] == pytest.approx(scraped["events_bubble_rate"], abs=0.01)
    assert scraped["bs_idle_s"] > 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rounds_take_about_as_long_as_predicted(results, scheme):
    # Loose, for machines that do other things; how close it gets is measured by make bench.
    one = results["schemes"][scheme]
    assert one["summary"]["round_s"]["median"] == pytest.approx(one["predicted"]["round_s"], rel=0.5)
    assert one["accuracy"]["curve"][-1][0] == 2


def test_events_and_plans_are_written(run):
    out = run[1]
    rows = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    for scheme in SCHEMES:
        tasks = {row["task"] for row in rows if row["scheme"] == scheme}
        assert {"ue_forward", "uplink", "bs_forward", "bs_backward", "downlink", "ue_backward"} <= tasks
        plan = json.loads((out / scheme / "plan.json").read_text())
        assert sum(ue.batch for ue in Plan.from_json(plan).ues.values()) == 32
    assert {"weights_up", "weights_down"} <= {row["task"] for row in rows if row["scheme"] == "sl"}
    assert (out / "logs" / "ue1.log").exists()


def test_only_what_was_planned_crosses_the_air(run):
    rows = [json.loads(line) for line in (run[1] / "events.jsonl").read_text().splitlines()]
    uplinks = [r for r in rows if (r["scheme"], r["task"], r["ue"], r["round"]) == ("psl", "uplink", "ue1", 1)]
    payload = 16 * (64 * 7 * 7 * 4 + 1)
    assert len(uplinks) == 1
    assert payload < uplinks[0]["bytes"] < payload + 300


def test_tdd_never_sends_down_before_the_last_uplink(run):
    rows = [json.loads(line) for line in (run[1] / "events.jsonl").read_text().splitlines()]
    for number in (1, 2):
        mine = [r for r in rows if r["scheme"] == "pipelined" and r["round"] == number]
        last_uplink = max(r["end_s"] for r in mine if r["task"] == "uplink")
        assert min(r["start_s"] for r in mine if r["task"] == "downlink") >= last_uplink


def test_schemes_and_rounds_can_be_chosen(tmp_path, leftovers):
    done = call("run", str(SMALL), "--out", str(tmp_path), "--scheme", "psl", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert list(printed["schemes"]) == ["psl"]
    assert len(printed["schemes"]["psl"]["rounds"]) == 1
    assert leftovers() == []
