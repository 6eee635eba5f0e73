"""What the controller tells a Prometheus about a trial, and where one finds it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agents.exposition import Exposition
from agents.plan import Plan, UePlan
from controller.judge.results import HostLoad, Round
from controller.trial.exporter import ControllerMetrics, exported
from controller.trial.scrape import parse
from controller.trial.watch import (
    Changed,
    Evaluated,
    RoundBegins,
    RoundEnded,
    SchemeBegins,
    TrialBegins,
    TrialEnded,
    Warned,
)
from testbed.container import ContainerState
from testbed.deploy import Deployment
from testbed.monitor import targets

PLAN = Plan(
    "t", "psl", "uniform", 2, 1, 4.0, {"ue1": UePlan(16, 0.01, 0.01, 8e6, 2e7), "ue2": UePlan(16, 0, 0, 1e6, 3e6)}
)
LOAD = HostLoad(busy_share=0.5, others_share=0.1, steal_share=0.02, throttled_share=0, waited_share=0, clock_jump_s=0)
BEGIN = TrialBegins("t", ("ue1", "ue2"), 4.0, (), 100.0)
SCHEME = SchemeBegins("psl", 10, PLAN, 1.5, 0.7)


def began(number: int, predicted_s: float) -> RoundBegins:
    return RoundBegins("psl", number, PLAN, predicted_s, 0.7, 1000.0)


def ended(number: int, round_s: float) -> RoundEnded:
    row = Round(
        round=number, round_s=round_s, bubble_rate=0.7, bs_busy_s=1, bs_idle_s=2, train_loss=0.4, degraded=False
    )
    return RoundEnded("psl", row, {}, 1010.0, LOAD)


def told(*events) -> dict[str, float]:
    """What is exposed after these events: ``name{labels} `` → value, the trial's and scheme's names left out."""
    metrics = ControllerMetrics("t")
    for event in events:
        metrics(event)
    found = {}
    for (name, labels), value in parse(Exposition(metrics.families).text()).items():
        assert dict(labels)["trial"] == "t"
        rest = sorted(value for key, value in labels if key not in ("trial", "scheme"))
        found[" ".join([name.removeprefix("testbed_"), *rest])] = value
    return found


@pytest.mark.parametrize("expected", ["predicted_round_seconds", "planned_link_bytes_per_second ue1 up"])
def test_what_is_expected_is_of_the_round_that_was_measured(expected):
    """Agents tell of the last round, also while another is under way on other links."""
    slow = replace(PLAN, ues={"ue1": replace(PLAN.ues["ue1"], uplink_bps=20.0)})
    second = replace(began(2, 2.5), plan=slow)
    first = {"predicted_round_seconds": 1.5, "planned_link_bytes_per_second ue1 up": 1e6}[expected]
    assert told(BEGIN, SCHEME)[expected] == first
    assert told(BEGIN, SCHEME, began(1, 1.5), ended(1, 1.6), second)[expected] == first
    assert told(BEGIN, SCHEME, began(1, 1.5), ended(1, 1.6), second, ended(2, 2.6))[expected] == 2.5


def test_what_there_is_while_a_round_is_under_way():
    found = told(BEGIN, SCHEME, began(1, 1.5), ended(1, 1.6), began(2, 2.5))
    assert found["predicted_bubble_ratio"] == 0.7
    assert found["round_number"] == 2
    assert found["rounds_planned"] == 10
    assert found["emulated_seconds"] == 1.6
    assert found["train_loss"] == 0.4
    assert (found["planned_link_bytes_per_second ue1 up"], found["planned_link_bytes_per_second down ue2"]) == (
        1e6,
        375e3,
    )
    assert (found["host_busy_ratio"], found["host_others_ratio"], found["host_steal_ratio"]) == (0.5, 0.1, 0.02)


def test_a_round_has_a_deadline_while_it_runs():
    assert told(BEGIN, SCHEME, began(1, 1.5))["round_deadline_timestamp_seconds"] == 1000.0 + 2 * 1.5 * 4.0
    assert "round_deadline_timestamp_seconds" not in told(BEGIN, SCHEME, began(1, 1.5), ended(1, 1.6))


def test_changes_are_counted_by_kind_from_none_on():
    found = told(BEGIN, SCHEME, Changed("psl", 2, "channel"), Changed("psl", 3, "channel"), Changed("psl", 3, "plan"))
    kinds = {kind: found[f"changes_total {kind}"] for kind in ("plan", "channel", "fault")}
    assert kinds == {"plan": 1, "channel": 2, "fault": 0}


def test_ues_that_are_lost_are_connected_no_more():
    assert (told(BEGIN)["ues"], told(BEGIN)["ues_connected"]) == (2, 2)
    assert told(BEGIN, TrialEnded())["ues_connected"] == 2
    assert told(BEGIN, TrialEnded("ue2 was paused", ("ue2",)))["ues_connected"] == 1
    assert told(BEGIN, TrialEnded("bs stopped", ("bs",)))["ues_connected"] == 2
    without = replace(began(2, 1.0), plan=replace(PLAN, away=("ue2",)))
    assert told(BEGIN, without)["ues_connected"] == 1
    assert told(BEGIN, without, began(3, 1.0))["ues_connected"] == 2


def test_the_clock_is_that_of_the_evaluation():
    assert told(BEGIN, SCHEME, ended(1, 1.6), Evaluated("psl", 1, 1.75, 0.9))["emulated_seconds"] == 1.75


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """Two agents that are up, and a state folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def state(agent: str, address: str) -> ContainerState:
        return ContainerState(agent, agent, {}, "running", 0, False, 1, {"testbed-t-mgmt": address})

    agents = {"bs": state("bs", "10.0.0.2"), "ue1": state("ue1", "10.0.0.3")}
    return Deployment("t", "digest", "run", agents, state("shaper", "10.0.0.4"))


def test_a_trial_is_found_while_it_runs(deployment):
    shown = []
    with exported(deployment, shown.append) as watcher:
        watcher(BEGIN)
        found = json.loads((targets.folder() / "t.json").read_text())
        at = {group["labels"]["agent"]: group["targets"] for group in found}
        assert {group["labels"]["trial"] for group in found} == {"t"}
        assert (at["bs"], at["ue1"]) == (["10.0.0.2:9100"], ["10.0.0.3:9100"])
        assert at["controller"][0].startswith("127.0.0.1:")
    assert shown == [BEGIN]
    assert list(targets.folder().iterdir()) == []


def test_containers_that_stay_up_are_found_further_on_without_the_controller(deployment):
    deployment = Deployment("t", "digest", "up", deployment.agents, deployment.shaper)
    with exported(deployment, lambda event: None):
        pass
    found = json.loads((targets.folder() / "t.json").read_text())
    assert [group["labels"]["agent"] for group in found] == ["bs", "ue1"]


def test_a_trial_that_cannot_be_announced_runs_all_the_same(deployment, tmp_path):
    (tmp_path / "testbed").write_text("in the way")
    shown = []
    with exported(deployment, shown.append) as watcher:
        watcher(SCHEME)
    assert [type(event) for event in shown] == [Warned, SchemeBegins]
    assert shown[0].text.startswith("no Prometheus will find t: ")


def test_what_a_killed_testbed_left_is_tidied(deployment):
    targets.write(deployment)
    targets.tidy(["t"])
    assert [file.name for file in targets.folder().iterdir()] == ["t.json"]
    targets.tidy(["other"])
    assert list(targets.folder().iterdir()) == []
