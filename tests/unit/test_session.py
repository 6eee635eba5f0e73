"""Who is to blame when agents fail: whoever is waited for and waits for nobody."""

from __future__ import annotations

import pytest

from agents.wire.mgmt import AgentsFailed, Failure
from controller.trial.session import _blamed


@pytest.mark.parametrize(
    ("failures", "silent", "words"),
    [
        (
            {"bs": Failure("AirError: bs waited for uplink of ue2", ("ue2",)), "ue1": Failure("AirError", ("bs",))},
            ["ue2"],
            "ue2: fell silent (AirError: bs waited for uplink of ue2)",
        ),
        (
            {"ue1": Failure("ValueError: nonsense"), "bs": Failure("AirError: bs waited", ("ue1",))},
            [],
            "ue1: ValueError: nonsense",
        ),
        ({"bs": Failure("RuntimeError: out of paper")}, ["ue1"], "bs: RuntimeError: out of paper"),
    ],
)  # fmt: skip
def test_the_culprit_is_named_and_not_its_victims(failures, silent, words):
    assert str(_blamed(AgentsFailed(failures, silent))).startswith(words)
