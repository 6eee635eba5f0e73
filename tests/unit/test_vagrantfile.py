"""The Vagrantfile: valid, says Vagrant where it is installed, as it is in the VM lane."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

TEXT = Path("Vagrantfile").read_text()


def test_vagrant_accepts_it(tmp_path: Path) -> None:
    if not shutil.which("vagrant"):
        pytest.skip("vagrant is not installed")
    shutil.copytree("images/host", tmp_path / "images/host")
    shutil.copy("Vagrantfile", tmp_path)
    command = ["vagrant", "validate", "--ignore-provider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_vm_lane_and_vagrant_share_one_script() -> None:
    from tests.vm.root import SCRIPTS

    assert 'path: "images/host/provision.sh"' in TEXT and "images/host/provision.sh" in SCRIPTS
