"""Verbs whose engine is slow, breaks off, refuses and fails: they end well or with one line, and nothing is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.proxy import drawn, proxied
from tests.trial.conftest import SMALL, TRIAL, call

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif("DOCKER_HOST" in os.environ, reason="the proxy knows the engine of this machine only"),
]
RATE = 0.04


@pytest.mark.parametrize("seed", [1, 2])
def test_a_trial_on_a_bad_engine_ends_well_or_says_why(tmp_path: Path, leftovers, monkeypatch, seed: int) -> None:
    with proxied(tmp_path / "docker.sock", drawn(seed, RATE)) as proxy:
        monkeypatch.setenv("DOCKER_HOST", proxy.url)
        arguments = ("--out", str(tmp_path / "out"), "--scheme", "psl", "--rounds", "3")
        for verb in (("up", str(SMALL)), ("run", str(SMALL), *arguments), ("down", TRIAL)):
            done = call(*verb)
            assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
            assert done.returncode == 0 or "(hint: " in done.stderr.splitlines()[-1], done.stderr
        assert len(proxy.happened) > 3
        monkeypatch.delenv("DOCKER_HOST")
    done = call("down", TRIAL)
    assert (done.returncode, leftovers()) == (0, []), done.stderr


def test_an_engine_that_goes_away_in_a_trial_is_said_to_be_away_with_what_removes_the_rest(
    tmp_path: Path, leftovers, monkeypatch
) -> None:
    """For good, as far as the testbed can know: it has been asked for long enough."""

    def draw(method: str, path: str) -> str | None:
        return "refuse" if path.endswith("/start") else None

    with proxied(tmp_path / "docker.sock", draw, away_s=600.0) as proxy:
        monkeypatch.setenv("DOCKER_HOST", proxy.url)
        done = call("up", str(SMALL))
        monkeypatch.delenv("DOCKER_HOST")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"the Docker engine does not answer any more; what {TRIAL} has there is left "
        f"(hint: when Docker answers again, type: testbed down {TRIAL})"
    )
    assert call("down", TRIAL).returncode == 0
    assert leftovers() == []
