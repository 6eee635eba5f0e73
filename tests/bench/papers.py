"""The papers' scenes on real containers: how close rounds, bubble rates, savings and memory come to what was planned.

``python -m tests.bench papers-table1`` (and ``papers-scenes``, ``papers-all``); all of them: ``make bench-papers``.
``python -m tests.bench.papers FILE …`` runs two rounds of some files only.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from controller.judge.results import Results
from controller.planners.planning import Planned
from controller.trial.demand import demands
from controller.trial.prepare import Prepared, prepare
from controller.trial.watch import silent
from testbed.deploy import BS
from testbed.engine import Engine
from testbed.errors import InputError
from testbed.loading import load
from testbed.topology import Topology
from tests.bench import memory
from tests.bench.number import Number, at_most

TOPOLOGIES = Path("topologies")
SCENES = Path(__file__).parent / "scenes"
TABLE_1 = TOPOLOGIES / "papers" / "c2p2sl-table1.yaml"
TABLE_1_SCHEMES = ("psl", "c2p2sl-ao", "c2p2sl-makespan")
OF_THE_PAPERS = ("cpsl-table2", "pipar-pi-4g", "pipar-pi-wifi", "epsl")
ROUND_ERROR, BUBBLE_ERROR = 1.5, 0.01
ENOUGH = 10.0
"""A dilation above this needs a reason."""
SLOW_LINKS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("cellular", ("psl",), 1.5),
    ("cellular", ("c2p2sl",), ENOUGH),  # its base station's tasks of 0.5 ms are a tenth of what the host takes for them
    ("unlike", (), 2.0),
)
"""Scenes, which of their schemes (all, if none is named), and the largest dilation asked for."""


def table_1() -> list[Number]:
    """C²P²SL's Table I at n = 8 and 100 MHz with the real ResNet-18: errors, savings as planned, and the dilation."""
    topology = _with(load(TABLE_1), rounds=3, schemes=TABLE_1_SCHEMES)
    prepared = prepare(Engine.connect(), topology, silent)
    results, taken, wall_s = _run(topology)
    planned = {one.label: one.predicted.round_s for one in prepared.planned}
    found = [*_errors("table1", results), *taken, _host_allows(prepared)]
    for label in TABLE_1_SCHEMES[1:]:
        saved = _saved(label, {name: one.summary.round_s.median for name, one in results.schemes.items()})
        asked = _saved(label, planned)
        what = f"table1: what {label} saves against psl, planned {asked:.1f} %, measured {saved:.1f} %: apart"
        found.append(at_most(what, 1, abs(saved - asked), "points"))
    print(f"table1: {wall_s / 60:.1f} min", flush=True)
    return found


def scenes() -> list[Number]:
    """Scenes that slow links and unlike devices make hard to fit to a host: D, and every round."""
    found: list[Number] = []
    for name, schemes, most in SLOW_LINKS:
        topology = load(SCENES / f"{name}.yaml")
        results, taken, _ = _run(_with(topology, topology.training.rounds, schemes))
        name = f"{name} {' '.join(schemes)}".strip()
        found.append(at_most(f"{name}: D", most, results.time_dilation, ""))
        found += [*_errors(name, results, 1.0), *taken]
    return found


def every_file(paths: Sequence[Path] = ()) -> list[Number]:
    """Every topology that ships, or these, two rounds of each scheme, as it is but for the number of rounds.

    One whose profile is not that of a model that can be built is for planning alone, and says so.
    """
    found: list[Number] = []
    for path in paths or sorted(TOPOLOGIES.rglob("*.yaml")):
        name = path.stem
        try:
            results, taken, wall_s = _run(_with(load(path), rounds=2))
        except InputError as error:
            found.append(Number(f"{name}: refused", "-", str(error), error.path.startswith("model.profile")))
            continue
        name = f"{name} ({wall_s / 60:.1f} min)"
        found += [_dilation(name, path, results), *_errors(name, results), *taken]
    return found


