"""Every topology and file that the docs show is what it says: it loads, and is planned."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller.planners.planning import plan_all
from controller.predict.sizes import differences
from controller.predict.workload import real_sizes
from testbed.loading import load

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {"own-model.md": "net.py", "data.md": "load.py", "own-scheme.md": "mine.py"}


@pytest.mark.parametrize("page", PAGES)
def test_the_files_of_a_page_make_a_plan(page, tmp_path):
    text = (DOCS / page).read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    whole = [block for block in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S) if block.startswith("name:")]
    assert whole
    (tmp_path / PAGES[page]).write_text(code)
    for block in whole:
        (tmp_path / "shown.yaml").write_text(block)
        topology = load(tmp_path / "shown.yaml")
        assert differences(topology, real_sizes(topology)) == []
        for planned in plan_all(topology):
            assert planned.predicted.round_s > 0
