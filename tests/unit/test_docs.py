"""Every topology and file that the docs show is what it says: it loads, and is planned."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from controller.cli import main
from controller.cli.selection import select
from controller.planners.planning import plan_all
from controller.predict.sizes import differences
from controller.predict.strikes import strikes_of
from controller.predict.workload import real_sizes
from controller.trial.watch import Stage, TrialBegins, silent
from controller.trial.whereabouts import findable
from testbed.loading import load, parse
from tests import recorded
from tests.unit.perfetto import parsed

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


def test_the_commands_about_ones_own_topology_do_what_the_page_says(tmp_path, monkeypatch):
    page = (DOCS / "own-topology.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "mycell.yaml").write_text(blocks[0])
    for name in ("topologies", "docs"):
        shutil.copytree(DOCS.parent / name, tmp_path / name)
    (tmp_path / "docs" / "scene.svg").unlink()
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"`testbed ((?:validate|topology|plan) \S+\.yaml[^`]*)`", page)
    assert len(commands) == 6
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main(command.split())
        assert stop.value.code == 0, command
    assert (tmp_path / "docs" / "scene.svg").read_bytes() == (DOCS / "scene.svg").read_bytes()


def test_the_commands_about_traces_write_the_rows_that_the_page_names(tmp_path, monkeypatch):
    page = (DOCS / "trace.md").read_text()
    recorded.write(tmp_path / "runs/quickstart", load(DOCS.parent / "topologies/quickstart.yaml"), rounds=7)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^testbed (.*)$", page, re.M)
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main(command.split())
        assert stop.value.code == 0, command
    whole, some = (parsed(tmp_path / name) for name in ("runs/quickstart/trace.pftrace.gz", "some.pftrace.gz"))
    rows = re.findall(r"^\| (`.*?) \|", page, re.M)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    absent = {"what changed", "planner", "late_s", "cpu_s", "wait_s", "overrun_s"}  # of which this trial has none
    arguments = {name for track in whole.values() for one in track.slices for name in one.args}
    shown = {name for path in whole for name in path} | arguments | {"turn", "step"}
    assert named - shown == absent
    assert {path[0] for path in some} == {"psl", "c2p2sl"}


def test_the_commands_about_reports_write_what_the_page_says(tmp_path, monkeypatch, capsys):
    topology = select(load(DOCS.parent / "topologies" / "quickstart.yaml"), ["psl"], rounds=3)
    for name in ("mine", "yours"):
        recorded.write(tmp_path / "runs" / name, topology)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^testbed (report .*)$", (DOCS / "report.md").read_text(), re.M)
    assert len(commands) == 2
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main(command.split())
        assert stop.value.code == 0, capsys.readouterr().err
    for written in ("runs/mine/report.html", "runs/mine/report/round_time.svg", "both.html", "both/round_time.pdf"):
        assert (tmp_path / written).stat().st_size > 0


def test_the_page_about_watching_names_commands_that_are_there_and_every_alert(tmp_path, monkeypatch, capsys):
    page = (DOCS / "monitoring.md").read_text()
    monkeypatch.chdir(tmp_path)
    for command in re.findall(r"^testbed (.*)$", page, re.M):
        words = command.split() if "export" in command else [*command.partition(" topologies")[0].split(), "--help"]
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0, capsys.readouterr().err
    assert (tmp_path / "monitoring/grafana/dashboards/overview.json").exists()
    rules = (DOCS.parent / "images/prometheus/rules/testbed.yml").read_text()
    assert set(re.findall(r"^\| `(Testbed\w+)`", page, re.M)) == set(re.findall(r"alert: (\w+)", rules))


def test_the_commands_about_watching_show_what_the_page_says(tmp_path, monkeypatch, capsys):
    page = (DOCS / "watching.md").read_text()
    topology = select(load(DOCS.parent / "topologies" / "quickstart.yaml"), ["psl"], rounds=3)
    recorded.write(tmp_path / "runs" / "quickstart", topology)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with findable("quickstart", tmp_path / "runs" / "quickstart", silent) as watcher:
        watcher(Stage("starting containers"))
        watcher(TrialBegins("quickstart", (), 1.0, (), 0.0))
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^testbed (watch .*)$", page, re.M)
    assert len(commands) == 2
    shown = set()
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main(command.split())
        assert stop.value.code == 0, command
        shown |= {tuple(re.findall(r"(\w+)[:=]", line)) for line in capsys.readouterr().err.splitlines()}
    said = [
        line for line in page.splitlines() if re.match(r"(stage|trial|scheme|round|evaluation|verdict|end): ", line)
    ]
    assert len(said) == 7
    assert {tuple(re.findall(r"(\w+)[:=]", line)) for line in said} <= shown


def test_the_faults_that_the_page_shows_strike_where_it_says():
    blocks = re.findall(r"^```yaml\n(.*?)^```", (DOCS / "faults.md").read_text(), re.M | re.S)
    listed, drawn = (block for block in blocks if "faults:" in block)
    topology = parse(listed, "faults.md")
    found = strikes_of(topology, plan_all(topology))
    assert [[s.kind for s in strikes] for strikes in found["c2p2sl"].values()] == [["kill"], ["cut"], ["restart"]]
    assert found["psl"].keys() == {5, 7}
    parse(re.sub(r"^faults:.*", drawn, listed, flags=re.M | re.S), "faults.md")


def test_the_commands_about_faults_are_there(capsys):
    """What they do takes an engine: ``tests/trial`` types them."""
    page = (DOCS / "faults.md").read_text()
    blocks = re.findall(r"^```console\n(.*?)^```", page, re.M | re.S)
    commands = re.findall(r"^testbed (.*)$", "".join(blocks), re.M)
    assert len(commands) >= 3
    for command in commands:
        verb, *words = command.split()
        with pytest.raises(SystemExit) as stop:
            main([verb, "--help"])
        assert stop.value.code == 0
        shown = capsys.readouterr().out
        assert all(word in shown for word in words if word.startswith("--")), command


def test_the_command_about_going_on_is_one_for_the_out_of_a_trial(tmp_path, monkeypatch, capsys):
    """Going on itself is tried on real containers; here the trial is over."""
    topology = select(load(DOCS.parent / "topologies" / "quickstart.yaml"), ["psl"], rounds=3)
    recorded.write(tmp_path / "runs" / "mine", topology)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^testbed (run --resume .*)$", (DOCS / "faults.md").read_text(), re.M)
    assert len(commands) == 1
    with pytest.raises(SystemExit) as stop:
        main(commands[0].split())
    assert stop.value.code == 2
    assert "runs/mine: is over: there is nothing to resume" in capsys.readouterr().err
