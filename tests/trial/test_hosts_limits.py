"""What a host does not have: a disk that is full while a trial runs, cores that another trial has."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.trial import journal
from testbed.container import LABEL, ContainerSpec
from testbed.deploy import SHAPER, SHAPER_IMAGE, down, resource
from testbed.engine import Engine
from testbed.portion import Portion
from tests.trial.conftest import SMALL, TRIAL, call

pytestmark = pytest.mark.docker

OTHER = "hog"
DISK_KB = 400


@pytest.fixture
def full_soon(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a scheme of a few rounds, and not for hundreds."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a disk")
def test_a_disk_that_fills_up_ends_a_trial_and_leaves_what_was_finished(full_soon: Path, tmp_path, leftovers) -> None:
    topology = tmp_path / "filling.yaml"
    (head, _) = SMALL.read_text().split("schemes:")
    topology.write_text(f"{head}schemes: [{{scheme: psl, cut: 2, rounds: 2}}, {{scheme: sl, cut: 2, rounds: 500}}]\n")
    out = full_soon / "out"
    done = call("run", str(topology), "--out", str(out), "--yes")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"{out}/events.jsonl: No space left on device (hint: make room there, then go on: ")
    lines = (out / journal.FILE).read_text().splitlines(keepends=True)
    assert all(line.endswith("\n") and json.loads(line) for line in lines)
    results = json.loads((out / journal.RESULTS).read_text())
    assert len(results["schemes"]["psl"]["rounds"]) == 2 and not results["schemes"]["psl"]["partial"]
    assert leftovers() == []


@pytest.fixture
def another(engine: Engine) -> Iterator[ContainerSpec]:
    """Another trial as far as the host is concerned: its shaper, with all cores but one."""
    cores = engine.info()["NCPU"] - 1
    labels = {LABEL: OTHER, **Portion(cores, 1 << 30).labels}
    yield ContainerSpec(resource(OTHER, SHAPER), SHAPER_IMAGE, labels)
    down(engine, OTHER)


def test_a_trial_is_fitted_to_what_another_leaves_or_refused(another: ContainerSpec, engine: Engine, tmp_path) -> None:
    cores = engine.info()["NCPU"]
    engine.create(another)
    done = call("up", str(SMALL))
    assert done.returncode == 0, done.stderr
    assert f"{OTHER} has {cores - 1} of the {cores} cores of this host; this trial is fitted to 1" in done.stderr
    portion = Portion.labelled(engine.inspect(resource(TRIAL, SHAPER)).labels)
    assert (portion.cores, portion.of_cores) == (1, 1) and portion.memory_bytes > 3 * 10**8
    third = tmp_path / "third.yaml"
    third.write_text(SMALL.read_text().replace("name: small", "name: third", 1))
    refused = call("up", str(third))
    assert refused.returncode == 1
    assert "no core is left: " in refused.stderr and f"{TRIAL} has 1 of the {cores} cores" in refused.stderr
    assert "wait, or type: testbed down " in refused.stderr
