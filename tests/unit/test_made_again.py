"""Which failing tests are made again: those on real kernels from which the hypervisor took CPU time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import stolen

CONFTEST = Path(__file__).parents[1] / "conftest.py"
PASSES_THE_SECOND_TIME = """
from pathlib import Path

def test_second():
    seen = Path(__file__).with_suffix(".seen")
    first = not seen.exists()
    seen.touch()
    assert not first
"""


def test_the_share_stolen_is_of_all_cpu_time():
    assert stolen({"cpu_s": 10.0, "idle_s": 4.0, "steal_s": 1.0}) == 0.1


@pytest.mark.parametrize(
    ("folder", "limit", "status"),
    [("contract", -1.0, 0), ("contract", 1.0, 1), ("unit", -1.0, 1)],
    ids=["disturbed", "undisturbed", "not on a real kernel"],
)
def test_only_a_disturbed_test_on_a_real_kernel_is_made_again(tmp_path, folder, limit, status):
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text().replace("STOLEN = 0.005", f"STOLEN = {limit}"))
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "test_it.py").write_text(PASSES_THE_SECOND_TIME)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == status, done.stdout
    assert ("made again" in done.stdout) == (status == 0)
