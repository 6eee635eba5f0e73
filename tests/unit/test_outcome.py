"""The table at the end of a trial: like beside like, on any terminal, and with the reasons where it is not believed."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from controller.judge.derive import derive
from controller.judge.results import Results
from controller.report.outcome import results_table
from tests.unit.test_journal import HEAD, PLAN, begin, tasks

PREDICTED_S = {1: 5.0, 2: 5.0, 3: 5.0}
DYNAMIC_S = {1: 0.8, 2: 4.96, 3: 5.04}


def shown(results: Results, width: int) -> str:
    console = Console(record=True, width=width, color_system=None)
    with console.capture() as said:
        console.print(results_table(results))
    return said.get()


def trial(predicted_s: dict[int, float], made: dict[int, Any] | None = None, error: str | None = None) -> Results:
    """Three rounds of 5 s (bubble rate 0.8), predicted as given, under plans that are made anew as given."""
    lines: list[dict[str, Any]] = [{"event": "journal", **HEAD}, {"event": "scheme", **begin(), "predicted": PLANNED}]
    lines[1]["paper"] = {"bubble_rate": 0.775}
    for number, seconds in predicted_s.items():
        if number in (made or {}):
            plan = {**PLAN.to_json(), **made[number]}
            again = {"round": number, "plan": plan, "planner_s": 0.1, "gained_s": 1.0, "waits": begin()["waits"]}
            lines.append({"event": "plan", "scheme": "psl", **again})
        lines += [{"event": "task", **task} for task in tasks(number)]
        rates = {"predicted_s": seconds, "predicted_bubble_rate": 1 - 1 / seconds if seconds > 1 else 0.4}
        lines.append({"event": "round", "scheme": "psl", "round": number, "train_loss": 2.0, **rates, "host": []})
    return derive([*lines, {"event": "end", **({"error": error} if error else {})}])


PLANNED = {"round_s": 5.0, "bubble_rate": 0.8, "bs_busy_s": 1.0, "bs_idle_s": 4.0, "lower_bound_s": 1.0}


def test_a_round_stands_beside_its_own_prediction():
    """The plan said 5 s; the rounds, after the warm-up, were predicted to take 4.96 and 5.04 s."""
    text = shown(trial({1: 5.0, 2: 3.96, 3: 4.04}), 120)
    assert "4.0000" in text, "the median of what was predicted for rounds 2 and 3"
    assert "+25.01%" in text, "each round against its own"
    assert "0.750" in text, "and so the bubble rate"


def test_eq_16_is_shown_only_of_rounds_as_the_plan_has_them():
    assert "0.775" in shown(trial(PREDICTED_S), 120)
    assert "0.775" not in shown(trial(DYNAMIC_S), 120)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({}, "cut 2, k 1"),
        ({3: {"cut": 1, "micro_batches": 4}}, "cut 2 → 1, k 1 → 4"),
        ({1: {"micro_batches": 4}}, "cut 2, k 4"),
        ({2: {"cut": 1}, 3: {"cut": 2}}, "cut 2 → 1, k 1"),
    ],
)
def test_cut_and_k_say_how_the_plan_changed(made, words):
    text = shown(trial(PREDICTED_S, made), 120)
    assert f"\n{words}  " in text
    plans = len({1: None, **made})
    assert (f"{plans} plans" in text) == (plans > 1)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_on_any_terminal_it_says_whether_to_believe_it_and_why_not(width):
    text = shown(trial({1: 5.0, 2: 4.0, 3: 4.0}, error="ue1 was paused"), width)
    assert max(map(len, text.splitlines())) <= width
    assert "5.0000" in text
    assert "4.0000" in text
    assert " no" in text
    assert "…" not in text
    flat = " ".join(text.split())
    assert "psl: the round took +25.0% against prediction (limit 3%)" in flat
    assert "the trial broke off: ue1 was paused" in flat


def test_units_are_shown():
    assert "round [s]" in shown(trial(PREDICTED_S), 120)
    assert "[Mbit/s]" in shown(trial(PREDICTED_S), 120)
