"""A real Prometheus watches real trials: what it has gathered, and what it cries about."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed.deploy import resource
from testbed.engine import Engine
from testbed.monitor import monitor, targets
from testbed.monitor.api import Prometheus, Series
from testbed.monitor.status import status
from tests.monitored import NAME, alert_expressions, expressions, free_port
from tests.trial.conftest import TRIAL, call, command

pytestmark = pytest.mark.docker

WATCHED = """
name: small
seed: 3
training: {batch: 32, rounds: 9}
radio: {access: dedicated}
base_station: {clock_ghz: 2, flops_per_cycle: 1}
ues:
  - {name: ue1, uplink_mbps: 4, downlink_mbps: 5, flops_per_cycle: 1}
  - {name: ue2, uplink_mbps: 3, downlink_mbps: 4, flops_per_cycle: 1}
schemes: [{scheme: psl, cut: 2}, {scheme: c2p2sl, cut: 2, micro_batches: 4}]
"""
CLOSE = 0.02


@dataclass(frozen=True)
class Watched:
    """A trial that has ended: its results, and who watched it from when to when (s since 1970)."""

    results: dict[str, Any]
    prometheus: Prometheus
    begin_s: float
    end_s: float

    def at_the_end(self, expression: str) -> dict[tuple[str, ...], float]:
        """The last value of each series, by its scheme, UE and direction."""
        window_s = self.end_s - self.begin_s
        found = self.prometheus.query(f"last_over_time({expression}[{window_s:.0f}s])", self.end_s)
        return {_labels(series): series.values[0][1] for series in found}

    def during(self, expression: str) -> list[Series]:
        """What it gave in each second of the trial."""
        return self.prometheus.query_range(expression, self.begin_s, self.end_s, 1.0)


def _labels(series: Series) -> tuple[str, ...]:
    return tuple(series.labels[key] for key in ("scheme", "ue", "direction") if key in series.labels)


@pytest.fixture(scope="module")
def prometheus(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that finds trials of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        port = free_port()
        monitor.start_prometheus(engine, port, print, NAME)
        try:
            yield Prometheus(f"127.0.0.1:{port}")
        finally:
            monitor.down(engine, NAME)


def write(folder: Path) -> str:
    """The topology's file, in a folder."""
    (folder / "watched.yaml").write_text(WATCHED)
    return str(folder / "watched.yaml")


