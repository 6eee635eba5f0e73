"""SIGKILL of the testbed at moments of up, run and down: what ``testbed down`` leaves, and whether a trial goes on.

``python -m tests.bench.sigkill FIRST LAST`` tries some of the moments only.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from testbed.engine import Engine
from tests.bench.number import Number, at_least
from tests.killed import Killed, moments

SEED, MOMENTS = 14, 25


def numbers(first: int = 1, last: int = MOMENTS) -> list[Number]:
    """After how many of these moments nothing is left, and a trial that was killed comes to its end."""
    well = 0
    with tempfile.TemporaryDirectory() as folder:
        killed = Killed(Path(folder), Engine.connect())
        for number, moment in list(enumerate(moments(SEED, MOMENTS), 1))[first - 1 : last]:
            wrong = killed.at(moment)
            well += not wrong
            print(f"{number}: {moment.verb} killed after {moment.share:.0%}: {'; '.join(wrong) or 'well'}", flush=True)
    count = last - first + 1
    return [
        at_least(
            "moments of SIGKILL after which down leaves nothing and a trial goes on", count, well, f"of {count}", 0
        )
    ]


if __name__ == "__main__":
    print(*numbers(*map(int, sys.argv[1:])), sep="\n")
