"""The command line as a whole: its verbs, and how it ends."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from controller.cli.calibrate import calibrate
from controller.cli.chaos import chaos
from controller.cli.check import check
from controller.cli.doctor import doctor
from controller.cli.down import down
from controller.cli.images import images_app
from controller.cli.links import links_app
from controller.cli.monitor import monitor_app
from controller.cli.plan import plan
from controller.cli.ps import ps
from controller.cli.report import report
from controller.cli.results import results
from controller.cli.run import run
from controller.cli.topology import topology
from controller.cli.trace import trace
from controller.cli.up import up
from controller.cli.validate import validate
from controller.cli.watch import watch
from testbed.errors import TestbedError

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Split learning over wireless edge networks: real containers, real training, really shaped links.",
)
for verb in (
    validate,
    topology,
    plan,
    calibrate,
    doctor,
    up,
    run,
    watch,
    results,
    report,
    trace,
    chaos,
    check,
    ps,
    down,
):
    app.command()(verb)
app.add_typer(images_app, name="images")
app.add_typer(links_app, name="links")
app.add_typer(monitor_app, name="monitor")


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """``--debug`` is taken out by ``main``, wherever it stands; here it is only described."""


class Interrupted(BaseException):
    """Ctrl-C, a polite kill or a lost terminal; not KeyboardInterrupt, for which typer has its own ending."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; errors become one line and an exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    for number in ENDINGS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _interrupt)
    try:
        app(args=[a for a in given if a != "--debug"], prog_name="testbed")
    except TestbedError as error:
        if debug:
            raise
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    except Interrupted:
        print("interrupted; everything that was started has been removed", file=sys.stderr)
        sys.exit(1)


def _interrupt(number: int, *_: object) -> None:
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)  # a second one must not stop the clean-up
    if number == signal.SIGHUP:
        _leave_terminal()
    raise Interrupted


def _leave_terminal() -> None:
    """Nothing can be printed to a terminal that is gone, and trying would stop the clean-up; a file stays."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
