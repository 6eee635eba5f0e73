"""A trial that takes longer than it may is refused before anything is started."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.cli.arguments import seconds
from controller.trial import field_trial as trials
from controller.trial.demand import Dilation
from controller.trial.duration import Duration
from controller.trial.fit import Fitted
from controller.trial.watch import silent
from testbed.errors import InputError
from testbed.loading import load

QUICKSTART = Path("topologies/quickstart.yaml")


def test_a_trial_that_takes_too_long_is_refused_with_the_reason(monkeypatch, tmp_path):
    takes = Duration({"psl": 9000.0, "sl": 600.0}, 10.0)
    fitted = Fitted((), Dilation(67.0, "what bs computes", "bs"), (), takes)
    monkeypatch.setattr(trials, "prepare", lambda *_: SimpleNamespace(fitted=fitted))
    with pytest.raises(InputError) as refused:
        trials.field_trial(SimpleNamespace(), load(QUICKSTART), tmp_path / "out", silent, most_s=3600.0)
    assert str(refused.value).splitlines()[0] == (
        "--max-wall: this takes longer than 60 min: D = 67, because of what bs computes; the trial takes about 2.7 h, "
        "of which psl takes 2.5 h (hint: add --yes, or a longer --max-wall; or take fewer --rounds)"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("text", "found_s"), [("90s", 90.0), ("45m", 2700.0), ("1.5h", 5400.0)])
def test_a_time_has_a_unit(text, found_s):
    assert seconds("--max-wall", text) == found_s


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "2d", "infs", "nanm"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError, match="90s, 45m or 2h"):
        seconds("--max-wall", text)
