"""A user's own schemes, models and data: planned by path, and refused with file, line or task when they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.cli import main

TOPOLOGY = """
name: mine
training: {batch: 8}
ues: [{name: ue1, distance_m: 120}, {name: ue2, distance_m: 200}]
"""
SCHEME = """
def mine(r):
    r.as_they_come()
    for ue in r.ues:
        for m in r.micro_batches(ue):
            r.forward(ue, m)
            r.uplink(ue, m)
            r.serve([ue], m)
            r.step("bs")
            r.downlink(ue, m)
        for m in r.micro_batches(ue):
            r.backward(ue, m)
        r.step(ue)
"""


def ending(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command line."""
    try:
        main(list(arguments))
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


_number = iter(range(1000))


def wrong(tmp_path: Path, code: str, more: str) -> tuple[Path, str]:
    """A topology with a file of its own beside it; files of one name are one module for a process."""
    name = f"mine{next(_number)}.py"
    (tmp_path / name).write_text(code)
    file = tmp_path / "mine.yaml"
    file.write_text(TOPOLOGY + more.replace("FILE", name))
    return file, name


def test_a_scheme_of_ones_own_is_planned(tmp_path, capsys):
    file, name = wrong(tmp_path, SCHEME, "schemes: [{scheme: 'FILE:mine', cut: 2, micro_batches: 2}, psl]\n")
    status, out, _ = ending(capsys, "plan", str(file), "--json")
    assert status == 0
    found = json.loads(out)
    assert set(found) == {"mine", "psl"}
    assert found["mine"]["scheme"] == f"{name}:mine"
    assert 0 < found["mine"]["predicted"]["bubble_rate"] < 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('r.downlink(ue, m)', 'pass'), "ue_backward of ue1, turn 0, step 0, micro-batch 0: gradients of 0"),
        (("r.backward(ue, m)", "pass"), "nobody waits for what arrives by downlink of ue1, turn 0, step 0"),
        (('r.serve([ue], m)', 'pass'), "nobody waits for what arrives by uplink of ue1, turn 0, step 0, micro-batch 0"),
        (("r.micro_batches(ue):", "r.micro_batches(ue)[:1]:"), "ue1 trains 2 samples in turn 0, step 0"),
        (("r.uplink(ue, m)", "r.uplink(ue, m); r.uplink(ue, m)"), "turn 0, step 0, micro-batch 0 is there twice"),
        (('r.step("bs")', "pass"), "bs_backward of ue1, turn 0, step 0, micro-batch 0 is followed by no"),
        (("in r.ues:", "in r.ues[:1]:"), "ue2 has a batch and never trains it"),
        (('r.step("bs")', "r.fly()"), "FILE:9: AttributeError: 'Round' object has no attribute 'fly'"),
    ],
)  # fmt: skip
def test_a_scheme_that_cannot_be_done_is_refused_with_its_task(tmp_path, capsys, change, words):
    more = "schemes: [{scheme: 'FILE:mine', cut: 2, micro_batches: 2}]\n"
    file, name = wrong(tmp_path, SCHEME.replace(*change), more)
    status, out, err = ending(capsys, "plan", str(file))
    assert (status, out) == (2, "")
    assert err.startswith("schemes.0: ")
    assert words.replace("FILE", name) in err
    assert err.count("\n") == 1
    assert "(hint: " in err


CYCLE = """
from dataclasses import replace

def cycle(r):
    for ue in r.ues:
        for m in r.micro_batches(ue):
            first = r.forward(ue, m)
            r.uplink(ue, m)
            r.serve([ue], m)
            r.downlink(ue, m)
            last = r.backward(ue, m)
    r._tasks[0] = replace(r._tasks[0], needs=(last._replace(ue="ue1"),))
"""


