"""Ten faults of all kinds in a trial: it goes to its end, and its journal accounts for every round."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.judge.results import Results
from controller.trial.journal import RESULTS
from testbed.faults import KINDS
from tests.trial.conftest import call

pytestmark = pytest.mark.docker
CHAOS = Path(__file__).parent / "chaos.yaml"


def test_whatever_breaks_every_round_is_accounted_for(tmp_path, leftovers):
    done = call("chaos", str(CHAOS), "--out", str(tmp_path), "--json", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["findings"] == [] and told["left"] == {"things": [], "notes": []} and told["notes"] == []
    assert leftovers() == []
    schemes = Results.model_validate_json((tmp_path / RESULTS).read_bytes()).schemes
    faults = [fault for scheme in schemes.values() for fault in scheme.faults]
    assert len(faults) == 10
    struck = [fault for fault in faults if fault.why_not is None]
    assert {fault.kind for fault in struck} == set(KINDS)
    assert sum(fault.lost or 0 for fault in struck) > 0
    assert all(fault.predicted_s and fault.measured_s for fault in struck)
    assert all([one.round for one in scheme.rounds] == list(range(1, 31)) for scheme in schemes.values())
    again = call("check", str(tmp_path))
    assert (again.returncode, again.stdout.splitlines()[-1][-13:]) == (0, "nothing wrong")
