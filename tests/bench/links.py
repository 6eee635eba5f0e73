"""Goodput of every link against its plan, from 1 to 500 Mbit/s."""

from __future__ import annotations

from controller.trial.prepare import bring_up, prepare
from controller.trial.watch import silent
from testbed import deploy
from testbed.engine import Engine
from testbed.links import measure_links
from testbed.loading import parse
from tests.bench.number import Number, at_most

RATES_MBPS = ((1, 2), (5, 10), (20, 50), (100, 200), (300, 500), (500, 1))


def numbers() -> list[Number]:
    """One number per UE and direction."""
    ues = "\n".join(
        f"  - {{name: ue{i}, uplink_mbps: {up}, downlink_mbps: {down}}}" for i, (up, down) in enumerate(RATES_MBPS, 1)
    )
    text = f"name: bench-links\ntime_dilation: 1\nradio: {{access: dedicated}}\nues:\n{ues}\nschemes: [psl]\n"
    engine, topology = Engine.connect(), parse(text, "bench")
    deployment = bring_up(engine, prepare(engine, topology, silent), "up", silent)
    try:
        rows = measure_links(engine, deployment, seconds=3.0)
    finally:
        deploy.down(engine, topology.name)
    return [
        at_most(
            f"goodput at {row['planned_bps'] / 1e6:g} Mbit/s {row['direction']}", 0.5, 100 * abs(row["error"]), "% off"
        )
        for row in rows
    ]
