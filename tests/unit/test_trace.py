"""The trace of a trial: its slices, arrows and counters say what the journal says, and nothing overlaps."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest

from agents.schedule.task import BROADCAST_PLACE, goes_up, is_link
from controller.cli import main
from controller.report.recorded import recorded as read
from controller.report.trace.choice import rounds_of
from controller.report.trace.tracks import Slice, counted, in_lanes
from controller.trial.journal import FILE
from testbed.errors import InputError
from testbed.loading import parse
from tests import recorded
from tests.unit.perfetto import parsed

SCENE = """
name: traced
training: {batch: 24, rounds: 4, evaluate_every: 2}
radio: {bandwidth_mhz: 5, duplex: fdd}
base_station: {clock_ghz: 4, flops_per_cycle: 1.5}
dynamics: {shadowing_db: 6, compute_jitter: 0.3}
replan: {charge: true}
ues: [{name: ue1, distance_m: 120}, {name: ue2, distance_m: 250}, {name: ue3, distance_m: 300}]
schemes:
  - {scheme: pipar, cut: 2, micro_batches: 2, sync_every: batch}
  - {scheme: epsl, cut: 2, phi: 0.5}
  - {scheme: c2p2sl, cut: 2, micro_batches: 4, planner: ao}
  - {scheme: ushape, cut: 2, micro_batches: 4}
"""
NOISE = 0.05


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """The run directory of a trial that went almost as predicted."""
    return recorded.write(tmp_path_factory.mktemp("traced"), parse(SCENE, "test"),
                          noise=NOISE)  # fmt: skip


@pytest.fixture(scope="module")
def whole(trial):
    """That trial, and its whole trace."""
    assert run("trace", str(trial)) == 0
    return read(trial), parsed(trial / "trace.pftrace.gz")


def run(*arguments: str) -> int:
    """The exit status of the command line."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def test_slices_on_a_track_neither_overlap_nor_go_back_in_time(whole):
    _, tracks = whole
    assert sum(len(track.slices) for track in tracks.values()) > 1000
    for track in tracks.values():
        assert track.times_ns == sorted(track.times_ns)
        assert track.deepest <= 1
        assert all(one.end_ns >= one.start_ns for one in track.slices)


def test_rounds_last_as_long_as_in_the_results(whole):
    found, tracks = whole
    for label, scheme in found.results.schemes.items():
        clock_s = 0.0
        measured, predicted = (_lanes(tracks, label, "", name) for name in ("rounds", "rounds (predicted)"))
        for row, one, foreseen in zip(scheme.rounds, measured, predicted, strict=True):
            assert (one.name, one.category) == (f"round {row.round}", "measured")
            assert one.start_ns == foreseen.start_ns == pytest.approx(1e9 * clock_s, abs=1)
            assert one.end_ns - one.start_ns == pytest.approx(1e9 * row.round_s, abs=2)
            assert foreseen.end_ns - foreseen.start_ns == pytest.approx(1e9 * row.predicted_s, abs=2)
            assert one.args["bubble_rate"] == row.bubble_rate and one.args["train_loss"] == row.train_loss
            clock_s += row.round_s


def _lanes(tracks, label: str, group: str, name: str) -> list:
    """The slices of a track and of the lanes beside it, in order."""
    above = (label, group) if group else (label,)
    found = [t for path, t in tracks.items() if path[:-1] == above and (path[-1] == name or
             path[-1].removeprefix(f"{name} (").rstrip(")").isdigit())]  # fmt: skip
    return sorted((one for track in found for one in track.slices), key=lambda one: (one.start_ns, one.end_ns))


def place_of(place: str, ue: str) -> tuple[str, str]:
    """The group and the name of a place's track."""
    if place == BROADCAST_PLACE:
        return ue, "down"
    owner, _, rest = place.partition("/")
    return owner, rest if is_link(place) else f"computes for {rest}" if rest else "computes"


