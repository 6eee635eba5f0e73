"""``make bench``: runs the benchmarks named on the command line, or all, and prints asked beside measured.

Exit status 1 when a number is missed, so that a miss is seen; nothing here is loosened to pass.
"""

from __future__ import annotations

import signal
import sys

from rich.console import Console
from rich.table import Table

from tests.bench import (
    accuracy,
    chaos,
    dilation,
    exporter,
    field,
    fuzz,
    fuzz_files,
    large,
    links,
    live,
    memory,
    papers,
    pipar,
    planning_ao,
    planning_makespan,
    planning_managers,
    qdiscs,
    replan,
    resnet,
    restart,
    resume,
    schemes,
    sigkill,
    simulate,
    soak,
    strangers,
    transfers,
    verdict,
)
from tests.bench.number import Number

BENCHES = {
    "accuracy": accuracy.numbers,
    "links": links.numbers,
    "live": live.numbers,
    "qdiscs": qdiscs.numbers,
    "field": field.numbers,
    "fuzz-frames": fuzz.numbers,
    "schemes": schemes.numbers,
    "planning-ao": planning_ao.numbers,
    "planning-makespan": planning_makespan.numbers,
    "planning-managers": planning_managers.numbers,
    "replan": replan.numbers,
    "simulate": simulate.numbers,
    "strangers": strangers.numbers,
    "transfers": transfers.numbers,
    "resnet": resnet.numbers,
    "resume": resume.numbers,
    "verdict": verdict.numbers,
    "dilation": dilation.numbers,
    "memory": memory.numbers,
    "exporter": exporter.numbers,
    "large": large.numbers,
    "sigkill": sigkill.numbers,
    "soak": soak.numbers,
    "fuzz-files": fuzz_files.numbers,
}
ALONE = {"chaos": chaos.numbers}
"""What ``make chaos`` runs: half an hour."""
OF_THE_PAPERS = {
    "papers-planning": papers.planning,
    "papers-hard": papers.scenes,
    "papers-table1": papers.table_1,
    "papers-scenes": papers.of_the_papers,
    "papers-pipar": pipar.numbers,
    "papers-all": papers.every_file,
}
"""What ``make bench-papers`` runs: hours, with nothing else on the machine."""

DISTURBING = {"restart": restart.numbers}
"""What ends the containers of others, too, and so is run by its name alone."""


def main(names: list[str]) -> int:
    """Runs benchmarks; how many numbers were missed, at most 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what a benchmark started goes with it
    found: list[Number] = []
    known = BENCHES | ALONE | OF_THE_PAPERS | DISTURBING
    for name in (OF_THE_PAPERS if names == ["papers"] else names) or BENCHES:
        found += known[name]()
    table = Table(title="asked and measured", title_justify="left")
    for heading in ("what", "asked", "measured", "met"):
        table.add_column(heading)
    for number in found:
        table.add_row(number.what, number.asked, number.measured, "yes" if number.met else "NO")
    Console(width=150).print(table)
    return int(not all(number.met for number in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
