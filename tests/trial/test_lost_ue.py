"""UEs that are lost while a trial runs, and come back: it goes on without them, and says so."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.trial import journal
from testbed.deploy import find, resource
from testbed.injection import Injector
from tests.trial.conftest import TRIAL, command

pytestmark = pytest.mark.docker

THREE = Path(__file__).parent / "three.yaml"


class Running:
    """A trial that runs, and what its journal says."""

    def __init__(self, out: Path, process: subprocess.Popen[str]) -> None:
        self.out, self.process = out, process

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Those of an event so far."""
        if not (self.out / journal.FILE).exists() or not (self.out / journal.FILE).stat().st_size:
            return []
        return [line for line in journal.read(self.out) if line["event"] == event]

    def wait(self, there: Callable[[], bool]) -> None:
        """Returns when something is so; the trial must go on meanwhile."""
        while not there():
            assert self.process.poll() is None, f"the trial ended early: {self.process.communicate()[1]}"
            time.sleep(0.1)

    def end(self) -> dict[str, Any]:
        """Waits for the end; the results of the only scheme."""
        _, errors = self.process.communicate(timeout=200)
        assert self.process.returncode == 0, errors
        (found,) = json.loads((self.out / journal.RESULTS).read_text())["schemes"].values()
        return found


@pytest.fixture
def run(tmp_path) -> Iterator[Callable[..., Running]]:
    started: list[subprocess.Popen[str]] = []

    def start(scheme: str, rounds: int) -> Running:
        arguments = command("run", str(THREE), "--out", str(tmp_path), "--scheme", scheme, "--rounds", str(rounds))
        started.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        running = Running(tmp_path, started[-1])
        running.wait(lambda: len(running.lines("round")) >= 2)
        return running

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


@pytest.mark.parametrize("scheme", ["psl", "c2p2sl", "sl", "pipar"])
def test_a_ue_that_is_killed_is_missed_and_comes_back_with_the_weights_that_it_should_have(
    run, leftovers, engine, scheme
):
    running = run(scheme, 60)
    engine.client.api.kill(resource(TRIAL, "ue2"))
    running.wait(lambda: bool(running.lines("fault")))
    engine.client.api.start(resource(TRIAL, "ue2"))
    running.wait(lambda: bool(running.lines("returned")))
    number = running.lines("returned")[0]["round"]
    results = running.end()
    (fault,) = running.lines("fault")
    assert (fault["ue"], fault["kind"]) == ("ue2", "killed") and "exit status 137" in fault["why"]
    rounds = {line["round"]: line for line in running.lines("round")}
    for n, line in rounds.items():
        away = fault["round"] < n < number
        assert ("ue2" in line["samples"]) is not away
        assert line.get("degraded", False) is (n == fault["round"])
        if n != fault["round"]:
            assert (
                sum(came for came, lost in line["samples"].values()) == 36 and not line["samples"].get("ue2", [0, 0])[1]
            )
    assert running.lines("returned")[0]["weights"] == ("shared" if scheme in ("sl", "pipar") else "initial")
    assert [row["round"] for row in results["rounds"] if row["degraded"]] == [fault["round"]]
    assert results["rounds"][-1]["train_loss"] < results["rounds"][0]["train_loss"]
    assert results["accuracy"]["final"] > 0.3
    assert abs(results["summary"]["round_error"]) < 0.1
    assert leftovers() == []


@pytest.mark.parametrize("how", ["paused", "stopped", "cut"])
def test_a_ue_that_hangs_is_found_in_time_and_is_taken_up_again(run, engine, how):
    running = run("c2p2sl", 50)
    injector = Injector(engine, find(engine, TRIAL))
    api, name = engine.client.api, resource(TRIAL, "ue3")
    if how == "cut":
        injector.break_("ue3", "cut")
    else:
        api.pause(name) if how == "paused" else api.kill(name, "SIGSTOP")
    begin = time.monotonic()
    running.wait(lambda: bool(running.lines("fault")))
    assert time.monotonic() - begin < 30
    if how == "cut":
        injector.mend("ue3", "cut")
    else:
        api.unpause(name) if how == "paused" else api.kill(name, "SIGCONT")
    running.wait(lambda: bool(running.lines("returned")))
    running.end()
    (fault,) = running.lines("fault")
    assert (fault["ue"], fault["kind"]) == ("ue3", "cut" if how == "cut" else "frozen")
    (back,) = running.lines("returned")
    assert (back["ue"], back["weights"]) == ("ue3", "own")