def test_every_task_is_shown_where_and_when_it_was(whole):
    found, tracks = whole
    for label, record in found.records.items():
        want: dict[tuple[str, str], list] = {}
        for number in record.ends:
            for row in record.rows(number):
                began_s = record.starts_s[number]
                span = 1e9 * (began_s + row.start_s), 1e9 * (began_s + row.end_s)
                want.setdefault(place_of(row.place, row.ue), []).append((*span, row, number))
        for (group, name), rows in want.items():
            slices = _lanes(tracks, label, group, name)
            assert len(slices) == len(rows)
            for one, (start_ns, end_ns, row, number) in zip(slices, sorted(rows, key=lambda r: r[:2]), strict=True):
                assert (one.start_ns, one.end_ns) == (pytest.approx(start_ns, abs=2), pytest.approx(end_ns, abs=2))
                assert one.name == f"{row.task} {row.micro_batch + 1}"
                assert (one.args["round"], one.args["micro_batch"]) == (number, row.micro_batch + 1)
                assert one.args.get("bytes", 0) == int(row.bytes)
                assert one.args.get("overrun_s", 0.0) == row.overrun_s


def test_the_bs_is_busy_in_the_trace_as_in_the_results(whole):
    found, tracks = whole
    for label, scheme in found.results.schemes.items():
        busy_ns = Counter()
        mine = [t for path, t in tracks.items() if path[:2] == (label, "bs") and path[2:] == ("computes",)]
        for track in mine:
            for one in track.slices:
                busy_ns[one.args["round"]] += one.end_ns - one.start_ns
        for row in scheme.rounds:
            assert busy_ns[row.round] / len(mine) == pytest.approx(1e9 * row.bs_busy_s, abs=200)


def test_each_worker_of_the_bs_has_a_track(tmp_path):
    topology = parse(f"{SCENE.partition('schemes:')[0]}\nschemes: [{{scheme: pipar, sync_every: batch}}]", "test")
    base_station = topology.base_station.model_copy(update={"workers": "per_ue"})
    recorded.write(tmp_path, topology.model_copy(update={"base_station": base_station}), rounds=2)
    assert run("trace", str(tmp_path)) == 0
    tracks, (scheme,) = parsed(tmp_path / "trace.pftrace.gz"), read(tmp_path).results.schemes.values()
    mine = [track for path, track in tracks.items() if path[:2] == ("pipar", "bs") and "for" in path[-1]]
    measured = [track for track in mine if "predicted" not in track.path[-1]]
    assert [track.path[-1] for track in measured] == [f"computes for ue{i}" for i in (1, 2, 3)]
    busy_ns = sum(one.end_ns - one.start_ns for track in measured for one in track.slices)
    assert busy_ns / 3 == pytest.approx(1e9 * sum(row.bs_busy_s for row in scheme.rounds), abs=1000)
    assert all(track.deepest <= 1 for track in tracks.values())


def test_the_prediction_of_each_round_stands_beside_it(whole):
    found, tracks = whole
    for label, record in found.records.items():
        want = Counter()
        for number in record.ends:
            for event in record.predicted(number).events:
                hearers = record.schedule(number).receivers(record.schedule(number).by_key[event.key])
                for ue in hearers if event.place == BROADCAST_PLACE else (event.key.ue,):
                    group, name = place_of(event.place, ue)
                    at_ns = round(1e9 * (record.starts_s[number] + event.start_s))
                    want[group, f"{name} (predicted)", at_ns, f"{event.key.kind} {event.key.micro_batch + 1}"] += 1
        names = {key[:2] for key in want}
        have = Counter(
            (group, name, one.start_ns, one.name) for group, name in names for one in _lanes(tracks, label, group, name)
        )
        assert have.total() == want.total()
        assert (have - want).total() <= 0.01 * want.total(), "more than rounding moved"


