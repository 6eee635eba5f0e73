"""Progress of a trial on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from controller.trial.watch import Event, Learned, RoundEnded, SchemeBegins, Stage, Warned


class Terminal:
    """Stages as lines, rounds as one bar per scheme; used as a context manager."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[last]}"), console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress.live.is_started:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Shows an event: a line for a stage, a bar for a scheme, its movement for a round."""
        self._progress.start()  # not before there is something to show: it leaves an empty line
        match event:
            case Stage(text):
                self._progress.console.print(f"{text} …", style="dim", highlight=False)
            case Learned(text):
                self._progress.console.print(text, style="dim", highlight=False)
            case Warned(text):
                self._progress.console.print(f"warning: {text}", highlight=False)
            case SchemeBegins(label, rounds):
                self._tasks[label] = self._progress.add_task(label, total=rounds, last="")
            case RoundEnded(label, row):
                last = f"{row.round_s:.3f} s, bubble {row.bubble_rate:.3f}, loss {row.train_loss:.3f}"
                self._progress.update(self._tasks[label], advance=1, last=last)
