"""Whoever watches a trial from a terminal: a picture that is drawn anew, or lines where there is no terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from controller.report.live.plain import plain
from controller.report.live.state import Seen, after
from controller.report.live.view import view
from controller.trial.duration import in_words
from controller.trial.watch import Event, Learned, Stage, TrialBegins, Warned, Watcher, silent

LEAST_S, MOST_S, TICK_S = 0.25, 2.0, 1.0
"""Between two pictures, at the least and at the most; and how often it is drawn anew though nothing happened."""
SHARE = 0.005
"""Of a core's time that pictures may take: the next one waits for as long as the last one was dear."""
ASCII = str.maketrans("▁▂▃▄▅▆▇█·…→−", "_.:-=+*#.~>-")


@contextmanager
def watching(console: Console, name: str, quiet: bool = False) -> Iterator[Watcher]:
    """A watcher for a trial of this name: a picture on a terminal, lines elsewhere, nothing if it is to be quiet."""
    if quiet:
        yield silent
    elif not console.is_terminal or console.is_dumb_terminal:
        yield Lines(console)
    else:
        with Picture(console, name) as picture:
            yield picture


class Lines:
    """One line for each stage and round, written at once."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, event: Event) -> None:
        """Writes what an event is worth."""
        for line in plain(event):
            # print writes the end apart: an interrupt in between joined two lines
            self._console.file.write(f"{line}\n")
            self._console.file.flush()


class Picture:
    """The trial so far, drawn by a thread of its own when something happened. Used as a context manager.

    What is worth keeping (what stages came to, warnings) is printed above it and stays. When all went well the picture
    goes, as results follow; else it stays as it was.
    """

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._seen = console, Seen(name)
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._happened, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._draw_all, name="picture", daemon=True)

    def __enter__(self) -> Picture:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        if not self._live.is_started:
            return
        self._over.set()
        self._happened.set()
        self._thread.join()
        self._draw()
        self._live.transient = kind is None
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Takes an event in; it is drawn soon."""
        now = time.time()
        if not self._live.is_started:  # not before there is something to show: it leaves an empty line
            self._live.start()
            self._thread.start()
        for line in _lasting(self._seen, event, now):
            self._console.print(Text(self._written(line), "dim"))
        self._seen = after(self._seen, event, now)
        self._happened.set()

    def _draw_all(self) -> None:
        while not self._over.is_set():
            self._happened.wait(TICK_S)
            self._happened.clear()
            began_s = time.thread_time()
            self._draw()
            self._over.wait(min(MOST_S, max(LEAST_S, (time.thread_time() - began_s) / SHARE)))

    def _draw(self) -> None:
        width, height = self._console.size
        lines = view(self._seen, time.time(), width, height - 1)
        drawn = (Text(self._written(line.text), line.style, no_wrap=True, overflow="ellipsis") for line in lines)
        self._live.update(Group(*drawn), refresh=True)

    def _written(self, text: str) -> str:
        return text if self._console.encoding.startswith("utf") else text.translate(ASCII)


def _lasting(seen: Seen, event: Event, now: float) -> Iterator[str]:
    """What stays on the terminal: each stage with the time it took, what it came to, and warnings."""
    if isinstance(event, Stage | Learned | TrialBegins) and seen.stage is not None and not seen.schemes:
        yield f"{seen.stage}: {in_words(now - seen.stage_at)}"
    if isinstance(event, Learned):
        yield event.text
    if isinstance(event, Warned):
        yield f"warning: {event.text}"
