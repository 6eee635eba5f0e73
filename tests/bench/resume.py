"""Kill −9 of the base station and of the controller amid rounds: the final weights are those of a calm run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from controller.trial.journal import FILE, Line, read
from testbed import deploy
from testbed.engine import Engine
from tests.bench.number import Number, at_most

ROUNDS, KILLS, EVERY, SEED = 50, 10, 5, 14
NAME = "killed"
TOPOLOGY = f"""
name: {NAME}
seed: 3
checkpoint_every: {EVERY}
training: {{batch: 32, rounds: {ROUNDS}, evaluate_every: {ROUNDS}}}
model: {{norm: batch}}
radio: {{bandwidth_mhz: 5}}
base_station: {{clock_ghz: 4, flops_per_cycle: 1.5}}
ues:
  - {{name: ue1, distance_m: 120, flops_per_cycle: 1.5}}
  - {{name: ue2, distance_m: 300, flops_per_cycle: 1.5}}
schemes: [{{scheme: c2p2sl, cut: 2, micro_batches: 4}}]
"""
PATIENCE_S = 120.0


def numbers() -> list[Number]:
    """Both kinds of kills."""
    return [*of_the_base_station(), *of_the_controller()]


def of_the_base_station() -> list[Number]:
    """The base station is killed in some rounds: how many weights differ at the end, and what a kill costs."""
    with _folder() as folder:
        calm, out = _calm(folder), folder / "bs"
        process = _start(_run(folder, out))
        for before, (number, share) in enumerate(_moments(0)):
            line = _begun(process, out, number, ("restart", before))
            time.sleep(share * line["predicted_s"])
            Engine.connect().client.api.kill(deploy.resource(NAME, "bs"))
        _done(process)
        again = [line["wall_s"] for line in read(out) if line["event"] == "restart"]
        what = f"base station killed in {KILLS} of {ROUNDS} rounds"
        return [
            _same(f"{what}: final weights", calm, out),
            Number(f"{what}: restarts", f"{KILLS}", f"{len(again)}", len(again) == KILLS),
            at_most(f"{what}: until all are ready again, the slowest", 60, max(again, default=0.0), "s", 1),
        ]


def of_the_controller() -> list[Number]:
    """The controller is killed in some rounds, and the trial resumed each time."""
    with _folder() as folder:
        calm, out = _calm(folder), folder / "controller"
        process = _start(_run(folder, out))
        for before, (number, share) in enumerate(_moments(1)):
            line = _begun(process, out, number, ("resume", before))
            time.sleep(share * line["predicted_s"])
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            process = _start(["run", "--resume", str(out), "--quiet"])
        _done(process)
        resumed = sum(line["event"] == "resume" for line in read(out))
        what = f"controller killed in {KILLS} of {ROUNDS} rounds"
        return [
            _same(f"{what}: final weights", calm, out),
            Number(f"{what}: resumed", f"{KILLS}", f"{resumed}", resumed == KILLS),
            at_most(f"{what}: left afterwards", 0, len(deploy.ps(Engine.connect(), NAME)), "containers", 0),
        ]


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "killed.yaml").write_text(TOPOLOGY)
        try:
            yield folder
        finally:
            deploy.down(Engine.connect(), NAME)


def _calm(folder: Path) -> str:
    """The digest of all weights at the end of a run in which nothing happens."""
    out = folder / "calm"
    _done(_start(_run(folder, out)))
    return _weights(out)


def _moments(stream: int) -> list[tuple[int, float]]:
    """In which rounds, and after what share of their predicted length, from the seed."""
    rng = np.random.default_rng([SEED, stream])
    numbers = sorted(rng.choice(np.arange(1, ROUNDS + 1), KILLS, replace=False).tolist())
    return list(zip(numbers, rng.uniform(0.0, 0.9, KILLS).tolist(), strict=True))


def _run(folder: Path, out: Path) -> list[str]:
    return ["run", str(folder / "killed.yaml"), "--out", str(out), "--quiet"]


def _start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "from controller.cli import main; main()", *arguments])


def _begun(process: subprocess.Popen[bytes], out: Path, number: int, after: tuple[str, int]) -> Line:
    """The line of a round that has begun and not ended, after so many lines of an event: what was killed is back."""
    late = time.monotonic() + PATIENCE_S
    while time.monotonic() < late and process.poll() is None:
        if (out / FILE).exists() and (out / FILE).stat().st_size:
            lines = read(out)
            back = sum(line["event"] == after[0] for line in lines) == after[1]
            if back and lines[-1]["event"] == "round_begins" and lines[-1]["round"] == number:
                return lines[-1]
        time.sleep(0.01)
    raise TimeoutError(f"round {number} has not begun: the trial ended with {process.poll()}")


def _done(process: subprocess.Popen[bytes]) -> None:
    if process.wait(600):
        raise RuntimeError(f"a trial ended with exit status {process.returncode}")


def _same(what: str, calm: str, out: Path) -> Number:
    found = _weights(out)
    return Number(what, f"as undisturbed, {calm[:12]}", found[:12], found == calm)


def _weights(out: Path) -> str:
    return next(line["weights"] for line in read(out) if line["event"] == "scheme_end")