def test_a_cycle_is_named_task_by_task(tmp_path, capsys):
    file, _ = wrong(tmp_path, CYCLE, "schemes: [{scheme: 'FILE:cycle', cut: 2, micro_batches: 1}]\n")
    status, _, err = ending(capsys, "plan", str(file))
    assert status == 2
    assert "these tasks wait for each other: " in err
    assert "ue_backward of ue1" in err


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [
        ("import nonsense", "mine", "FILE:1: ModuleNotFoundError"),
        ("def mine(r:\n", "mine", "FILE:1: SyntaxError"),
        ("x = 1", "mine", "FILE has no mine"),
        ("mine = 3", "mine", "FILE:mine is no function and no Scheme"),
    ],
)
def test_a_file_without_the_scheme_is_refused(tmp_path, capsys, code, name, words):
    file, source = wrong(tmp_path, code, f"schemes: [{{scheme: 'FILE:{name}'}}]\n")
    status, _, err = ending(capsys, "validate", str(file))
    assert status == 2
    assert err.startswith(f"schemes.0: {words.replace('FILE', source)}")


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    file, _ = wrong(tmp_path, "", "schemes: ['elsewhere.py:mine']\n")
    status, _, err = ending(capsys, "validate", str(file))
    assert status == 2
    assert err == "schemes.0: there is no file elsewhere.py beside the topology (hint: write it, with mine)\n"


MODEL = """
from torch import nn

def build(info):
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(info.channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4)),
        nn.Sequential(nn.Flatten(), nn.Linear(8 * 7 * 7, 32), nn.ReLU()),
        nn.Linear(32, info.classes),
    )
"""


def test_a_model_of_ones_own_is_measured_and_cut(tmp_path, capsys):
    file, _ = wrong(tmp_path, MODEL, "model: {name: 'FILE:build'}\nschemes: [{scheme: psl, cut: 2}]\n")
    status, out, err = ending(capsys, "plan", str(file), "--scheme", "psl", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["cut"] == 2
    status, _, err = ending(capsys, "validate", str(_with(file, "cut: 2", "cut: 3")))
    assert status == 2
    assert "can be cut after unit 1 to 2" in err


def _with(file: Path, old: str, new: str) -> Path:
    file.write_text(file.read_text().replace(old, new))
    return file


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("8 * 7 * 7", "99"),
            "unit 1 cannot take what 0 gives, of shape [8, 7, 7]: "
            "mat1 and mat2 shapes cannot be multiplied (2x392 and 99x32)",
        ),
        (("info.classes)", "3)"), "its last unit gives [3], and scores are [10]"),
        (("return nn.Sequential(", "return list(["), "FILE:"),
        (("info.channels", "info.colours"), "FILE:6: AttributeError: 'DatasetInfo' object has no attribute 'colours'"),
    ],
)  # fmt: skip
def test_a_model_whose_units_do_not_chain_is_refused_with_both_shapes(tmp_path, capsys, change, words):
    file, source = wrong(tmp_path, MODEL.replace(*change), "model: {name: 'FILE:build'}\n")
    status, _, err = ending(capsys, "validate", str(file))
    assert status == 2
    assert err.startswith("model.name: ")
    assert words.replace("FILE", source) in err


DATA = """
import numpy as np

def load():
    rng = np.random.default_rng(0)
    def some(n):
        return rng.integers(0, 256, (n, 16, 16), dtype=np.uint8), rng.integers(0, 4, n)
    return some(40), some(20)
"""


def test_data_of_ones_own_has_its_shape_and_classes(tmp_path, capsys):
    file, _ = wrong(tmp_path, DATA, "data: {name: 'FILE:load'}\nschemes: [{scheme: psl, cut: 1}]\n")
    status, out, err = ending(capsys, "plan", str(file), "--scheme", "psl", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["ues"]["ue1"]["batch"] == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("return some(40), some(20)", "return 1 / 0"), "FILE:8: ZeroDivisionError"),
        (("dtype=np.uint8", "dtype=np.int32"), "gives images of int32 (40, 16, 16) with 40 labels"),
        (("return some(40), some(20)", "return some(1), some(20)"), "1 training samples for 2 UEs"),
    ],
)
def test_data_that_cannot_be_loaded_is_refused(tmp_path, capsys, change, words):
    file, source = wrong(tmp_path, DATA.replace(*change), "data: {name: 'FILE:load'}\n")
    status, _, err = ending(capsys, "validate", str(file))
    assert status == 2
    assert err.startswith("data.name: ")
    assert words.replace("FILE", source) in err
