"""What only Debian's own kernel can show: run inside the VM by ``make test-vm``, or by hand where netem is."""

from __future__ import annotations

import io
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.trial.host import diagnose
from testbed import deploy
from testbed.engine import Engine
from testbed.links import backend_in_use, read_links
from testbed.shaping.model import TRIAL
from testbed.shaping.namespace import interface, netlink
from testbed.shaping.options import Netem
from tests.trial.conftest import command

SAMPLES = Path("/tmp/testbed-gated.npz")  # where gated.yaml says
GATED = Path(__file__).parent / "gated.yaml"
PATIENCE_S = 600.0  # an emulated processor takes minutes to import what a trial needs
CONTAINERS = 4  # two UEs, the base station, the shaper
OUT = Path(os.environ.get("TESTBED_RESULTS", "runs")) / "gated"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The engine of this VM, with nothing of the trial before and after."""
    engine = Engine.connect()
    deploy.down(engine, "gated")
    SAMPLES.write_bytes(_samples())
    yield engine
    SAMPLES.unlink()
    deploy.down(engine, "gated")


def _samples() -> bytes:
    """Noise: what is learned from it is not the point."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 64), ("test", 32)):
        arrays[f"x_{split}"] = rng.integers(0, 256, (count, 12, 12), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(count, dtype=np.int64) % 10
    with io.BytesIO() as buffer:
        np.savez(buffer, **arrays)
        return buffer.getvalue()


def test_doctor_chooses_netem_on_cgroup_v2(engine: Engine) -> None:
    facts = diagnose(engine)
    assert facts["links"].startswith("netem: ")
    assert facts["cgroup_version"] == "2" and Path("/sys/fs/cgroup/cgroup.controllers").exists()


def test_a_whole_trial_with_gated_slots_on_real_containers(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process that runs it, as its user would; meanwhile the kernel is asked what it does to the links."""
    running = subprocess.Popen(command("run", str(GATED), "--out", str(OUT)))
    monkeypatch.setenv(TRIAL, "gated")  # links are read as its shaper does
    try:
        deployment = _limited(engine, running)
        addresses = deployment.addresses(deploy.AIR)
        slots = {name: _slots(state.pid, addresses[name]) for name, state in deployment.agents.items()}
        rows = read_links(engine, deployment)
        assert running.wait(PATIENCE_S) == 0
    finally:
        running.terminate()  # it takes everything down then, as after an interrupt
    results = json.loads((OUT / "results.json").read_text())
    assert results["host"]["link_backend"] == "netem" and results["host"]["cgroup_version"] == "2"
    assert all(row["set_bps"] == pytest.approx(row["planned_bps"], rel=1e-4) for row in rows)
    frame_ns = results["topology"]["radio"]["frame_ms"] * 1e6 * results["time_dilation"]
    for name, found in slots.items():
        assert len(found) == (2 if name == deploy.BS else 1), "a slot per flow"
        assert all(slot.slot_ns >= round(frame_ns) and slot.slot_bytes for slot in found)
    _trained(results["schemes"]["c2p2sl"])


def _limited(engine: Engine, running: subprocess.Popen[bytes]) -> deploy.Deployment:
    """The deployment, as soon as its CPUs are limited (as cgroup v2 writes it) and its links are set."""
    while running.poll() is None:
        found = deploy.find(engine, "gated") if len(deploy.ps(engine, "gated")) == CONTAINERS else None
        limits = list(Path("/sys/fs/cgroup").glob(f"**/{found.agents['ue1'].id}/cpu.max")) if found else []
        limited = bool(limits) and not limits[0].read_text().startswith("max")
        if found and limited and backend_in_use(engine, found):
            assert limits[0].read_text().split()[1] == "5000", "the period, in microseconds"
            return found
        time.sleep(1)
    raise AssertionError(f"the trial ended with status {running.returncode} before its links were set")


def _trained(scheme: dict[str, Any]) -> None:
    assert [row["round"] for row in scheme["rounds"]] == [1, 2, 3]
    assert not any(row["degraded"] for row in scheme["rounds"])
    for name, ue in scheme["ues"].items():
        planned = scheme["plan"]["ues"][name]["uplink_bps"]
        assert 0 < ue["uplink_bps"] < 1.05 * planned, "a slot is at its soonest one frame away"


def _slots(pid: int, address: str) -> list[Netem]:
    with netlink(pid) as ipr:
        qdiscs = [q for q in ipr.get_qdiscs(interface(ipr, address).index) if q.get_attr("TCA_KIND") == "netem"]
    return [found for found in map(Netem.of, qdiscs) if found.slot_ns]
