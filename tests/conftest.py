"""A test that waits for what never comes fails, and does not keep the others waiting."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

LONGEST_S = 900
"""Far longer than any test takes: the longest runs several trials."""


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LONGEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _too_long(_: int, frame: FrameType | None) -> None:
    pytest.fail(f"has not ended after {LONGEST_S} s")
