"""Plans made anew against those that stay and an oracle's, in the moving cell under 20 seeds; all of it predicted."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from controller.planners.regret import regrets
from testbed.loading import load
from testbed.topology import SchemeChoice, Topology
from tests.bench.number import Number, at_most

CELL = Path("topologies/moving-replan.yaml")
SEEDS = range(20)
REGRET = 0.02
SCHEMES = (
    SchemeChoice(scheme="c2p2sl", planner="makespan"),
    SchemeChoice(scheme="c2p2sl", planner="ao", label="c2p2sl-ao"),
    SchemeChoice(scheme="cpsl", planner="cpsl", cluster_size=2, local_epochs=4),
    SchemeChoice(scheme="pipar", planner="pipar", sync_every="batch"),
)


def numbers() -> list[Number]:
    """For each scheme the worst of the seeds: the round against that of the plan that stays, and the mean regret."""
    found = []
    with ProcessPoolExecutor() as pool:
        for choice in SCHEMES:
            ratios, regret = zip(*pool.map(partial(of_a_seed, load(CELL), choice), SEEDS), strict=True)
            label = f"{choice.key}, {len(regret)} seeds, the worst"
            found.append(at_most(f"{label}: round anew / round under the first plan", 1.0, max(ratios), "", 4))
            found.append(at_most(f"{label}: regret to the oracle", REGRET, max(regret), "", 4))
            print(*found[-2:], sep="\n", flush=True)
    return found


def of_a_seed(cell: Topology, choice: SchemeChoice, seed: int) -> tuple[float, float]:
    """The mean round with plans made anew over that under the first plan, and their mean regret."""
    first, anew, _ = regrets(cell.model_copy(update={"schemes": (choice,), "seed": seed}))
    return anew["mean_round_s"] / first["mean_round_s"], anew["regret"]
