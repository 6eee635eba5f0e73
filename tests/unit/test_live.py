"""A trial on the terminal: what is shown of its events, at fixed sizes."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace

import pytest
from rich.console import Console

from controller.cli import main
from controller.report.live.left import left_s
from controller.report.live.plain import plain
from controller.report.live.sketches import bar, histogram, sparkline
from controller.report.live.state import Seen, after
from controller.report.live.terminal import ASCII, watching
from controller.report.live.view import view
from controller.trial import field_trial
from controller.trial import prepare as preparing
from controller.trial.watch import (
    Changed,
    Coming,
    Evaluated,
    Event,
    Learned,
    RoundBegins,
    RoundEnded,
    Stage,
    TrialBegins,
    TrialEnded,
    Warned,
    Watcher,
)
from testbed.engine import Engine
from testbed.errors import TrialError
from tests.unit.told import round_begins, round_ended, scheme_begins, scheme_ended

WHY = "D = 1, because of ue1; the trial takes about 20 s, of which sl takes 10 s"
START: tuple[tuple[Event, float], ...] = (
    (Stage("planning"), 0.0),
    (Stage("calibrating the host"), 1.0),
    (Learned(WHY), 13.0),
    (Stage("starting containers"), 13.0),
)


def trial(labels: Sequence[str] = ("sl", "psl"), ues: int = 2, rounds: int = 3) -> Iterator[tuple[Event, float]]:
    """Rounds of 2 s, then 2.1 s, then 2.2 s …, predicted to take 2 s, each in 3 s on the wall; then their verdict."""
    yield from START
    names = tuple(f"ue{i + 1}" for i in range(ues))
    drawn, at = random.Random(7), 20.0
    yield TrialBegins("cell", names, 1.0, tuple(Coming(label, rounds, 10.0) for label in labels), at), at
    for label in labels:
        yield scheme_begins(label, rounds), at
        for number in range(1, rounds + 1):
            yield round_begins(label, number, at), at
            at += 3.0
            idle = {name: round(drawn.betavariate(2, 5), 3) for name in names}
            yield round_ended(label, number, 1.9 + 0.1 * number, idle, at), at
        yield Evaluated(label, rounds, 6.3, 0.893), at
        yield scheme_ended(label, *(["the clock jumped"] if label == "psl" else [])), at
    yield TrialEnded(), at


def until(events: Iterable[tuple[Event, float]], kind: type, label: str, number: int) -> list[tuple[Event, float]]:
    """The events up to that round's beginning or end."""
    found = []
    for event, now in events:
        found.append((event, now))
        row = getattr(event, "row", None)
        if isinstance(event, kind) and (event.label, row.round if row else event.number) == (label, number):  # type: ignore[attr-defined]
            return found
    raise AssertionError("no such round")


def seen(events: Iterable[tuple[Event, float]]) -> tuple[Seen, float]:
    """The state after these events, and when it was."""
    state, now = Seen("cell"), 0.0
    for event, now in events:
        state = after(state, event, now)
    return state, now


def shown(events: Iterable[tuple[Event, float]], width: int, height: int, later_s: float = 0.0) -> str:
    """What a terminal of this size shows some time after the last of these events."""
    state, now = seen(events)
    console = Console(record=True, width=width, color_system=None)
    with console.capture() as said:
        for line in view(state, now + later_s, width, height):
            console.print(line.text, no_wrap=True, overflow="ellipsis", markup=False, highlight=False)
    return said.get()


def test_while_it_starts_it_says_what_it_does_and_for_how_long():
    assert shown([*trial()][:2], 80, 24, later_s=12) == "cell\ncalibrating the host … 12 s\n"


