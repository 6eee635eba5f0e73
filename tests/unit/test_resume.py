"""Going on with a trial: from where, with what of its journal in force, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.cli import main
from controller.judge.derive import derive
from controller.planners.planning import plan_all
from controller.planners.replanning import Course
from controller.report.live.state import Seen, after
from controller.trial.checkpoints import file_of
from controller.trial.journal import FILE, Journal, in_force, read
from controller.trial.replay import told
from controller.trial.resume import Point, at, begun, rounds_s
from controller.trial.revive import MOST_RESTARTS, Restarts, gone
from controller.trial.watch import Redone, RoundEnded, TrialEnded
from testbed.errors import GoneError, InputError, TrialError
from testbed.loading import parse
from tests import recorded

EVERY, ROUNDS = 2, 5
TOPOLOGY = f"""
name: again
training: {{batch: 24, rounds: {ROUNDS}}}
radio: {{bandwidth_mhz: 5}}
base_station: {{clock_ghz: 4, flops_per_cycle: 1.5}}
ues: [{{name: ue1, distance_m: 120}}, {{name: ue2, distance_m: 250}}]
dynamics: {{shadowing_db: 6, compute_jitter: 0.3}}
replan: {{every: 1}}
schemes: [{{scheme: psl, replan: false}}, {{scheme: psl, planner: makespan, label: anew}}]
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The lines of a whole trial with checkpoints, and its topology."""
    topology = parse(TOPOLOGY, "test")
    out = recorded.write(tmp_path_factory.mktemp("whole"), topology, noise=0.02)
    found = []
    for line in read(out):
        found.append(line)
        if line["event"] == "round" and line["round"] % EVERY == 0 and line["round"] < ROUNDS:
            what = {"scheme": line["scheme"], "round": line["round"], "file": file_of(line["scheme"], line["round"])}
            found.append({"event": "checkpoint", **what, "bytes": 1, "digest": "", "plan": ""})
    return found, topology


def written(out: Path, content: str, lines=()) -> Path:
    """A run directory with this journal, and with files for its checkpoints."""
    out.mkdir(parents=True, exist_ok=True)
    (out / FILE).write_text(content)
    for line in lines:
        if line["event"] == "checkpoint":
            (out / line["file"]).parent.mkdir(exist_ok=True)
            (out / line["file"]).write_text("x")
    return out


def text_of(lines) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def expected(lines):
    """Which schemes are done, which is under way, and after which round it can go on."""
    done = [line["scheme"] for line in lines if line["event"] == "scheme_end"]
    open_ones = [line["scheme"] for line in lines if line["event"] == "scheme" and line["scheme"] not in done]
    kept = [line["round"] for line in lines if line["event"] == "checkpoint" and line["scheme"] in open_ones]
    return done, (open_ones or [None])[0], max(kept, default=0)


def seen(found, lines):
    done = [label for label in ("psl", "anew") if found.ended(label)]
    return done, found.under_way, found.point.from_round


def test_a_journal_that_is_cut_after_any_line_goes_on_from_its_last_checkpoint(lines, tmp_path):
    whole, _ = lines
    for count in range(1, len(whole)):
        out = written(tmp_path, text_of(whole[:count]), whole)
        assert seen(begun(out), whole) == expected(whole[:count])
        assert len(begun(out).lines) == count


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_journal_that_is_cut_anywhere_goes_on_from_its_whole_lines(lines, tmp_path_factory, data):
    whole, _ = lines
    content = text_of(whole)
    at_byte = data.draw(st.integers(len(text_of(whole[:1])), len(content) - 1))
    out = written(tmp_path_factory.getbasetemp() / "cut", content[:at_byte], whole)
    left = content[:at_byte].count("\n")
    found = begun(out)
    assert seen(found, whole) == expected(whole[:left])
    assert found.length == len(text_of(whole[:left]))
    assert (out / FILE).read_text() == content[:at_byte], "nothing is changed before it goes on"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not the beginning of a journal"),
        ('{"event": "journal", "version": 2', "is not the beginning of a journal"),
        ('{"event": "journal", "version": 2}\n', "code: was begun by another version"),
        ('{"event": "journal", "version": 9}\n', "is of version 9"),
        ('{"event": "journal", "version": 2}\nnonsense\n', "events.jsonl:2: is no JSON object"),
        ('{"event": "journal", "version": 2}\n7\n', "events.jsonl:2: is no JSON object"),
    ],
)
def test_what_is_no_trial_is_refused_with_its_line(tmp_path, content, words):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError) as refused:
        begun(tmp_path)
    assert words in str(refused.value)
    assert (tmp_path / FILE).read_text() == content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda head: head["topology"]["training"].update(rounds="many"), "events.jsonl:1: topology.training.rounds"),
        (lambda head: head["topology"].update(surprise=1), "topology.surprise"),
        (lambda head: head.pop("calibrations"), "KeyError: 'calibrations'"),
        (lambda head: head.update(code="another"), "code: was begun by another version of the testbed (another)"),
        (lambda head: head.update(calibrations={"1": {}}), "KeyError: 'units'"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_with_its_key(lines, tmp_path, change, words):
    head = json.loads(json.dumps(lines[0][0]))
    change(head)
    with pytest.raises(InputError) as refused:
        begun(written(tmp_path, text_of([head])))
    assert words in str(refused.value)


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just([]) | st.just({})


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_journal_that_was_changed_goes_on_or_is_refused_in_a_line(lines, tmp_path_factory, data):
    whole, _ = lines
    until = data.draw(st.integers(1, len(whole) - 1))
    changed = list(whole[:until])
    number = data.draw(st.sampled_from([0, 1, until - 1]) | st.integers(0, until - 1)) % until
    line, value = dict(changed[number]), data.draw(ANYTHING)
    key = data.draw(st.sampled_from(sorted(line)))
    changed[number] = data.draw(st.sampled_from([{**line, key: value}, {k: v for k, v in line.items() if k != key}]))
    out = written(tmp_path_factory.getbasetemp() / "changed", text_of(changed), whole)
    try:
        begun(out)
    except InputError as error:
        assert "\n" not in str(error)


def test_a_checkpoint_whose_file_is_gone_is_passed_over_for_the_one_before(lines, tmp_path):
    whole, _ = lines
    until = next(i for i, one in enumerate(whole) if one["event"] == "checkpoint" and one["round"] == 4)
    out = written(tmp_path, text_of(whole[: until + 1]), whole)
    assert begun(out).point.from_round == 4
    (out / file_of("psl", 4)).unlink()
    assert begun(out).point.from_round == 2
    (out / file_of("psl", 2)).unlink()
    assert begun(out).point == Point()


def test_a_checkpoint_elsewhere_is_none(lines, tmp_path):
    whole, _ = lines
    until = next(i for i, one in enumerate(whole) if one["event"] == "checkpoint")
    stray = {**whole[until], "file": "../psl/checkpoint-2.safetensors"}
    assert begun(written(tmp_path, text_of([*whole[:until], stray]), whole)).point == Point()


def done_again(whole, from_round, event="restart"):
    """The same trial, whose second scheme was set back to a round in the midst of the fourth."""
    mine = [i for i, line in enumerate(whole) if line.get("scheme") == "anew"]
    broke = next(i for i in mine if whole[i]["event"] == "task" and whole[i]["round"] == 4) + 2
    again = next((i for i in mine if whole[i].get("round", 0) > from_round), None)
    line = {"event": event, "scheme": "anew", "from_round": from_round, "why": "bs stopped", "at": 0.0}
    end = [{"event": "end", "error": "Interrupted", "lost": []}] if event == "resume" else []
    return [*whole[:broke], *end, line, *whole[again:]]


@pytest.mark.parametrize("event", ["restart", "resume"])
@pytest.mark.parametrize("from_round", [0, 2])
def test_rounds_that_were_done_again_count_once(lines, tmp_path, from_round, event):
    whole, _ = lines
    content = done_again(whole, from_round, event)
    kept = [line for line in in_force(content) if line["event"] not in ("restart", "resume")]
    assert kept == whole
    assert derive(in_force(content)) == derive(whole)
    out = written(tmp_path, text_of(content))
    assert derive(read(out)) == derive(whole)
    events = list(told(out, None))
    state = Seen("again")
    for one in events:
        state = after(state, one, 0.0)
    assert [one.from_round for one in events if isinstance(one, Redone)] == [from_round]
    assert [isinstance(one, TrialEnded) for one in events].count(True) == 1
    assert state.ended and state.error is None
    assert list(state.schemes["anew"].rows) == derive(whole).schemes["anew"].rounds
    written_again = tmp_path / "again"
    written_again.mkdir()
    with Journal(written_again) as journal:
        for line in content:
            journal.append(line["event"], [{key: value for key, value in line.items() if key != "event"}])
        assert journal.lines == in_force(content)


def test_a_journal_goes_on_after_its_last_whole_line(lines, tmp_path):
    whole, _ = lines
    out = written(tmp_path, text_of(whole[:9]) + '{"event": "task", "sch', whole)
    found = begun(out)
    with Journal(out, found.lines, found.length) as journal:
        journal.append("resume", [{"scheme": found.under_way, "from_round": 0}])
    text = (out / FILE).read_text()
    assert text.startswith(text_of(whole[:9]) + '{"event": "resume"')
    assert text.count("\n") == 10 and text.endswith("\n")


def test_a_course_is_gone_again_as_it_went(lines):
    whole, topology = lines
    planned = plan_all(topology)[1]
    course, clock_s, steps = Course(topology, planned), 0.0, []
    for number, round_s in enumerate(rounds_s(whole, "anew"), 1):
        steps.append(course.step(number, clock_s))
        clock_s += round_s
    assert any(not step.kept for step in steps)
    again = Course(topology, planned)
    step, clock_s = at(again, planned, Point(3, {}), whole)
    assert step.now.plan == steps[2].now.plan
    assert clock_s == sum(rounds_s(whole, "anew")[:3])
    assert again.step(4, clock_s).now.plan == steps[3].now.plan


def test_a_course_without_a_lost_ue_is_gone_again_by_the_lines_that_the_trial_itself_has_written(lines):
    whole, topology = lines
    planned = plan_all(topology)[0]
    course = Course(topology, planned)
    course.step(1, 0.0), course.step(2, 0.0), course.lose("ue2")
    third = course.step(3, 0.0)
    fault = {"event": "fault", "scheme": "psl", "round": 2, "ue": "ue2", "kind": "killed", "came": [], "why": ""}
    plan = {"event": "plan", "scheme": "psl", "round": 3, "plan": third.planned.plan.to_json(), "gained_s": 0.0}
    step, _ = at(Course(topology, planned), planned, Point(3, {}), [*whole, fault, plan])
    assert step.now.plan == third.now.plan and step.now.plan.away == ("ue2",)


def test_a_plan_that_would_be_another_one_is_refused(lines):
    whole, topology = lines
    changed = [
        {**one, "plan": {**one["plan"], "cut": 3}} if one["event"] == "plan" and one["plan"] else one for one in whole
    ]
    with pytest.raises(InputError, match="plan of anew in round"):
        planned = plan_all(topology)[1]
        at(Course(topology, planned), planned, Point(ROUNDS, {}), changed)


def test_a_base_station_that_dies_again_and_again_ends_the_trial(lines):
    whole, _ = lines
    error, restarts = TrialError("bs stopped with exit status 137", lost=("bs",)), Restarts()
    first = [line for line in whole if line.get("round", 0) <= 1]
    for _ in range(MOST_RESTARTS):
        restarts.another(first, "psl", error)
    more = [line for line in whole if line.get("round", 0) <= 2]
    for _ in range(MOST_RESTARTS):
        restarts.another(more, "psl", error)
    with pytest.raises(TrialError, match="137; it was started again 3 times, and no further round has ended") as ended:
        restarts.another(first, "psl", error)
    assert ended.value.lost == ("bs",)


@pytest.mark.parametrize(
    ("status", "pid", "lost", "answers", "found"),
    [
        ("exited", 0, (), True, True),  # whoever noticed first
        ("paused", 7, ("ue1",), True, True),
        ("running", 8, ("bs",), True, True),  # it was started again meanwhile
        ("running", 7, ("bs",), False, True),  # frozen
        ("running", 7, ("bs",), True, False),  # it has failed at its work
        ("running", 7, ("ue1",), False, False),
        (None, 0, ("bs",), False, False),  # taken down by somebody
    ],
)
def test_a_base_station_that_is_gone_is_told_from_one_that_has_failed(status, pid, lost, answers, found):
    def inspect(container):
        if status is None:
            raise GoneError("gone")
        return SimpleNamespace(status=status, pid=pid)

    deployment = SimpleNamespace(agents={"bs": SimpleNamespace(name="testbed-t-bs", pid=7)})
    session = SimpleNamespace(answers=lambda name, timeout_s: answers)
    assert gone(SimpleNamespace(inspect=inspect), deployment, session, TrialError("why", lost=lost)) == found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "TOPOLOGY: is missing"),
        (("topologies/quickstart.yaml",), "--out: is missing"),
        (("--out", "x"), "TOPOLOGY: is missing"),
        (("topologies/quickstart.yaml", "--resume", "x"), "TOPOLOGY: is that of the trial which goes on"),
        (("--resume", "x", "--rounds", "3"), "--rounds: is that of the trial"),
        (("--resume", "/nowhere"), "has no events.jsonl that can be read"),
    ],
)
def test_what_does_not_go_together_is_bad_input(given, words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", *given])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_a_trial_that_is_over_is_not_resumed(lines, tmp_path, capsys):
    whole, _ = lines
    out = written(tmp_path, text_of(whole))
    before = (out / FILE).read_bytes()
    with pytest.raises(SystemExit) as stop:
        main(["run", "--resume", str(out)])
    assert stop.value.code == 2
    assert "nothing to resume" in capsys.readouterr().err
    assert (out / FILE).read_bytes() == before


def test_topologies_come_back_from_a_journal_as_they_were():
    from testbed.loading import load
    from testbed.topology import Topology

    for path in sorted(Path("topologies").rglob("*.yaml")):
        topology = load(path)
        assert Topology.model_validate(json.loads(json.dumps(topology.model_dump(mode="json")))) == topology


def test_rounds_that_were_told_are_told_once_with_their_clock(lines, tmp_path):
    whole, _ = lines
    events = list(told(written(tmp_path, text_of(done_again(whole, 2))), None))
    (redone,) = [one for one in events if isinstance(one, Redone)]
    assert redone.emulated_s == sum(rounds_s(whole, "anew")[:2])
    numbers = [one.row.round for one in events if isinstance(one, RoundEnded) and one.label == "anew"]
    assert numbers == [1, 2, 3, 3, 4, 5]
