"""What the live view of a large trial costs: 12 schemes, 100 UEs, a round every quarter of a second."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from controller.report.live.terminal import watching
from controller.trial.watch import Coming, Event, TrialBegins
from tests.bench.number import Number, at_most
from tests.unit.told import round_begins, round_ended, scheme_begins, scheme_ended

SCHEMES, UES, ROUNDS = 12, 100, 50
EVERY_S, WATCHED_S = 0.25, 20.0
MOST_PERCENT = 1.0


def numbers() -> list[Number]:
    """The share of a core that watching takes from this process, events taken in and pictures drawn."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere, force_terminal=True, width=120, height=40)
        events = _events()
        with watching(console, "large") as watcher:
            watcher(next(events))
            began_s, cpu_s = time.perf_counter(), time.process_time()
            for at_s, event in enumerate(events):
                time.sleep(max(0.0, began_s + at_s * EVERY_S / 2 - time.perf_counter()))  # two events a round
                watcher(event)
                if time.perf_counter() - began_s > WATCHED_S:
                    break
            percent = 100 * (time.process_time() - cpu_s) / (time.perf_counter() - began_s)
    what = f"live view of {SCHEMES} schemes, {UES} UEs, a round every {EVERY_S:g} s"
    return [at_most(what, MOST_PERCENT, percent, "% of a core")]


def _events() -> Iterator[Event]:
    names = tuple(f"ue{i + 1}" for i in range(UES))
    labels = [f"scheme-{i + 1}" for i in range(SCHEMES)]
    yield TrialBegins("large", names, 1.0, tuple(Coming(label, ROUNDS, 12.5) for label in labels), time.time())
    for label in labels:
        yield scheme_begins(label, ROUNDS)
        for number in range(1, ROUNDS + 1):
            yield round_begins(label, number, time.time())
            yield round_ended(label, number, 2.0, {name: i / UES for i, name in enumerate(names)}, time.time())
        yield scheme_ended(label)
