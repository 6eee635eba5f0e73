"""Golden files: each wrong topology in ``errors/`` and the exact line that it gets.

After a change of wording: ``python -m tests.unit.test_errors`` rewrites the lines, to be read in the diff.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.cli import main
from testbed.errors import InputError
from testbed.loading import load

FOLDER = Path(__file__).parent / "errors"
CASES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_wrong_topology_exits_2_with_one_line(file, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["validate", str(file)])
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.err == file.with_suffix(".txt").read_text()
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize("verb", [["up"], ["run", "--out", "nowhere"], ["plan"], ["calibrate"]], ids=lambda v: v[0])
def test_every_verb_refuses_before_it_does_anything(verb, capsys, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    with pytest.raises(SystemExit) as stop:
        main([verb[0], str(FOLDER / "negative-distance.yaml"), *verb[1:]])
    assert stop.value.code == 2
    assert "ues.0.distance_m" in capsys.readouterr().err
    assert not Path("nowhere").exists()


def test_missing_file_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["validate", "no/such.yaml"])
    assert stop.value.code == 2
    assert "no/such.yaml: No such file or directory" in capsys.readouterr().err


def test_no_docker_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    with pytest.raises(SystemExit) as stop:
        main(["ps"])
    assert stop.value.code == 1
    assert capsys.readouterr().err == "no Docker engine answers (hint: start dockerd, or type: make setup)\n"


def test_unknown_scheme_on_the_command_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["plan", "topologies/quickstart.yaml", "--scheme", "nope"])
    assert stop.value.code == 2
    assert "--scheme: unknown scheme nope" in capsys.readouterr().err


def test_debug_shows_the_traceback(monkeypatch):
    with pytest.raises(InputError):
        main(["validate", "no/such.yaml", "--debug"])


if __name__ == "__main__":
    for case in CASES:
        try:
            load(case)
        except InputError as error:
            case.with_suffix(".txt").write_text(f"{error}\n")
