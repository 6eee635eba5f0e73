"""A call is tried again while that may help, and no longer than said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testbed.patience import AWAY_S, FAILURES, Fault, Patience


class Away(Exception):
    pass


class Failed(Exception):
    pass


FAULTS: dict[type[Exception], Fault] = {Away: Fault.AWAY, Failed: Fault.FAILED}


class Engine:
    """One that answers after some errors, on a clock of its own."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors, self.now_s, self.calls = list(errors), 0.0, 0
        self.patience = Patience(lambda error: FAULTS.get(type(error)), self.pause, lambda: self.now_s)

    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    def call(self) -> str:
        self.calls += 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return "answer"

    def ask(self, done: Callable[[], bool] | None = None) -> object:
        return self.patience(self.call, done)


def test_an_engine_that_is_back_soon_is_waited_for() -> None:
    engine = Engine(*[Away()] * 5, Failed(), Away())
    assert engine.ask() == "answer"
    assert engine.calls == 8 and engine.now_s < AWAY_S / 2


def test_one_that_stays_away_is_given_up_and_then_nobody_waits_for_it_again() -> None:
    engine = Engine(*[Away()] * 1000)
    with pytest.raises(Away):
        engine.ask()
    assert AWAY_S <= engine.now_s < AWAY_S + 5
    calls, given_up_s = engine.calls, engine.now_s
    with pytest.raises(Away):
        engine.ask()
    assert (engine.calls, engine.now_s) == (calls + 1, given_up_s)
    engine.errors.clear()
    assert engine.ask() == "answer"
    engine.errors.append(Away())
    assert engine.ask() == "answer", "it was back meanwhile"


def test_what_the_engine_cannot_do_is_not_tried_for_long() -> None:
    engine = Engine(*[Failed()] * 1000)
    with pytest.raises(Failed):
        engine.ask()
    assert engine.calls == FAILURES


def test_what_would_fail_again_is_not_tried_again() -> None:
    engine = Engine(ValueError())
    with pytest.raises(ValueError):
        engine.ask()
    assert engine.calls == 1


def test_what_may_not_be_done_twice_is_looked_for_first() -> None:
    for there, calls in ((True, 1), (False, 2)):
        engine = Engine(Away())
        assert engine.ask(done=lambda there=there: there) == (None if there else "answer")  # type: ignore[misc]
        assert engine.calls == calls
