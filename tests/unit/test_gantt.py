"""The pipeline chart in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from controller.cli.selection import select
from controller.planners.planning import plan_all
from controller.report.gantt import COLUMNS, gantt
from testbed.loading import load, parse


@pytest.fixture(scope="module")
def lines():
    topology = select(load(Path("topologies/papers/c2p2sl-table1.yaml")), ["c2p2sl-makespan"])
    planned = plan_all(topology)[0]
    console = Console(width=120, color_system=None)
    with console.capture() as printed:
        console.print(gantt(planned))
    return planned, printed.get().splitlines()


def test_a_row_for_each_ue_and_direction_and_one_for_the_bs(lines):
    planned, printed = lines
    names = [line.split()[0] for line in printed[1:-1]]
    ues = list(planned.plan.ues)
    assert names == ues * 3 + ["BS"]


def test_the_bs_row_shows_every_micro_batch_in_order_and_the_idle_start(lines):
    planned, printed = lines
    row = next(line for line in printed if line.strip().startswith("BS "))[15:]
    digits = [c for c in row if c != "·"]
    assert digits == sorted(digits)
    assert set(digits) == {str(m + 1) for m in range(planned.plan.micro_batches)}
    assert row[0] == "·"
    assert len(row) == COLUMNS
    idle = row.count("·") / COLUMNS
    assert idle == pytest.approx(planned.predicted.bubble_rate, abs=0.05)


def test_the_axis_ends_with_the_round(lines):
    planned, printed = lines
    assert printed[-1].split()[0] == "0"
    assert float(printed[-1].split()[1]) == pytest.approx(planned.predicted.round_s, rel=1e-3)


def test_each_worker_of_the_bs_has_a_row():
    text = (
        "name: x\nues: {count: 10}\nbase_station: {workers: per_ue}\n"
        "schemes: [sfl]\nmodel: {profile: [{unit: a, forward_flops: 1.0e+6, output_bytes: 1000},"
        " {unit: b, forward_flops: 1.0e+6, output_bytes: 40}]}\n"
    )
    console = Console(width=120, color_system=None)
    with console.capture() as printed:
        console.print(gantt(plan_all(parse(text, "x"))[0]))
    names = [line.split()[0] for line in printed.get().splitlines() if line.strip()]
    assert [name for name in names if name.startswith("BS")] == [f"BS/ue{i}" for i in range(1, 9)]
