"""A testbed that is killed at a moment of a verb: what is left after ``testbed down``, and how its trial goes on."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.trial.journal import FILE, finished, read
from testbed.container import LABEL
from testbed.engine import Engine

TOPOLOGY = Path(__file__).parent / "trial" / "small.yaml"
TRIAL = "small"
VERBS = ("up", "run", "down")
SETTLES_S = 10.0
"""The kernel takes a virtual cable away a moment after its container."""
OURS = ("-m agents", "testbed.shaping", "controller.cli")


@dataclass(frozen=True)
class Moment:
    """A verb, and after which share of the time that it takes undisturbed it is killed."""

    verb: str
    share: float


def moments(seed: int, count: int) -> list[Moment]:
    """So many moments, verb by verb in turn."""
    source = random.Random(seed)
    return [Moment(VERBS[i % len(VERBS)], source.uniform(0.0, 0.98)) for i in range(count)]


class Killed:
    """The command line with a folder for what it says of trials, which is killed and cleaned up after."""

    def __init__(self, folder: Path, engine: Engine, schemes: str = "psl", rounds: int = 5) -> None:
        self._folder, self._engine, self._chosen = folder, engine, ("--scheme", schemes, "--rounds", str(rounds))
        self._environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        self._runs, self._schemes, self._rounds = 0, len(schemes.split(",")), rounds
        self._takes_s: dict[str, float] = {}

    def at(self, moment: Moment) -> list[str]:
        """Kills a verb at this moment and takes its trial down; what is wrong then."""
        before, out = self._host(), self._out()
        takes_s = self._takes(moment.verb)
        if moment.verb == "down":
            self._done("up", str(TOPOLOGY))
        process = self._start(*self._arguments(moment.verb, out))
        time.sleep(moment.share * takes_s)
        process.kill()
        process.communicate()
        down = self._start("down", TRIAL)
        _, errors = down.communicate(timeout=120)
        wrong = [f"down: {errors.strip()}"] if down.returncode else []
        end = time.monotonic() + SETTLES_S
        while (left := [*self._labelled(), *self._files(), *sorted(self._host() - before)]) and time.monotonic() < end:
            time.sleep(0.1)
        return [*wrong, *left, *(self._goes_on(out) if moment.verb == "run" else ())]

    def _goes_on(self, out: Path) -> list[str]:
        """A trial whose controller was killed is brought to its end, or begun where there was none; what is wrong."""
        if not finished(out):
            arguments = ("--resume", str(out)) if _has_begun(out) else self._arguments("run", out)[1:]
            process = self._start("run", *arguments)
            _, errors = process.communicate(timeout=300)
            if process.returncode or not finished(out):
                return [f"run {arguments[0]}: {errors.strip().splitlines()[-1]}"]
        rounds = [line["round"] for line in read(out) if line["event"] == "round"]
        whole = list(range(1, self._rounds + 1)) * self._schemes
        return [] if rounds == whole else [f"rounds {rounds}"]

    def _takes(self, verb: str) -> float:
        """How long a verb takes that nobody kills."""
        if not self._takes_s:
            self._done("down", TRIAL)
            for one in ("up", "down", "run"):
                begin = time.monotonic()
                self._done(*self._arguments(one, self._out()))
                self._takes_s[one] = time.monotonic() - begin
        return self._takes_s[verb]

    def _out(self) -> Path:
        self._runs += 1
        return self._folder / f"out-{self._runs}"

    def _arguments(self, verb: str, out: Path) -> Sequence[str]:
        return {
            "up": ("up", str(TOPOLOGY)),
            "run": ("run", str(TOPOLOGY), "--out", str(out), *self._chosen),
            "down": ("down", TRIAL),
        }[verb]

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from controller.cli import main; main()", *arguments]
        return subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def _done(self, *arguments: str) -> None:
        process = self._start(*arguments)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors

    def _labelled(self) -> list[str]:
        return [str(thing) for thing in self._engine.labelled(**{LABEL: TRIAL})]

    def _files(self) -> list[str]:
        """What says that somebody works on a trial, or that one is there to be watched."""
        state = self._folder / "state" / "testbed"
        found = [*state.glob("locks/*/*"), *state.glob("targets/*.json")]
        return [f"file {path.relative_to(state)}" for path in found]

    def _host(self) -> set[str]:
        """Interfaces, qdiscs and processes of this machine."""
        shown = subprocess.run(["tc", "-j", "qdisc", "show"], capture_output=True, text=True, check=True).stdout
        return {
            *(f"interface {name}" for name in os.listdir("/sys/class/net")),
            *(f"qdisc {one['kind']} of {one['dev']}" for one in json.loads(shown)),
            *_processes(),
        }


def _has_begun(out: Path) -> bool:
    """Whether the trial had come to its journal."""
    return (out / FILE).exists() and b"\n" in (out / FILE).read_bytes()


def _processes() -> Iterator[str]:
    """What could be ours, in containers or outside."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(word in command for word in OURS):
            yield f"process {folder.name}: {command.strip()}"
