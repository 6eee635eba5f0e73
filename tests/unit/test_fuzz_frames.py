"""No socket minds what is thrown at it; ``python -m tests.bench fuzz-frames`` throws far more."""

from __future__ import annotations

import pytest

from tests.mutated import TARGETS, fuzz


@pytest.mark.parametrize("socket", TARGETS)
def test_a_peer_is_served_whatever_others_send(socket: str, capfd: pytest.CaptureFixture[str]) -> None:
    fuzz(socket, 200)
    assert capfd.readouterr() == ("", "")
