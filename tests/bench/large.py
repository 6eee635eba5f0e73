"""What is made of a large run directory (16 UEs, 12 schemes, 50 rounds): how long it takes, and how large it is."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from controller.report.recorded import recorded
from controller.trial.journal import FILE
from testbed.loading import parse
from tests.bench.number import Number, at_most
from tests.recorded import write

SCHEMES = Path("topologies/schemes.yaml")
UES, ROUNDS, SAMPLES = 16, 50, 256
READ_S, TOGETHER_S, MOST_MB = 4.0, 15.0, 10.0
VERBS = {"report --page-only": "report.html", "trace": "trace.pftrace.gz"}
"""Verbs that show a trial afterwards, and the file of the run directory that each writes."""
FIGURES = "report"


def numbers() -> list[Number]:
    """Reading, and each verb as it is typed, from its start to its end."""
    with large() as out:
        start = time.perf_counter()
        found = recorded(out)
        read_s = time.perf_counter() - start
        tasks = sum(len(record.rows(number)) for record in found.records.values() for number in record.ends)
        size = f"{tasks} tasks, {(out / FILE).stat().st_size / 1e6:.0f} MB"
        took_s = {verb: _seconds(verb, out) for verb in VERBS}
        figures_s = _seconds(FIGURES, out)
        sizes = {file: (out / file).stat().st_size / 1e6 for file in VERBS.values()}
    each = ", ".join(f"{verb} {seconds:.1f} s" for verb, seconds in took_s.items())
    return [
        at_most(f"{UES} UEs, {len(found.records)} schemes, {ROUNDS} rounds ({size}): read", READ_S, read_s, "s"),
        at_most(f"the same: {each}", TOGETHER_S, sum(took_s.values()), "s", 1),
        at_most("the same: page and figures", TOGETHER_S, figures_s, "s", 1),
        *(at_most(f"the same: {file}", MOST_MB, megabytes, "MB", 1) for file, megabytes in sizes.items()),
    ]


@contextmanager
def large() -> Iterator[Path]:
    """The run directory of every scheme, on more UEs and over more rounds than in the topology that ships."""
    data = yaml.safe_load(SCHEMES.read_text())
    first, last = data["ues"][0], data["ues"][-1]
    span = {"count": UES, "distance_m": [first["distance_m"], last["distance_m"]]}
    data["ues"] = {**first, **span}
    del data["ues"]["name"]
    data["training"] |= {"batch": SAMPLES, "rounds": ROUNDS}
    for scheme in data["schemes"]:
        if isinstance(scheme, dict):
            scheme.pop("rounds", None)
    with tempfile.TemporaryDirectory() as folder:
        yield write(Path(folder), parse(yaml.safe_dump(data), str(SCHEMES)), noise=0.02)


def _seconds(verb: str, out: Path) -> float:
    start = time.perf_counter()
    program = "import sys; from controller.cli import main; main(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", program, *verb.split(), str(out)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start
