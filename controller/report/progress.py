"""Progress of a trial on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from controller.results import Round


class Terminal:
    """Stages as lines, rounds as one bar per scheme; used as a context manager."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[last]}"), console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Terminal:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage(self, text: str) -> None:
        """A line for a step that begins."""
        self._progress.console.print(f"{text} …", style="dim", highlight=False)

    def scheme(self, label: str, rounds: int) -> None:
        """A bar for the rounds of a scheme."""
        self._tasks[label] = self._progress.add_task(label, total=rounds, last="")

    def round(self, label: str, row: Round) -> None:
        """The bar moves, and shows the round."""
        last = f"{row.round_s:.3f} s, bubble {row.bubble_rate:.3f}, loss {row.train_loss:.3f}"
        self._progress.update(self._tasks[label], advance=1, last=last)
