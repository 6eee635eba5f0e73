"""Mutated topologies, journals and checkpoints: no traceback, no hang, memory bounded; what was wrong is printed."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.bench.number import Number, at_most
from tests.fuzzing.attempts import bounded_memory
from tests.fuzzing.readers import Reader, checkpoints, journals, topologies

COUNTS = {"topologies": 20_000, "journals": 5_000, "checkpoints": 5_000}
SEED = 14
QUIET = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


def numbers() -> list[Number]:
    """For each kind of file, how many of so many mutated ones met a user with a bug."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = {
            "topologies": topologies(),
            "journals": journals(Path(folder)),
            "checkpoints": checkpoints(Path(folder)),
        }
        return [
            at_most(f"{tried} mutated {kind}: tracebacks, hangs, wrong exits", 0, bad, "", 0)
            for kind, reader in kinds.items()
            for tried, bad in [fuzz(kind, reader, int(os.environ.get("FUZZ", COUNTS[kind])), Path(folder, kind))]
        ]


def fuzz(kind: str, reader: Reader, count: int, folder: Path) -> tuple[int, int]:
    """How many files were tried, and with how many something was wrong; one of each kind is kept beside the runs."""
    found: defaultdict[str, list[bytes]] = defaultdict(list)
    tried = 0
    folder.mkdir(parents=True, exist_ok=True)

    @seed(SEED)
    @settings(QUIET, max_examples=count)
    @given(reader.files)
    def each(content: bytes) -> None:
        nonlocal tried
        tried += 1
        if said := reader.read(content, folder):
            found[said.partition(": '")[0].partition(': "')[0]].append(content)

    with bounded_memory():
        each()
    for number, (said, examples) in enumerate(sorted(found.items(), key=lambda one: -len(one[1]))):
        shortest = min(examples, key=len)
        kept = Path("runs/fuzz", f"{kind}-{number}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(shortest)
        print(f"{kind}: {len(examples)} × {said} ({kept})", file=sys.stderr)
    return tried, sum(map(len, found.values()))
