"""``testbed plan --chart`` and ``--compare``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from controller.cli import main
from controller.cli.selection import select
from controller.planners import PLANNERS
from controller.planners.planning import plan_all
from controller.report.chart import write_chart
from testbed.errors import InputError
from testbed.loading import load, parse

QUICKSTART = "topologies/quickstart.yaml"
CROWD = (
    "name: crowd\nues: {count: 100}\nschemes: [{scheme: c2p2sl, micro_batches: 2}]\ntraining: {batch: 400}\n"
    "model: {profile: [{unit: a, forward_flops: 1.0e+6, output_bytes: 1000},"
    " {unit: b, forward_flops: 1.0e+6, output_bytes: 40}]}\n"
)


def run(*arguments: str) -> int | str | None:
    """The exit status of ``testbed ARGUMENTS``."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_plan_gives_the_same_bytes_in_every_format(suffix, tmp_path):
    planned = plan_all(select(load(Path(QUICKSTART)), ["c2p2sl"]))
    files = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for file in files:
        write_chart(planned, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes()[:4] in (b"<svg", b"%PDF", b"\x89PNG")


def test_blocks_have_the_numbers_of_their_micro_batches_unless_rows_are_too_low_for_them(tmp_path):
    few = plan_all(select(load(Path(QUICKSTART)), ["c2p2sl"]))
    many = plan_all(parse(CROWD, "crowd"))
    for planned, numbers in ((few, {"1", "2", "3", "4"}), (many, set())):
        write_chart(planned, tmp_path / "chart.svg")
        assert set(re.findall(r'font-size="8px"[^>]*>(\d+)<', (tmp_path / "chart.svg").read_text())) == numbers


def test_the_chart_is_svg_with_a_row_for_everybody_and_the_same_bytes_again(tmp_path):
    files = [tmp_path / name for name in ("one.svg", "two.svg")]
    for file in files:
        assert run("plan", QUICKSTART, "--chart", str(file)) == 0
    text = files[0].read_text()
    ElementTree.fromstring(text)
    assert all(f">{row}<" in text for row in ("ue1", "ue2", "ue3", "ue4", "BS"))
    assert "c2p2sl by uniform: cut 2" in text
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(("name", "cause"), [("chart.txt", "does not end in"), ("no/such/dir.svg", "No such file")])
def test_a_chart_that_cannot_be_written_is_bad_input(name, cause, tmp_path, capsys):
    assert run("plan", QUICKSTART, "--chart", str(tmp_path / name)) == 2
    error = capsys.readouterr().err
    assert error.startswith("--chart: ")
    assert cause in error
    assert not list(Path(tmp_path).iterdir())


def test_compare_shows_every_planner_and_the_reason_of_one_that_refuses(monkeypatch, capsys):
    def refuse(request):
        raise InputError("ues", "not today", "try tomorrow")

    monkeypatch.setitem(PLANNERS, "moody", refuse)
    assert run("plan", QUICKSTART, "--scheme", "c2p2sl", "--compare", "--json") == 0
    records = {r["planner"]: r for r in json.loads(capsys.readouterr().out)}
    assert list(records) == list(PLANNERS) and list(records)[-1] == "moody"
    assert records["moody"]["note"] == "ues: not today (hint: try tomorrow)"
    assert records["moody"]["round_s"] is None
    assert records["uniform"]["saved"] == 0
    assert records["makespan"]["saved"] >= records["ao"]["saved"] - 1e-9
    assert all(records[p]["gap"] >= 0 for p in ("uniform", "ao", "makespan"))


def test_each_worker_of_the_bs_has_a_row_in_the_chart(tmp_path):
    file = tmp_path / "pipar.svg"
    assert run("plan", "topologies/papers/pipar-pi-wifi.yaml", "--scheme", "pipar", "--chart", str(file)) == 0
    text = file.read_text()
    assert all(f">BS/ue{i}<" in text for i in (1, 2, 3, 4)) and ">BS<" not in text
