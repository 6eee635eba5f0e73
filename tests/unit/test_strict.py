"""``testbed run --strict``: the exit status is the verdict."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from controller import cli
from controller.report import outcome
from controller.trial import field_trial
from testbed.engine import Engine


@pytest.mark.parametrize(
    ("verdicts", "arguments", "status"),
    [
        ((True, True), ["--strict"], 0),
        ((True, False), ["--strict"], 3),
        ((True, False), [], 0),
    ],
)
def test_one_verdict_that_is_no_is_enough(monkeypatch, tmp_path, verdicts, arguments, status):
    schemes = {str(i): SimpleNamespace(fidelity=SimpleNamespace(ok=ok)) for i, ok in enumerate(verdicts)}
    results = SimpleNamespace(schemes=schemes, model_dump=lambda mode: {})
    monkeypatch.setattr(Engine, "connect", lambda: None)
    monkeypatch.setattr(field_trial, "field_trial", lambda *_: results)
    monkeypatch.setattr(outcome, "results_table", lambda _: "")
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", "tests/trial/small.yaml", "--out", str(tmp_path), *arguments])
    assert stop.value.code == status