UNDER_WAY = """\
cell: 2 UEs, D = 1
██████████····················  33%  scheme 1 of 2, about 11 s left

scheme  rounds  round [s]  predicted  error  bubble rate  accuracy  believe it?
sl         2/3     2.1000     2.0000  +5.0%        0.762
psl        0/3

sl, round 3 of 3: cut 2, k 1
round 2      2.1000 s  predicted 2.0000 s   +5.0%  ▁█
bubble rate  0.762     predicted 0.750     +0.012  ▄▄

UEs idle in round 2
ue1   13%  ████··························
ue2   39%  ████████████··················
"""
DONE = """\
cell: 2 UEs, D = 1
██████████████████████████████ 100%  scheme 2 of 2

scheme  rounds  round [s]  predicted  error  bubble rate  predicted  accuracy  believe it?
sl         3/3     2.1500     2.0000  +7.5%        0.767      0.750     89.3%          yes
psl        3/3     2.1500     2.0000  +7.5%        0.767      0.750     89.3%           no

psl: cut 2, k 1
round 3      2.2000 s  predicted 2.0000 s  +10.0%  ▁▅█
bubble rate  0.773     predicted 0.750     +0.023  ▁▅█

UEs idle in round 3
ue1   17%  █████·························
ue2   44%  █████████████·················
"""
MANY = """\
cell: 100 UEs, D = 1
██████████████·······  66%  scheme 8 of 12, about 4 min left
scheme  rounds  round [s]   error  bubble rate  believe it?
s4       20/20     3.0000  +50.0%        0.833          yes
s5       20/20     3.0000  +50.0%        0.833          yes
s6       20/20     3.0000  +50.0%        0.833          yes
s7       18/20     2.9000  +45.0%        0.828
s8        0/20
s9        0/20
and 6 more schemes
s7, round 19 of 20: cut 2, k 1
round 18     3.7000 s  predicted 2.0000 s  +85.0%  ▁▂▃▄▄▅▆▇█
bubble rate  0.865     predicted 0.750     +0.115  ▁▂▃▄▅▆▇▇█
UEs idle in round 18
100 UEs: 2% to 76%, median 28%
0% [▃█▆▆▇▇▇▆▆▅▄ ▂▃ ▁    ] 100%
most idle: ue13 76%, ue20 68%, ue88 68%, ue96 67%, ue56 65%
"""
BROKEN = """\
cell: 2 UEs, D = 1
████████████████████··········  67%  scheme 2 of 2
lost: ue2
broke off: ue2 stopped with exit status 137 (hint: see logs/ue2.log)

scheme  rounds  round [s]  predicted  error  bubble rate  accuracy  believe it?
sl         3/3     2.1500     2.0000  +7.5%        0.767     89.3%          yes
psl        1/3     2.0000     2.0000  +0.0%        0.750

psl: cut 2, k 1
round 1      2.0000 s  predicted 2.0000 s   +0.0%  ▄
bubble rate  0.750     predicted 0.750     +0.000  ▄

UEs idle in round 1
ue1   12%  ████··························
ue2   53%  ████████████████··············
"""


def test_a_round_under_way():
    assert shown(until(trial(), RoundBegins, "sl", 3), 80, 24, later_s=1) == UNDER_WAY


def test_all_rounds_done_on_a_wide_terminal():
    assert shown(trial(), 120, 30) == DONE


def test_many_schemes_and_ues_on_a_narrow_and_low_terminal():
    """Schemes about the current one, and of the UEs how many are how idle."""
    events = until(trial([f"s{i}" for i in range(12)], ues=100, rounds=20), RoundBegins, "s7", 19)
    text = shown(events, 60, 17)
    assert text == MANY
    assert max(map(len, text.splitlines())) <= 60


def test_a_trial_that_lost_a_ue_says_which_and_why():
    lost = TrialEnded("ue2 stopped with exit status 137 (hint: see logs/ue2.log)", ("ue2",))
    assert shown([*until(trial(), RoundBegins, "psl", 2), (lost, 40.0)], 80, 24) == BROKEN


def test_a_round_is_compared_with_its_own_prediction_and_the_plan_is_the_one_in_force():
    events = until(trial(), RoundEnded, "sl", 1)
    slower = [(Changed("sl", 2, "plan"), 24.0), (round_begins("sl", 2, 24.0, 8.0), 24.0)]
    last = round_ended("sl", 2, 8.08, {"ue1": 0.5}, 34.0, 8.0)
    text = shown([*events, *slower, (last, 34.0)], 80, 24)
    assert "round 2      8.0800 s  predicted 8.0000 s   +1.0%" in text
    assert "bubble rate  0.938     predicted 0.938     +0.001" in text
    assert "sl: plan 2: cut 2, k 1" in text
    assert text.splitlines()[4].split() == ["sl", "2/3", "8.0800", "8.0000", "+1.0%", "0.938"]


@pytest.mark.parametrize("predicted_s", [1.0, 60.0])
def test_a_long_round_says_for_how_long_it_has_been_going_on(predicted_s):
    begun = [*until(trial(), RoundEnded, "sl", 1), (round_begins("sl", 2, 24.0, predicted_s), 24.0)]
    assert ("12 s of 60 s" in shown(begun, 80, 24, later_s=12)) == (predicted_s == 60.0)


def test_time_left_is_by_what_rounds_took_so_far():
    """Estimated were 10 s for the 3 rounds of each scheme; each takes 3 s."""
    start, now = seen([*trial()][: len(START) + 1])
    assert left_s(start, now) == 20.0
    one, now = seen(until(trial(), RoundEnded, "sl", 1))
    assert left_s(one, now) == pytest.approx(2 * 3 + 10 * 0.9)
    assert left_s(one, now + 2) == pytest.approx(2 * 3 + 10 * 0.9 - 2)
    assert left_s(one, now + 1000) == pytest.approx(10 * 0.9), "never below nothing"
    assert left_s(*seen(trial())) == 0.0
    assert left_s(Seen("cell"), 0.0) is None


def test_plain_lines_one_for_each_stage_and_round():
    lines = [line for event, _ in [*trial(rounds=1), (Changed("sl", 2, "channel"), 0.0)] for line in plain(event)]
    assert lines == PLAIN.splitlines()


