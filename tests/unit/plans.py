"""Plans of any scheme, by hand or drawn at random, and what their tasks cost."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from agents.plan import Plan, Privacy, UePlan
from agents.schedule.costs import Costs
from agents.schemes import SCHEMES, Scheme


def plan(scheme: str, *batches: int, units: int = 2, **changes: object) -> Plan:
    """A plan of UEs ``ue1`` … with these batches; a scheme that is listed cuts the model where it may first."""
    cut = SCHEMES[scheme].allowed_cuts(units)[0] if scheme in SCHEMES else 1
    ues = {f"ue{i + 1}": UePlan(batch, 0.01, 0.01, 1e6, 2e6) for i, batch in enumerate(batches)}
    values = {"cut": cut, "micro_batches": 1, "time_dilation": 1.0, "ues": ues, **changes}
    return Plan("t", scheme, "uniform", **values)  # type: ignore[arg-type]


NOISES = tuple(
    Privacy(method, mechanism, epsilon=1.0, clip=1.0, delta=1e-5)
    for method in ("weights", "input")
    for mechanism in ("gaussian", "laplace")
)


@st.composite
def any_plan(draw: st.DrawFn, name: str) -> tuple[Scheme, Plan, Costs]:
    """A plan for a scheme and a model of some units: UEs without samples or with few, in clusters, at any speed."""
    scheme, n, units = SCHEMES[name], draw(st.integers(1, 4)), draw(st.integers(3, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = rng.integers(0, draw(st.sampled_from([2, 9])), n)
    batch[rng.integers(n)] += 1
    k = draw(st.integers(1, 5)) if scheme.pipelined else 1
    cut = draw(st.sampled_from(list(scheme.allowed_cuts(units))))

    def own(most: int) -> int | None:
        return int(rng.integers(1, most + 1)) if scheme.micro_batches == "each" else None

    ues = {
        f"ue{i + 1}": UePlan(
            int(size) * (scheme.turns != "none"),
            0.01,
            0.01,
            *(10 ** rng.uniform(5, 7, 2)),
            cluster=int(rng.integers(3)),
            cut=own(units - 1),
            micro_batches=own(4),
        )
        for i, size in enumerate(batch)
    }
    found = Plan(
        *("t", name, "uniform", cut, k, 1.0, ues),
        first_micro_batch=draw(st.integers(0, k - 1)),
        steps=draw(st.integers(1, 3)) if scheme.trains else 1,
        bs_batch=7 if scheme.turns == "none" else 0,
        phi=draw(st.sampled_from([0.0, 0.4, 1.0])) if "phi" in scheme.keys else 0.0,
        aggregate=draw(st.sampled_from(["virtual", "own", "cut"])),
        broadcast_bps=1e6,
        head_cut=draw(st.integers(cut + 1, units - 1)) if scheme.cuts == "twice" else None,
        privacy=draw(st.sampled_from([None, *NOISES])),
        workers=draw(st.sampled_from(["one", "per_ue"])) if scheme.replicas else "one",
    )
    return scheme, found, costs(rng, units, n)


def costs(rng: np.random.Generator, units: int, n: int) -> Costs:
    """Passes and transfers of like length, on devices that differ a hundredfold."""
    flops, sizes, weights = (tuple(rng.uniform(low, 10 * low, units)) for low in (1e5, 200, 200))
    speeds = dict(zip((f"ue{i + 1}" for i in range(n)), 1e8 * 10 ** rng.uniform(-1, 1, n), strict=True))
    passes = dict(zip(speeds, rng.uniform(0, 0.003, n), strict=True))
    return Costs(
        flops,
        sizes,
        weights,
        2.0,
        1.0,
        speeds,
        1e8 * 10 ** rng.uniform(-1, 2),
        message_bytes=100.0,
        ue_pass_s=passes,
        bs_pass_s=float(rng.uniform(0, 0.001)),
        sample_values=50.0,
    )
