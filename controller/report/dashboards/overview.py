"""*Trial overview*: how far a trial is, and what each scheme measures beside what was predicted of it."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from controller.report.dashboards.parts import (
    BLUE,
    GREY,
    ORANGE,
    About,
    AnyPanel,
    Ask,
    Column,
    bars,
    curves,
    frame,
    lines,
    number,
    rows,
)
from controller.report.dashboards.promql import by_scheme, line, line_and_predicted, of_trial, recorded, running

ERROR = f"{by_scheme('round_seconds')} / {by_scheme('predicted_round_seconds')} - 1"
JUDGED = f"{by_scheme('fidelity_ok')} or {by_scheme('round_number')} * 0 - 1"
VERDICT = {"1": ("yes", BLUE), "0": ("no", ORANGE), "-1": ("not judged yet", GREY)}


def overview() -> dashboard.Dashboard:
    """The dashboard."""
    text = "Rounds, bubble rate and accuracy of a running trial, beside what was predicted. Times are emulated seconds."
    return frame("overview", "Testbed: trial overview", text, [*_now(), *_over_time(), *_over_rounds()])


def _now() -> list[AnyPanel]:
    return [
        number(
            About("Round", "The scheme that runs, the round that it is in, and how many there will be.", "none", 6, 4),
            Ask(running(by_scheme("round_number")), "{{scheme}}"),
            Ask(running(by_scheme("rounds_planned")), "of"),
        ),
        number(
            About("UEs", "UEs that are connected, and how many the trial has.", "none", 6, 4),
            Ask(of_trial("ues_connected"), "connected"),
            Ask(of_trial("ues"), "of"),
        ),
        number(
            About("Emulated time", "Emulated time since the running scheme's first round began.", "s", 6, 4),
            Ask(running(by_scheme("emulated_seconds"))),
        ),
        number(
            About("Time dilation", "Wall seconds for each emulated second.", "none", 6, 4),
            Ask(of_trial("time_dilation_ratio")),
        ),
        rows(
            About(
                "Schemes", "The last round of each scheme beside its own prediction, and the verdict.", "none", 24, 8
            ),
            {"scheme": "scheme"},
            [
                Column("rounds", by_scheme("rounds_total"), "none"),
                Column("round", by_scheme("round_seconds"), "s"),
                Column("predicted", by_scheme("predicted_round_seconds"), "s"),
                Column("error", ERROR, "percentunit"),
                Column("bubble rate", by_scheme("bs_bubble_ratio"), "percentunit"),
                Column("bubble rate predicted", by_scheme("predicted_bubble_ratio"), "percentunit"),
                Column("bubble rate of all rounds", by_rule(), "percentunit"),
                Column("training loss", by_scheme("train_loss"), "none"),
                Column("believe it?", JUDGED, "none", VERDICT),
            ],
        ),
    ]


def by_rule() -> str:
    """The bubble rate over all rounds of each scheme, as the recording rule has it."""
    return f"max by (trial, scheme) ({recorded('bubble_ratio')})"


def _over_time() -> list[AnyPanel]:
    bubble = "Share of the last round in which the base station did not compute (eq. 16)."
    idle = f"{by_scheme('bs_bubble_ratio')} * {by_scheme('round_seconds')}"
    busy = f"(1 - {by_scheme('bs_bubble_ratio')}) * {by_scheme('round_seconds')}"
    return [
        bars(
            About("Bubble rate now", bubble, "percentunit", 8),
            Ask(by_scheme("bs_bubble_ratio"), "{{scheme}}"),
            Ask(by_scheme("predicted_bubble_ratio"), "{{scheme}} (predicted)"),
            most=1,
        ),
        lines(
            About(
                "Bubble rate",
                f"{bubble} Marks show where a plan, a channel or a fault changed something.",
                "percentunit",
                8,
            ),
            Ask(running(by_scheme("bs_bubble_ratio")), "{{scheme}}"),
            Ask(running(by_scheme("predicted_bubble_ratio")), "{{scheme}} (predicted)"),
        ),
        lines(
            About("Round time", "Emulated duration of the last round, and that round's own prediction.", "s", 8),
            Ask(running(by_scheme("round_seconds")), "{{scheme}}"),
            Ask(running(by_scheme("predicted_round_seconds")), "{{scheme}} (predicted)"),
        ),
        lines(
            About(
                "Base station, busy and idle",
                "The last round, split into what the base station computed and waited.",
                "s",
            ),
            Ask(running(busy), "busy, {{scheme}}"),
            Ask(running(idle), "idle, {{scheme}}"),
            stacked=True,
        ),
        lines(
            About("Training loss", "Mean training loss of the last round.", "none"),
            Ask(running(by_scheme("train_loss")), "{{scheme}}"),
        ),
    ]


def _over_rounds() -> list[AnyPanel]:
    rounds = line_and_predicted("rounds_total", "rounds_total")
    emulated, accuracy = line("emulated_seconds"), line("accuracy_ratio")
    until = "Each evaluation holds until the next one; nothing before the first."
    return [
        curves(
            About("Bubble rate over rounds", "Measured and predicted, by the number of rounds done.", "percentunit"),
            rounds,
            "rounds",
            "none",
            line_and_predicted("bs_bubble_ratio", "predicted_bubble_ratio"),
        ),
        curves(
            About("Round time over rounds", "Measured and predicted, by the number of rounds done.", "s"),
            rounds,
            "rounds",
            "none",
            line_and_predicted("round_seconds", "predicted_round_seconds"),
        ),
        curves(
            About("Accuracy against emulated time", f"Test accuracy. {until}", "percentunit"),
            emulated,
            "emulated time",
            "s",
            accuracy,
        ),
        curves(
            About("Accuracy against rounds", f"Test accuracy. {until}", "percentunit"),
            line("rounds_total"),
            "rounds",
            "none",
            accuracy,
        ),
    ]
