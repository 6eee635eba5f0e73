"""A trial that takes longer than it may is refused before anything is started."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from agents.evaluation import Evaluator
from agents.samples.shard import Samples
from controller.cli.arguments import seconds
from controller.trial import field_trial as trials
from controller.trial.demand import Dilation
from controller.trial.duration import Duration, images_each
from controller.trial.fit import Fitted
from controller.trial.watch import silent
from testbed.errors import InputError
from testbed.loading import load

QUICKSTART = Path("topologies/quickstart.yaml")


def test_a_trial_that_takes_too_long_is_refused_with_the_reason(monkeypatch, tmp_path):
    takes = Duration({"psl": 9000.0, "sl": 600.0}, 10.0)
    fitted = Fitted((), Dilation(67.0, "what bs computes", "bs"), (), takes)
    monkeypatch.setattr(trials, "prepare", lambda *_, **__: SimpleNamespace(fitted=fitted))
    with pytest.raises(InputError) as refused:
        trials.field_trial(SimpleNamespace(id="host"), load(QUICKSTART), tmp_path / "out", silent, most_s=3600.0)
    assert str(refused.value).splitlines()[0] == (
        "--max-wall: this takes longer than 60 min: D = 67, because of what bs computes; the trial takes about 2.7 h, "
        "of which psl takes 2.5 h (hint: add --yes, or a longer --max-wall; or take fewer --rounds)"
    )
    assert not (tmp_path / "out").exists()


def test_many_models_share_the_images_each_until_the_last_round():
    assert [images_each(models, 1000, last=False) for models in (1, 8, 9, 48)] == [1000, 1000, 889, 167]
    assert images_each(48, 1000, last=True) == 1000


def test_shares_of_the_images_each_follow_each_other_and_are_all_of_them():
    images = np.zeros((6, 1, 28, 28), dtype=np.uint8)
    evaluator = Evaluator(Samples(images, np.array([0, 0, 1, 1, 1, 0], dtype=np.uint8)), "cpu")
    always_0 = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    nn.init.zeros_(always_0[1].weight)
    always_0[1].bias.data = torch.tensor([1.0, 0.0])
    evaluator.take_model(always_0, 250)
    assert [evaluator.accuracy([], share, images=2) for share in range(4)] == [1.0, 0.0, 0.5, 1.0]
    assert evaluator.accuracy([]) == 0.5


@pytest.mark.parametrize(("text", "found_s"), [("90s", 90.0), ("45m", 2700.0), ("1.5h", 5400.0)])
def test_a_time_has_a_unit(text, found_s):
    assert seconds("--max-wall", text) == found_s


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "2d", "infs", "nanm"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError, match="90s, 45m or 2h"):
        seconds("--max-wall", text)
