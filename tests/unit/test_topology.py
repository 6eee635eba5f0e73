"""Defaults, draws and the identity of topologies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.cli import main
from testbed.loading import digest, load, parse

SHIPPED = sorted(Path("topologies").rglob("*.yaml"))
DRAWN = "name: drawn\nseed: {seed}\nues: {{count: 8, distance_m: [100, 500]}}\n"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda f: f.stem)
def test_every_shipped_topology_is_valid(file):
    assert load(file).ues


def test_defaults_are_table_i():
    topology = parse("name: a\nues: [{name: ue1}]\n", "a.yaml")
    radio, bs = topology.radio, topology.base_station
    assert (radio.frame_ms, radio.bandwidth_mhz, radio.carrier_ghz, radio.antenna_gain_db) == (10, 100, 3.5, 10)
    assert (radio.noise_dbm_per_hz, bs.clock_ghz, bs.flops_per_cycle, bs.tx_power_dbm) == (-174, 80, 32, 46)
    assert [choice.scheme for choice in topology.schemes] == ["psl", "c2p2sl"]
    assert topology.time_dilation == "auto"


def test_drawn_ues_depend_on_the_seed_alone():
    one, again, other = (parse(DRAWN.format(seed=s), "d.yaml") for s in (1, 1, 2))
    assert one.ues == again.ues
    assert one.ues != other.ues
    assert [ue.name for ue in one.ues] == [f"ue{i}" for i in range(1, 9)]
    assert all(100 <= ue.distance_m <= 500 for ue in one.ues)


def test_a_resolved_topology_is_a_topology(capsys):
    main_exit_0(["validate", "topologies/quickstart.yaml", "--json"])
    resolved = json.loads(capsys.readouterr().out)
    assert digest(parse(json.dumps(resolved), "again.yaml")) == digest(load(Path("topologies/quickstart.yaml")))


def main_exit_0(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