NUMBERS = "round_s=2.0000 predicted_s=2.0000 bubble_rate=0.7500 predicted_bubble_rate=0.7500 train_loss=2.2500"
PLAIN = f"""\
stage: planning
stage: calibrating the host
note: D = 1, because of ue1; the trial takes about 20 s, of which sl takes 10 s
stage: starting containers
trial: name=cell ues=2 time_dilation=1 schemes=sl,psl
scheme: scheme=sl rounds=1 cut=2 micro_batches=1 predicted_s=2.0000 predicted_bubble_rate=0.7500
round: scheme=sl round=1 {NUMBERS} ue_idle=0.3495
evaluation: scheme=sl round=1 accuracy=0.8930 emulated_s=6.3000
verdict: scheme=sl believe=yes
scheme: scheme=psl rounds=1 cut=2 micro_batches=1 predicted_s=2.0000 predicted_bubble_rate=0.7500
round: scheme=psl round=1 {NUMBERS} ue_idle=0.2595
evaluation: scheme=psl round=1 accuracy=0.8930 emulated_s=6.3000
verdict: scheme=psl believe=no
reason: scheme=psl the clock jumped
end: done
change: scheme=sl round=2 kind=channel
"""


def test_small_drawings():
    assert bar(0.5, 4) == "██··"
    assert bar(7.0, 4) == "████"
    assert sparkline([9.0, 1.0, 2.0, 3.0], 3) == "▁▅█"
    assert sparkline([1.0, 1.01], 9) == "▄▄", "noise is not drawn as if it were news"
    assert sparkline([], 9) == sparkline([1.0], 0) == ""
    assert histogram([0.0, 0.1, 0.12, 1.0], 4) == "█  ▃"


def test_with_no_terminal_there_are_lines_and_when_quiet_nothing():
    for quiet, count in ((False, len(PLAIN.splitlines()) - 1), (True, 0)):
        file = io.StringIO()
        with watching(Console(file=file, width=160), "cell", quiet) as watcher:
            for event, _ in trial(rounds=1):
                watcher(event)
        assert len(file.getvalue().splitlines()) == count


def test_a_line_and_its_end_are_written_at_once():
    """Or an interrupt in between joins it with the next one."""
    written = []

    class File(io.StringIO):
        def write(self, text):
            written.append(text)
            return super().write(text)

    with watching(Console(file=File(), width=160), "cell") as watcher:
        for event, _ in trial(rounds=1):
            watcher(event)
    assert written and all(text.endswith("\n") and text.count("\n") == 1 for text in written)


def terminal(encoding: str = "utf-8") -> tuple[Console, io.BytesIO]:
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding=encoding, write_through=True)
    return Console(file=file, force_terminal=True, width=80, height=24, color_system=None), written


def test_on_a_terminal_what_was_learned_stays_and_the_picture_goes():
    console, written = terminal()
    with watching(console, "cell") as watcher:
        for event, _ in [*trial(), (Warned("ue2 has hardly any samples"), 0.0)]:
            watcher(event)
    text = written.getvalue().decode()
    assert WHY in text
    assert "planning: " in text
    assert "warning: ue2 has hardly any samples" in text
    assert "psl        3/3" in text
    assert text.endswith("\x1b[1A\x1b[2K"), "the last line of the picture is wiped out"


def test_a_picture_stays_when_the_trial_breaks_off():
    console, written = terminal()
    with pytest.raises(RuntimeError), watching(console, "cell") as watcher:
        for event, _ in until(trial(), RoundBegins, "psl", 2):
            watcher(event)
        raise RuntimeError
    _, _, last = written.getvalue().decode().rpartition("\x1b[2K")
    assert last.endswith("····\n\x1b[?25h"), "nothing is wiped out after the last picture"


def test_a_terminal_without_unicode_gets_what_it_can_show():
    console, written = terminal("latin-1")
    with watching(console, "cell") as watcher:
        for event, _ in trial():
            watcher(event)
    text = written.getvalue().decode("ascii")
    assert "##############################" in text
    assert "_" * 9 not in text
    assert not [mark for mark in ASCII.values() if ord(mark if isinstance(mark, str) else chr(mark)) > 126]


def test_nothing_is_left_behind_when_it_fails_before_it_began():
    console, written = terminal()
    with pytest.raises(RuntimeError), watching(console, "cell"):
        raise RuntimeError
    assert written.getvalue() == b""


@pytest.mark.parametrize("verb", ["run", "up"])
def test_quiet_verbs_show_only_what_comes_out(monkeypatch, tmp_path, capsys, verb):
    def prepare(engine: object, topology: object, watcher: Watcher, *_: object, **__: object) -> None:
        watcher(Stage("planning"))
        raise TrialError("that is all")

    for module in (field_trial, preparing):
        monkeypatch.setattr(module, "prepare", prepare)
    monkeypatch.setattr(Engine, "connect", lambda: SimpleNamespace(id="an engine"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    out = ["--out", str(tmp_path)] if verb == "run" else []
    for quiet, lines in (([], ["stage: planning", "that is all"]), (["--quiet"], ["that is all"])):
        with pytest.raises(SystemExit):
            main([verb, "tests/trial/small.yaml", *out, *quiet])
        assert capsys.readouterr().err.splitlines() == lines
