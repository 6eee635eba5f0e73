"""docs/own-scheme.md, run exactly as it stands: from an empty file to a measured bubble rate."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from testbed.deploy import down
from tests.trial.conftest import call

pytestmark = pytest.mark.docker
PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-scheme.md"


def blocks(language: str) -> list[str]:
    """What the page shows in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files of the page."""
    (scheme,), (topology,) = blocks("python"), blocks("yaml")
    (tmp_path / "mine.py").write_text(scheme)
    (tmp_path / "mine.yaml").write_text(topology)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_ends_with_a_measured_bubble_rate(folder, engine):
    try:
        for line in blocks("sh")[0].splitlines():
            program, *arguments = shlex.split(line)
            assert program == "testbed"
            done = call(*arguments)
            assert done.returncode == 0, done.stderr
    finally:
        down(engine, "mine")
    results = json.loads((folder / "runs" / "mine" / "results.json").read_text())
    mine, psl = results["schemes"]["async-psl"], results["schemes"]["psl"]
    for scheme in (mine, psl):
        assert 0 < scheme["summary"]["bubble_rate"] < 1
        assert scheme["summary"]["round_s"]["median"] > 0.97 * scheme["predicted"]["round_s"]
    assert mine["predicted"]["round_s"] < psl["predicted"]["round_s"], "nobody waits for the slow one"
    lines = [json.loads(line) for line in (folder / "runs" / "mine" / "events.jsonl").read_text().splitlines()]
    served = [
        line["ue"]
        for line in lines
        if line.get("scheme") == "async-psl" and line.get("task") == "bs_forward" and line["round"] == 2
    ]
    assert sorted(served) == ["ue1", "ue1", "ue2", "ue2"]


MODEL = """
from torch import nn

def build(info):
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(info.channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4)),
        nn.Sequential(nn.Flatten(), nn.Linear(8 * 4 * 4, 32), nn.ReLU()),
        nn.Linear(32, info.classes),
    )


def load():
    import numpy as np

    rng = np.random.default_rng(0)

    def some(count):
        return rng.integers(0, 256, (count, 16, 16), dtype=np.uint8), rng.integers(0, 4, count)

    return some(64), some(16)
"""


def test_a_model_and_data_of_ones_own_train_on_containers(folder, engine):
    (folder / "net.py").write_text(MODEL)
    own = "model: {name: 'net.py:build'}\ndata: {name: 'net.py:load'}\n"
    (folder / "mine.yaml").write_text(own + (folder / "mine.yaml").read_text())
    try:
        done = call("run", "mine.yaml", "--out", "out", "--scheme", "psl", "--rounds", "2", "--json")
        assert done.returncode == 0, done.stderr
    finally:
        down(engine, "mine")
    scheme = json.loads(done.stdout)["schemes"]["psl"]
    assert scheme["rounds"][1]["train_loss"] > 0
    assert 0 <= scheme["accuracy"]["final"] <= 1