@pytest.fixture(scope="module")
def watched(prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A trial from beginning to end."""
    folder = tmp_path_factory.mktemp("watched")
    begin_s = time.time()
    done = call("run", write(folder), "--out", str(folder / "out"))
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "out/results.json").read_text())
    return Watched(results["schemes"], prometheus, begin_s, time.time())


@pytest.mark.parametrize("where", expressions(TRIAL))
def test_every_expression_gives_data_during_a_trial(watched: Watched, where: str) -> None:
    quiet = alert_expressions()
    silent = [asked for asked in expressions(TRIAL)[where] if not watched.during(asked) and asked not in quiet]
    assert silent == []


def test_alerts_are_silent_while_all_is_well(watched: Watched) -> None:
    believed = all(scheme["fidelity"]["ok"] for scheme in watched.results.values())
    firing = {series.labels["alertname"] for series in watched.during('ALERTS{alertstate="firing"}')}
    assert firing == (set() if believed else {"TestbedVerdictNo"})


def test_bubble_rate_and_idle_time_are_those_of_the_results(watched: Watched) -> None:
    rates, idle = watched.at_the_end("testbed:bubble_ratio"), watched.at_the_end("testbed_bs_idle_seconds_total")
    for name, scheme in watched.results.items():
        assert rates[name,] == pytest.approx(scheme["scraped"]["events_bubble_rate"], rel=CLOSE)
        assert rates[name,] == pytest.approx(scheme["summary"]["bubble_rate"], rel=CLOSE)
        assert idle[name,] == pytest.approx(sum(one["bs_idle_s"] for one in scheme["rounds"]), rel=CLOSE)


def test_idle_shares_of_ues_are_those_of_the_results(watched: Watched) -> None:
    shares = watched.at_the_end("testbed:ue_idle_ratio")
    for name, scheme in watched.results.items():
        for ue, one in scheme["ues"].items():
            assert shares[name, ue] == pytest.approx(one["idle_s"] / (one["idle_s"] + one["busy_s"]), rel=CLOSE)


def test_goodput_is_that_of_the_results(watched: Watched) -> None:
    window = f"[{watched.end_s - watched.begin_s:.0f}s]"
    median = f"8 * quantile_over_time(0.5, testbed_link_goodput_bytes_per_second{window})"
    rates = {_labels(one): one.values[0][1] for one in watched.prometheus.query(median, watched.end_s)}
    for name, scheme in watched.results.items():
        for ue, one in scheme["ues"].items():
            assert rates[name, ue, "up"] == pytest.approx(one["uplink_bps"], rel=CLOSE)
            assert rates[name, ue, "down"] == pytest.approx(one["downlink_bps"], rel=CLOSE)


def test_predictions_progress_and_verdicts_are_those_of_the_results(watched: Watched) -> None:
    shown = {
        "testbed_predicted_round_seconds": lambda scheme: scheme["rounds"][-1]["predicted_s"],
        "testbed_predicted_bubble_ratio": lambda scheme: scheme["rounds"][-1]["predicted_bubble_rate"],
        "testbed_round_seconds": lambda scheme: scheme["rounds"][-1]["round_s"],
        "testbed_emulated_seconds": lambda scheme: sum(one["round_s"] for one in scheme["rounds"]),
        "testbed_rounds_total": lambda scheme: len(scheme["rounds"]),
        "testbed_accuracy_ratio": lambda scheme: scheme["accuracy"]["final"],
        "testbed_train_loss": lambda scheme: scheme["rounds"][-1]["train_loss"],
        "testbed_fidelity_ok": lambda scheme: scheme["fidelity"]["ok"],
    }
    for metric, of in shown.items():
        expected = {(name,): pytest.approx(float(of(scheme)), rel=1e-6) for name, scheme in watched.results.items()}
        assert watched.at_the_end(metric) == expected, metric


def test_a_ue_that_is_frozen_is_cried_about(engine: Engine, prometheus: Prometheus, tmp_path: Path) -> None:
    begin_s = time.time()
    trial = subprocess.Popen(command("run", write(tmp_path), "--out", str(tmp_path / "out")), stderr=subprocess.PIPE)
    journal = tmp_path / "out/events.jsonl"
    _until(trial, lambda: journal.exists() and '"event": "round", "scheme": "psl", "round": 2' in journal.read_text())
    engine.client.api.kill(resource(TRIAL, "ue2"), "SIGSTOP")
    frozen_s = time.time()
    trial.communicate(timeout=120)
    assert trial.returncode == 0
    alerts = prometheus.query_range('ALERTS{alertstate="firing"}', begin_s, time.time(), 1.0)
    found = {(one.labels["alertname"], one.labels.get("noticed_by", "")): one for one in alerts}
    assert set(found) >= {("TestbedUeLost", "prometheus"), ("TestbedUeLost", "controller")}
    assert found["TestbedUeLost", "prometheus"].labels["agent"] == "ue2"
    assert min(at for one in alerts for at, _ in one.values) > frozen_s
    rounds = json.loads((tmp_path / "out/results.json").read_text())["schemes"]["psl"]["rounds"]
    assert any(one["degraded"] for one in rounds)


def test_containers_that_are_up_are_scraped_until_they_are_down(
    engine: Engine, prometheus: Prometheus, tmp_path: Path
) -> None:
    assert call("up", write(tmp_path)).returncode == 0
    _until(None, lambda: [(row["trial"], row["answering"]) for row in status(engine, NAME)["trials"]] == [(TRIAL, 3)])
    assert call("down", TRIAL).returncode == 0
    assert list(targets.folder().glob("*.json")) == []
    _until(None, lambda: status(engine, NAME)["trials"] == [])


def _until(trial: subprocess.Popen[bytes] | None, condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert trial is None or trial.poll() is None, trial.stderr and trial.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.1)
