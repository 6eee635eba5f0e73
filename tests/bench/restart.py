"""The Docker engine of this machine is restarted under a trial: how that ends, and what is left. Root; ends whatever
else runs in containers here."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from controller.trial.journal import FILE
from testbed.container import LABEL
from testbed.engine import Engine
from testbed.errors import EngineError
from tests.bench.number import Number, at_most

TOPOLOGY, TRIAL = Path("tests/trial/small.yaml"), "small"
PID = Path("/var/run/docker.pid")
ENDS_S, BACK_S = 120.0, 60.0


def numbers() -> list[Number]:
    """How the trial ended, after how long, and what was left by itself and after ``testbed down``."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        arguments = ["run", str(TOPOLOGY), "--out", str(out), "--scheme", "psl", "--rounds", "1000", "--yes"]
        trial = _testbed(*arguments)
        while not (out / FILE).exists() or b'"event": "round"' not in (out / FILE).read_bytes():
            assert trial.poll() is None, trial.communicate()
            time.sleep(0.1)
        begin = time.monotonic()
        _restart()
        _, errors = trial.communicate(timeout=ENDS_S)
        took_s = time.monotonic() - begin
    engine = Engine.connect()
    left = len(engine.labelled(**{LABEL: TRIAL}))
    down = _testbed("down", TRIAL)
    _, complaint = down.communicate(timeout=ENDS_S)
    last = (errors.strip().splitlines() or ["nothing"])[-1]
    said = trial.returncode == 1 and "Traceback" not in errors and "(hint: " in last
    return [
        Number("a trial whose engine is restarted ends with", "status 1 and one line", last, said),
        at_most("it ends after", ENDS_S, took_s, "s", 1),
        at_most("left by the trial", 0, left, "", 0),
        at_most("left after down", 0, len(engine.labelled(**{LABEL: TRIAL})), complaint.strip(), 0),
    ]


def _testbed(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from controller.cli import main; main()", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _restart() -> None:
    """As a machine's own service manager would; returns when the engine answers again."""
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "restart", "docker"], check=True)
    else:
        number = int(PID.read_text())
        command = Path(f"/proc/{number}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        daemon = os.pidfd_open(number)
        signal.pidfd_send_signal(daemon, signal.SIGTERM)
        assert select.select([daemon], [], [], BACK_S)[0], "dockerd does not end"
        with Path("/var/log/testbed-dockerd.log").open("ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            subprocess.Popen(command, start_new_session=True, **streams)
    end = time.monotonic() + BACK_S
    while True:
        try:
            Engine.connect()
            return
        except EngineError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