def test_arrows_go_along_the_critical_chain_of_each_round(whole):
    found, tracks = whole
    begins = {flow: (path[0], one) for path, track in tracks.items() for one in track.slices for flow in one.flows_out}
    ends = {flow: (path[0], one) for path, track in tracks.items() for one in track.slices for flow in one.flows_in}
    count = sum(len(one.flows_out) + len(one.flows_in) for track in tracks.values() for one in track.slices)
    assert set(begins) == set(ends) and count == 2 * len(begins)
    for label, record in found.records.items():
        for number in record.ends:
            chain = [f"{key.kind} {key.micro_batch + 1}" for key in record.chain(number).tasks]
            mine = sorted(f for f, (of, one) in begins.items() if of == label and one.args["round"] == number)
            assert [(begins[f][1].name, ends[f][1].name) for f in mine] == list(pairwise(chain))
            for flow in mine:
                assert begins[flow][1].category == ends[flow][1].category == "critical"
                assert begins[flow][1].start_ns <= ends[flow][1].start_ns
    critical = sum(one.category == "critical" for track in tracks.values() for one in track.slices)
    assert critical == sum(len(r.chain(number).tasks) for r in found.records.values() for number in r.ends)


def test_the_queue_at_the_bs_is_what_arrived_and_was_not_begun(whole):
    found, tracks = whole
    for label in ("c2p2sl", "ushape", "pipar"):
        values = [value for _, value in tracks[label, "queue at the BS"].values]
        assert min(values) == 0 == values[-1] and max(values) >= 1
    record, arrived = found.records["c2p2sl"], Counter()
    at_ns, most = max(tracks["c2p2sl", "queue at the BS"].values, key=lambda one: one[1])
    for number in record.ends:
        begin_s = record.starts_s[number]
        begun = {row.micro_batch: begin_s + row.start_s for row in record.rows(number) if row.task == "bs_forward"}
        for row in record.rows(number):
            if row.task == "uplink":
                arrived[at_ns] += begin_s + row.end_s <= at_ns / 1e9 + 1e-9 < begun[row.micro_batch] - 1e-9
    assert arrived[at_ns] == most


@pytest.mark.parametrize("way", ["up", "down"])
def test_goodput_over_time_comes_to_the_bits_that_were_sent(whole, way):
    found, tracks = whole
    for label, record in found.records.items():
        track = tracks[label, f"goodput {way}"]
        assert track.unit == "bit/s" and track.values[-1][1] == 0
        bits = sum(value * (end - start) / 1e9 for (start, value), (end, _) in pairwise(track.values))
        rows = [row for number in record.ends for row in record.rows(number) if not row.computed]
        sent = sum(8 * row.bytes for row in rows if goes_up(row.place) == (way == "up"))
        assert bits == pytest.approx(sent, rel=1e-4)


def test_bubble_rates_and_accuracy_are_counters(whole):
    found, tracks = whole
    for label, scheme in found.results.schemes.items():
        values = [value for _, value in tracks[label, "bubble rate"].values]
        assert values == [*(row.bubble_rate for row in scheme.rounds), 0.0]
        foreseen = [value for _, value in tracks[label, "bubble rate (predicted)"].values]
        assert foreseen == [*(row.predicted_bubble_rate for row in scheme.rounds), 0.0]
        curve = [(round(1e9 * at_s), accuracy) for _, at_s, accuracy in scheme.accuracy.curve]
        assert tracks[label, "accuracy"].values == curve


def test_changes_are_marked_and_the_planners_time_is_shown(whole):
    found, tracks = whole
    for label, record in found.records.items():
        assert [name.split(":")[0] for _, name in tracks[label, "what changed"].instants] == [
            f"{mark.kind} of {mark.ue}" if mark.ue else mark.kind for mark in record.marks
        ]
        charged_s = [row.charged_s for row in record.rounds if row.charged_s]
        spent = [one.end_ns - one.start_ns for one in _lanes(tracks, label, "", "planner")]
        assert spent == [pytest.approx(1e9 * seconds, abs=2) for seconds in charged_s]


def test_what_overlaps_gets_lanes_of_its_own_and_rounding_does_not():
    slices = [
        Slice(start, end, str(start), "measured") for start, end in ((0, 10), (9, 20), (20, 30), (15, 25), (25, 40))
    ]
    lanes = in_lanes("up", "ue1", slices)
    assert [(lane.name, [(one.start_ns, one.end_ns) for one in lane.slices]) for lane in lanes] == [
        ("up", [(0, 10), (10, 20), (20, 30)]),
        ("up (2)", [(15, 25), (25, 40)]),
    ]


