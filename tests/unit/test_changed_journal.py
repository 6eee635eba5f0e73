"""Journals that somebody changed: one line of why, exit status 2, whatever is done with them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.cli import main
from controller.trial.journal import FILE
from testbed.loading import load
from tests import recorded

Change = Callable[[list[dict[str, Any]]], None]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    topology = load(Path(__file__).resolve().parents[2] / "topologies/quickstart.yaml")
    topology = topology.model_copy(update={"schemes": topology.schemes[1:2]})
    out = recorded.write(tmp_path_factory.mktemp("runs"), topology, rounds=2)
    return (out / FILE).read_text().splitlines()


def first(lines: list[dict[str, Any]], event: str) -> dict[str, Any]:
    return next(line for line in lines if line["event"] == event)


CHANGES: dict[str, Change] = {
    "bytes-are-words": lambda lines: first(lines, "task").update(bytes="many"),
    "a-ue-that-is-not": lambda lines: first(lines, "task").update(ue="ue99"),
    "a-step-that-is-a-list": lambda lines: first(lines, "task").update(step=[1]),
    "units-are-words": lambda lines: first(lines, "scheme").update(units="all"),
    "no-rate": lambda lines: first(lines, "scheme")["plan"]["ues"]["ue1"].update(uplink_bps=0),
    "a-scheme-that-is-a-list": lambda lines: first(lines, "round").update(scheme=[1]),
    "the-end-lost-a-number": lambda lines: first(lines, "end").update(lost=3),
    "a-key-in-two-lines": lambda lines: lines[0]["topology"].update({"two\nlines": 1}),
    "a-version-in-two-lines": lambda lines: lines[0].update(version="two\nlines"),
    "words-that-are-no-text": lambda lines: first(lines, "scheme")["plan"].update(planner="\ud800"),
    "a-plan-without-a-cut": lambda lines: first(lines, "scheme")["predicted"].clear(),
    "a-prediction-of-words": lambda lines: first(lines, "round_begins").update(predicted_s={"two\nlines": 1}),
    "an-event-that-is-a-list": lambda lines: first(lines, "round").update(event=["round"]),
}


@pytest.mark.parametrize("verb", ["results", "trace", "report", "watch"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_journal_is_refused_or_shown_as_far_as_it_goes(
    verb: str, change: str, lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = [json.loads(line) for line in lines]
    CHANGES[change](changed)
    (tmp_path / FILE).write_text("".join(f"{json.dumps(line)}\n" for line in changed))
    os.utime(tmp_path / FILE, (0, 0))
    status = 0
    try:
        main([verb, str(tmp_path), *(["--page-only"] if verb == "report" else [])])
    except SystemExit as ended:
        status = int(ended.code or 0)
    told = capsys.readouterr().err
    assert status in (0, 1, 2)
    assert status != 2 or (FILE in told and len(told.strip().splitlines()) == 1), told
    assert "Traceback" not in told


def test_a_line_that_is_nested_too_deep_is_no_json(lines: list[str], tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(f"{lines[0]}\n{'[' * 100_000}\n{lines[1]}\n")
    os.utime(tmp_path / FILE, (0, 0))
    for verb in ("results", "watch"):
        with pytest.raises(SystemExit) as ended:
            main([verb, str(tmp_path)])
        assert ended.value.code == 2 or verb == "watch"
