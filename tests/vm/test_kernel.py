"""What only Debian's own kernel can show: run inside the VM by ``make test-vm``, or by hand where netem is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import deploy
from testbed.engine import Engine
from testbed.links import read_links
from testbed.shaping.namespace import interface, netlink
from testbed.shaping.options import Netem
from tests.trial.conftest import call

GATED = Path(__file__).parent / "gated.yaml"
OUT = Path(os.environ.get("TESTBED_RESULTS", "runs")) / "gated"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The engine of this VM, with nothing of the trial before and after."""
    engine = Engine.connect()
    deploy.down(engine, "gated")
    yield engine
    deploy.down(engine, "gated")


def _said(*arguments: str) -> str:
    done = call(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_doctor_chooses_netem_on_cgroup_v2() -> None:
    facts = json.loads(_said("doctor", "--json"))
    assert facts["links"].startswith("netem: ")
    assert facts["cgroup_version"] == "2" and Path("/sys/fs/cgroup/cgroup.controllers").exists()


def test_a_whole_trial_with_gated_slots_on_real_containers(engine: Engine) -> None:
    _said("up", str(GATED))
    deployment = deploy.find(engine, "gated")
    assert deployment
    _said("run", str(GATED), "--out", str(OUT))
    results = json.loads((OUT / "results.json").read_text())
    assert results["host"]["link_backend"] == "netem" and results["host"]["cgroup_version"] == "2"
    dilation = results["time_dilation"]
    for name, pid in ((name, state.pid) for name, state in deployment.agents.items()):
        slots = _slots(pid, deployment.addresses(deploy.AIR)[name])
        assert len(slots) == (2 if name == deploy.BS else 1)
        assert all(slot.slot_ns >= 0.02 * dilation * 1e9 and slot.slot_bytes for slot in slots)
    assert all(row["set_bps"] == pytest.approx(row["planned_bps"], rel=1e-4) for row in read_links(engine, deployment))
    _trained(results["schemes"]["c2p2sl"])
    _cpu_is_limited(deployment.agents["ue1"].id)


def _trained(scheme: dict[str, Any]) -> None:
    assert [row["round"] for row in scheme["rounds"]] == [1, 2]
    assert not any(row["degraded"] for row in scheme["rounds"])
    for name, ue in scheme["ues"].items():
        planned = scheme["plan"]["ues"][name]["uplink_bps"]
        assert 0 < ue["uplink_bps"] < 1.05 * planned, "a slot is at its soonest one frame away"


def _slots(pid: int, address: str) -> list[Netem]:
    with netlink(pid) as ipr:
        qdiscs = [q for q in ipr.get_qdiscs(interface(ipr, address).index) if q.get_attr("TCA_KIND") == "netem"]
    return [found for found in map(Netem.of, qdiscs) if found.slot_ns]


def _cpu_is_limited(container: str) -> None:
    """A quota per 5 ms period, as cgroup v2 writes it."""
    (limit,) = Path("/sys/fs/cgroup").glob(f"**/{container}/cpu.max")
    assert limit.read_text().split()[0] != "max" and limit.read_text().split()[1] == "5000"