def test_a_counter_says_a_value_once_per_time():
    assert counted([(5, 1), (1, 2), (5, -1), (7, -2), (5, 3)]) == [(1, 2), (5, 5), (7, 3)]


def test_schemes_and_rounds_are_chosen_and_keep_their_place_in_time(trial, whole, tmp_path, capsys):
    out = tmp_path / "some.pftrace"
    assert run("trace", str(trial), "--out", str(out), "--scheme", "epsl, c2p2sl", "--rounds", "2,4-4", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schemes"], told["bytes"]) == (["epsl", "c2p2sl"], out.stat().st_size)
    tracks = parsed(out)
    assert {path[0] for path in tracks} == {"epsl", "c2p2sl"}
    assert told["slices"] == sum(len(track.slices) for track in tracks.values())
    rounds, of_all = (_lanes(found, "epsl", "", "rounds") for found in (tracks, whole[1]))
    assert [(one.name, one.start_ns) for one in rounds] == [(of_all[i].name, of_all[i].start_ns) for i in (1, 3)]
    assert [value for _, value in tracks["epsl", "bubble rate"].values][1::2] == [0.0, 0.0]


def test_the_same_trial_gives_the_same_bytes(trial, tmp_path):
    files = [tmp_path / name for name in ("one.pftrace.gz", "two.pftrace.gz")]
    assert [run("trace", str(trial), "--out", str(file)) for file in files] == [0, 0]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes()[4:8] == bytes(4), "gzip says when it was written"


def test_a_trial_that_broke_off_shows_what_there_is_and_says_what_is_missing(trial, tmp_path, capsys):
    lines = (trial / FILE).read_text().splitlines(keepends=True)
    ends = [number for number, line in enumerate(lines) if '"event": "round"' in line]
    (tmp_path / FILE).write_text(
        "".join(lines[: ends[5] + 1]) + '{"event": "end", "error": "ue1 stopped", "lost": ["ue1"]}\n'
    )
    assert run("trace", str(tmp_path)) == 0
    printed = capsys.readouterr()
    assert "missing: the trial broke off: ue1 stopped" in printed.err
    assert "missing: epsl is not over: 2 rounds measured" in printed.err
    tracks = parsed(tmp_path / "trace.pftrace.gz")
    at_ns, name = tracks["epsl", "what changed"].instants[-1]
    assert name == "broke off: ue1 stopped"
    assert at_ns == _lanes(tracks, "epsl", "", "rounds")[-1].end_ns


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["--scheme", "psl"], "--scheme: psl has no rounds here (hint: choose among pipar, epsl, c2p2sl, ushape)", 2),
        (["--rounds", "3-9"], "--rounds: 5, 6, 7, 8, 9 was not measured (hint: there are rounds 1 to 4)", 2),
        (["--rounds", "three"], "--rounds: three names no rounds (hint: write, for example, 3,5-7)", 2),
        (["--rounds", "0"], "--rounds: 0 names no rounds", 2),
        (["--out", "/nowhere/x.pftrace"], "/nowhere/x.pftrace: No such file or directory", 2),
    ],
)
def test_what_cannot_be_traced_is_said_with_the_way_out(trial, capsys, arguments, words, status):
    assert run("trace", str(trial), *arguments) == status
    assert words in capsys.readouterr().err


def test_a_directory_without_rounds_exits_1_and_none_at_all_2(trial, tmp_path, capsys):
    (tmp_path / FILE).write_text((trial / FILE).read_text().splitlines(keepends=True)[0])
    assert run("trace", str(tmp_path)) == 1
    assert "holds no tasks of a round that was measured" in capsys.readouterr().err
    assert run("trace", str(tmp_path / "nowhere")) == 2


def test_rounds_may_be_spans():
    assert rounds_of("3, 5-7") == (3, 5, 6, 7)
    with pytest.raises(InputError):
        rounds_of("7-5")
