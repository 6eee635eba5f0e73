"""One process at a time works on a trial; ``testbed down`` ends it; a lock outlives nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from testbed import deploy, lock
from testbed.errors import AwayError, DeployError

ENGINE, NAME = "AB:CD", "mine"
HOLDER = f"""
import signal, sys, time
from testbed.errors import TestbedError
from testbed.lock import held

class Ended(BaseException):
    pass

def end(*_):
    raise Ended

signal.signal(signal.SIGTERM, end if sys.argv[1] == "heeds" else signal.SIG_IGN)
try:
    with held({ENGINE!r}, {NAME!r}, "run"):
        print("ready", flush=True)
        time.sleep(60)
except TestbedError as error:
    print(error)
"""


@contextmanager
def holder(how: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock, and heeds a polite kill, or does not."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, how], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_one_is_refused_and_told_who_is_first() -> None:
    with holder("heeds") as first, pytest.raises(DeployError) as refused, lock.held(ENGINE, NAME, "up"):
        pass
    assert refused.value.message == f"{NAME} is in the hands of testbed run, process {first.pid}"
    assert refused.value.hint == f"wait until it ends, or type: testbed down {NAME}"
    assert refused.value.exit_status == 1


def test_other_names_and_other_engines_are_free() -> None:
    with holder("heeds"), lock.held(ENGINE, "other", "up"), lock.held("another engine", NAME, "up"):
        assert lock.names(ENGINE) == [NAME, "other"]


def test_nothing_is_left_of_a_lock_that_was_given_up() -> None:
    with lock.held(ENGINE, NAME, "up"):
        assert lock.names(ENGINE) == [NAME]
    assert lock.names(ENGINE) == []


def test_the_lock_of_one_that_was_killed_holds_nobody_up() -> None:
    with holder("heeds") as first:
        first.kill()
        first.wait()
        assert lock.names(ENGINE) == [NAME]
        with lock.held(ENGINE, NAME, "up"):
            pass
    assert lock.names(ENGINE) == []


def test_down_knows_that_one_was_killed_and_removes_its_lock() -> None:
    with holder("heeds") as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        with lock.taken_over(ENGINE, NAME) as found:
            assert found == lock.Found(killed=True)
        with lock.taken_over(ENGINE, NAME) as found:
            assert found == lock.Found()
    assert lock.names(ENGINE) == []


def test_down_ends_whoever_is_at_work_and_lets_it_know_why() -> None:
    with holder("heeds") as first:
        with lock.taken_over(ENGINE, NAME) as found:
            assert found.told is not None and (found.told.process, found.stays) == (first.pid, False)
            with pytest.raises(DeployError, match="testbed down, process"), lock.held(ENGINE, NAME, "up"):
                pass
        said, _ = first.communicate(timeout=10)
    assert said == f"{NAME} was ended by testbed down (hint: run it again when you need it)\n"
    assert lock.names(ENGINE) == []


def test_down_does_not_wait_for_ever() -> None:
    with holder("deaf") as first, lock.taken_over(ENGINE, NAME, patience_s=0.3) as found:
        assert found.told is not None and (found.told.process, found.stays) == (first.pid, True)
        assert first.poll() is None


def test_a_file_that_names_another_process_ends_nobody() -> None:
    """Its number was given again, or it is one of another machine that shares the folder."""
    with holder("heeds") as first, subprocess.Popen(["sleep", "60"]) as other:
        (path,) = lock.folder(ENGINE).iterdir()
        path.write_text(path.read_text().replace(f'"process": {first.pid}', f'"process": {other.pid}'))
        with lock.taken_over(ENGINE, NAME, patience_s=0.3) as found:
            assert found.stays
        assert other.poll() is None
        other.kill()


def test_where_nothing_can_be_written_there_is_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    with lock.held(ENGINE, NAME, "run"), lock.held(ENGINE, NAME, "up"), lock.taken_over(ENGINE, NAME) as found:
        assert found == lock.Found()


def test_where_the_engine_stays_away_it_is_said_what_removes_the_rest() -> None:
    engine: Any = SimpleNamespace(id=ENGINE)
    with pytest.raises(AwayError) as away, deploy.at_work(engine, NAME, "run"):
        raise AwayError("the Docker engine does not answer any more", "see its log")
    assert away.value.message == f"the Docker engine does not answer any more; what {NAME} has there is left"
    assert away.value.hint == f"when Docker answers again, type: testbed down {NAME}"
    assert lock.names(ENGINE) == []
