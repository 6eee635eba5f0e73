"""A field trial with quickstart: how long things take, how close to prediction, how much memory."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from controller.judge.results import Results
from controller.trial.field_trial import field_trial
from controller.trial.prepare import bring_up, prepare
from controller.trial.watch import silent
from testbed import deploy
from testbed.container import LABEL
from testbed.engine import Engine
from testbed.images import build
from testbed.loading import load
from testbed.topology import Topology
from tests.bench.number import Number, at_least, at_most

QUICKSTART = Path("topologies/quickstart.yaml")


def numbers() -> list[Number]:
    """Everything that one topology can tell."""
    engine, topology = Engine.connect(), load(QUICKSTART)
    return [*images(engine), *up_and_down(engine, topology), *trial(engine, topology)]


def images(engine: Engine) -> list[Number]:
    """Size of the images together, shared layers once."""
    build(engine.client, lambda text: None)
    layers: dict[str, int] = {}
    for tag in (deploy.AGENT_IMAGE, deploy.SHAPER_IMAGE):
        history = engine.client.api.history(tag)
        ids = engine.client.api.inspect_image(tag)["RootFS"]["Layers"]
        sizes = [row["Size"] for row in reversed(history) if row["Size"]]
        layers.update(zip(ids, sizes, strict=False))
    return [at_most("images together", 1.5, sum(layers.values()) / 1e9, "GB")]


def up_and_down(engine: Engine, topology: Topology) -> list[Number]:
    """Time until all agents are ready, memory of an idle one, time to take all down, what is left."""
    prepared = prepare(engine, topology, silent)
    start = time.monotonic()
    deployment = bring_up(engine, prepared, "up", silent)
    ready_s = time.monotonic() - start
    try:
        names = [state.name for state in deployment.agents.values()]
        memory = max(_private_bytes(engine.client.api.stats(name, stream=False)) for name in names)
        start = time.monotonic()
    finally:
        deploy.down(engine, topology.name)
    down_s = time.monotonic() - start
    return [
        at_most("agents ready after up", 15, ready_s, "s", 1),
        at_most("down", 5, down_s, "s", 1),
        at_most("an idle agent", 200, memory / 1e6, "MB", 0),
        at_most("left afterwards", 0, len(_left(engine)), "", 0),
    ]


def trial(engine: Engine, topology: Topology) -> list[Number]:
    """A whole trial: prediction errors, the gain of pipelining, accuracy, wall time."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = field_trial(engine, topology, Path(folder), silent)
    wall_s = time.monotonic() - start
    return [
        at_most("warm trial", 180, wall_s, "s", 0),
        at_most("left after the trial", 0, len(_left(engine)), "", 0),
        *(number for label in results.schemes for number in _scheme(results, label)),
        at_most("median round error of the schemes", 1.5, 100 * _median_error(results), "%"),
        at_least("c2p2sl round shorter than psl by", 20, _saving(results), "%", 1),
    ]


def _scheme(results: Results, label: str) -> list[Number]:
    one = results.schemes[label]
    idle, from_events = one.scraped.bs_idle_s, one.scraped.events_bs_idle_s
    believed = Number(f"{label}: verdict", "yes", "; ".join(one.fidelity.reasons) or "yes", one.fidelity.ok)
    return [
        at_most(f"{label}: round error", 3, 100 * abs(one.summary.round_error), "%"),
        at_most(f"{label}: bubble rate error", 0.01, abs(one.summary.bubble_rate_error), "", 4),
        at_least(f"{label}: accuracy", 85, 100 * one.accuracy.final, "%", 1),
        at_most(f"{label}: scraped idle against events", 1, 100 * abs(idle / from_events - 1), "%", 3),
        believed,
    ]


def _median_error(results: Results) -> float:
    return median(abs(one.summary.round_error) for one in results.schemes.values())


def _saving(results: Results) -> float:
    rounds = {label: one.summary.round_s.median for label, one in results.schemes.items()}
    return 100 * (1 - rounds["c2p2sl"] / rounds["psl"])


def _left(engine: Engine) -> list[str]:
    api, filters = engine.client.api, {"label": [LABEL]}
    volumes = api.volumes(filters=filters)["Volumes"] or []
    return [*api.containers(all=True, filters=filters), *api.networks(filters=filters), *volumes]


def _private_bytes(stats: dict[str, dict[str, dict[str, int]]]) -> int:
    """Memory in use without the page cache that can go at any time, as ``docker stats`` shows it."""
    memory = stats["memory_stats"]
    cache = memory["stats"].get("total_inactive_file", memory["stats"].get("inactive_file", 0))
    return int(memory["usage"]) - cache  # type: ignore[call-overload, no-any-return]