def of_the_papers() -> list[Number]:
    """The other papers' scenes with the rounds that their files ask for."""
    found: list[Number] = []
    for name in OF_THE_PAPERS:
        results, taken, wall_s = _run(load(TOPOLOGIES / "papers" / f"{name}.yaml"))
        found += [*_errors(name, results), *taken, at_most(f"{name}: wall time", 30, wall_s / 60, "min", 1)]
    return found


def planning() -> list[Number]:
    """``testbed plan`` of quickstart the second time, by the clock."""
    command = [sys.executable, "-c", "from controller.cli import main; main()", "plan", "topologies/quickstart.yaml"]
    times = []
    for _ in range(6):
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - start)
    return [at_most("testbed plan quickstart, the second time (median of 5)", 1.5, sorted(times[1:])[2], "s")]


def _run(topology: Topology) -> tuple[Results, list[Number], float]:
    """What came of a trial, the memory that it took, and its wall time (s)."""
    start = time.monotonic()
    results, memory_numbers = memory.run(topology)
    wall_s = time.monotonic() - start
    print(f"{topology.name}: {wall_s / 60:.1f} min", flush=True)
    return results, memory_numbers, wall_s


def _with(topology: Topology, rounds: int, schemes: tuple[str, ...] = ()) -> Topology:
    """So many rounds of each scheme, evaluated once."""
    training = topology.training.model_copy(update={"rounds": rounds, "evaluate_every": rounds})
    chosen = tuple(
        one.model_copy(update={"rounds": None}) for one in topology.schemes if not schemes or one.key in schemes
    )
    return topology.model_copy(update={"training": training, "schemes": chosen})


def _errors(name: str, results: Results, limit: float = ROUND_ERROR) -> Iterator[Number]:
    for label, one in results.schemes.items():
        summary, reasons = one.summary, "; ".join(one.fidelity.reasons)
        yield at_most(f"{name}, {label}: round error", limit, 100 * abs(summary.round_error), "%")
        yield at_most(f"{name}, {label}: bubble rate error", BUBBLE_ERROR, abs(summary.bubble_rate_error), "", 4)
        yield Number(f"{name}, {label}: verdict", "yes", reasons or "yes", one.fidelity.ok)


def _saved(label: str, round_s: dict[str, float]) -> float:
    return 100 * (1 - round_s[label] / round_s["psl"])


def _dilation(name: str, path: Path, results: Results) -> Number:
    """The dilation, with what does not let it be less where it is large."""
    found = at_most(f"{name}: D", ENOUGH, results.time_dilation, "")
    if found.met:
        return found
    why = prepare(Engine.connect(), load(path), silent).fitted.dilation.limited_by
    return replace(found, asked=f"≤ {ENOUGH:g}, or why", measured=f"{found.measured}: {why}", met=why is not None)


def _host_allows(prepared: Prepared) -> Number:
    """D against what the host's measured speed on the BS's half allows: the two longest passes, of a whole batch."""
    passes = sorted((t for t in prepared.fitted.tasks if t.agent == BS), key=lambda task: task.model_s)[-2:]
    least = sum(task.host_s for task in passes) / sum(task.model_s for task in passes)
    what = f"table1: D of {prepared.dilation:g} against the {least:.1f} that the BS's half alone takes on this host"
    what += f" (all that is computed: {_all_computing(prepared):.1f})"
    return at_most(what, 1.3, prepared.dilation / least, "times")


def _all_computing(prepared: Prepared) -> float:
    """The dilation at which the host's cores would be busy all the time, each scheme's computing spread evenly."""
    calibration = prepared.calibrations[prepared.fitted.bs_threads]

    def of(one: Planned) -> float:
        found = demands(one.problem, calibration, one.schedule(1)).values()
        return sum(task.host_s * task.threads for task in found) / prepared.cores / one.timeline.round_s

    return max(map(of, prepared.planned))


if __name__ == "__main__":
    print(*every_file([Path(name) for name in sys.argv[1:]]), sep="\n")
