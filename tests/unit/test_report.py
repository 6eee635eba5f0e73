"""``testbed report``: what it writes of run directories, whole or not."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from controller.cli.report import write_page
from controller.cli.selection import select
from controller.report.figures.files import SUFFIXES
from controller.report.html.publish import publish
from controller.report.html.report import Report, named, typical
from controller.report.recorded import recorded
from testbed.errors import InputError, RecordError
from testbed.loading import load
from tests import recorded as synthetic


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    topology = select(load(Path("topologies/quickstart.yaml")), ["psl", "c2p2sl"], rounds=5)
    return synthetic.write(tmp_path_factory.mktemp("runs") / "quickstart", topology, noise=0.01)


@pytest.fixture(scope="module")
def changing(tmp_path_factory):
    topology = select(load(Path("topologies/moving-replan.yaml")), ["c2p2sl"], rounds=4)
    return synthetic.write(tmp_path_factory.mktemp("runs") / "moving", topology, noise=0.01)


def report(*directories: Path, rounds: tuple[int, ...] = ()) -> Report:
    return Report(named([recorded(directory) for directory in directories]), rounds)


def embedded(page: str) -> dict:
    """The data of a page's charts."""
    (data,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    return json.loads(data)


def column(figure, frame: str, name: str) -> list:
    found = figure.frames[frame]
    return [row[list(found.titles).index(name)] for row in found.rows]


def test_the_page_needs_nothing_else_and_is_the_same_again(run, tmp_path):
    for name in ("one.html", "two.html"):
        assert list(publish([run], tmp_path / name, None, [])) == [f"report: {tmp_path / name}"]
    text = (tmp_path / "one.html").read_text()
    assert text == (tmp_path / "two.html").read_text()
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', markup) == []
    assert "@import" not in markup and "url(" not in markup


def test_the_page_begins_with_the_verdict_on_every_scheme(run, tmp_path):
    list(publish([run], tmp_path / "report.html", None, []))
    text = (tmp_path / "report.html").read_text()
    results = json.loads((run / "results.json").read_text())["schemes"]
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", text)
    assert headings[0] == "The numbers of all 2 schemes can be believed."
    for label, scheme in results.items():
        assert f"<strong>{label}: yes.</strong> A round took {scheme['summary']['round_s']['median']:.4g} s" in text


def test_figures_are_files_of_each_kind_and_the_same_bytes_again(run, tmp_path):
    for name in ("one", "two"):
        list(publish([run], tmp_path / "report.html", tmp_path / name, []))
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert {"round_time.svg", "round_time.pdf", "round_time.summary.csv"} <= set(names)
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    assert set(SUFFIXES) >= {".svg", ".pdf"}


def test_numbers_of_figures_are_those_of_the_results(run, tmp_path):
    list(publish([run], tmp_path / "report.html", tmp_path / "figures", []))
    results = json.loads((run / "results.json").read_text())["schemes"]
    with (tmp_path / "figures" / "round_time.summary.csv").open() as file:
        rows = {row["scheme"]: row for row in csv.DictReader(file)}
    for label, scheme in results.items():
        spread = scheme["summary"]["round_s"]
        told = [float(rows[label][key]) for key in ("median", "p5", "p95", "predicted")]
        assert told == pytest.approx(
            [*(spread[key] for key in ("median", "p5", "p95")), scheme["summary"]["predicted_s"]]
        )
    with (tmp_path / "figures" / "accuracy_over_time.accuracy.csv").open() as file:
        curve = [(int(r["round"]), float(r["emulated_s"]), float(r["accuracy"])) for r in csv.DictReader(file)]
    assert curve == [pytest.approx(point) for scheme in results.values() for point in scheme["accuracy"]["curve"]]


def test_a_pipeline_is_the_typical_round_measured_over_predicted_and_those_that_were_asked_for(run):
    found = report(run, rounds=(2, 99))
    for s, story in zip(found.series, found.stories, strict=True):
        assert set(story.pipelines) == {typical(s), 2}
        lengths = {r.round: (r.round_s, r.predicted_s) for r in s.result.rounds}
        for number, figure in story.pipelines.items():
            ends = dict(zip(column(figure, "ends", "what"), column(figure, "ends", "end_s"), strict=True))
            assert (ends["measured"], ends["predicted"]) == pytest.approx(lengths[number])
            assert column(figure, "chain", "end_s")[-1] == ends["measured"]
            assert any(column(figure, "blocks", "critical"))
            measured, predicted = (column(figure, "blocks", "what").count(w) for w in ("measured", "predicted"))
            assert measured == predicted > 0


def test_under_dynamics_every_round_is_beside_its_own_prediction_with_what_changed(changing):
    found = report(changing)
    (story,), (s,) = found.stories, found.series
    assert column(story.course, "rounds", "predicted") == pytest.approx([r.predicted_s for r in s.result.rounds])
    assert len(set(column(story.course, "rounds", "predicted"))) > 1
    kinds = set(column(story.course, "marks", "kind"))
    assert "link changed" in kinds
    made = sum(one.plan is not None for one in s.result.replanned)
    assert column(story.course, "marks", "kind").count("plan made anew") == made


def test_two_runs_are_compared_with_what_differs_between_them(run, changing, tmp_path):
    list(publish([run, changing], tmp_path / "both.html", None, []))
    text = (tmp_path / "both.html").read_text()
    schemes = {row[0] for row in embedded(text)["figures"]["round_time"]["frames"]["summary"]["rows"]}
    assert schemes == {"psl · quickstart", "c2p2sl · quickstart", "c2p2sl · moving"}
    differs = re.search(r"In what the topologies differ</h3>(.*?)</table>", text, re.S)[1]
    assert ">name<" in differs and ">radio.duplex<" not in differs
    with pytest.raises(InputError, match="given twice"):
        report(run, run)


def test_every_axis_with_numbers_has_its_unit_and_every_chart_its_words(run, changing):
    for figure in report(run, changing).figures:
        axes = list(_axes(figure.spec))
        assert axes and all(re.search(r"\[[^]]+\]$", title) for title in axes), (figure.name, axes)
        assert re.search(r"\d", figure.says) and figure.says.endswith(".")


def _axes(spec):
    for channel, encoding in spec.get("encoding", {}).items():
        if channel in ("x", "y", "color") and encoding.get("type") == "quantitative" and "title" in encoding:
            yield encoding["title"]
    for layer in spec.get("layer", ()):
        yield from _axes(layer)


def test_a_trial_that_is_not_whole_is_shown_with_what_is_missing_first(run, tmp_path):
    half = tmp_path / "half"
    half.mkdir()
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if '"event": "round"' in line)
    (half / "events.jsonl").write_text("".join(lines[:last]) + lines[last][:40])
    said = list(publish([half], tmp_path / "half.html", None, []))
    assert any("still running, or was killed" in line for line in said)
    text = (tmp_path / "half.html").read_text()
    assert text.index("What is missing") < text.index("can be believed")
    assert "c2p2sl is not over: 4 rounds measured" in text


def test_a_trial_without_its_journal_has_all_but_pipelines(run, tmp_path):
    (tmp_path / "results.json").write_bytes((run / "results.json").read_bytes())
    found = report(tmp_path)
    assert len(found.series) == 2 and all(not story.pipelines for story in found.stories)
    assert "no pipelines" in found.runs[tmp_path.name].missing[0]


def test_where_nothing_can_be_shown_it_says_so_and_writes_nothing(tmp_path):
    with pytest.raises(RecordError, match="nothing can be shown") as stop:
        list(publish([tmp_path], tmp_path / "report.html", None, []))
    assert stop.value.exit_status == 1
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_directory_says_is_text_and_never_markup(run, tmp_path):
    evil = "</script><script>alert(1)</script>"
    lines = (run / "events.jsonl").read_text().replace('"system": "a host"', f'"system": {json.dumps(evil)}')
    lines = re.sub(r'^({"event": "\w+", "scheme": )"psl"', r'\1"p<b>sl"', lines, flags=re.M)
    (tmp_path / "events.jsonl").write_text(lines)
    list(publish([tmp_path], tmp_path / "report.html", None, []))
    text = (tmp_path / "report.html").read_text()
    assert evil not in text and "p<b>sl" not in text
    assert "p&lt;b&gt;sl" in text and len(embedded(text)["stories"]) == 2


def test_the_page_at_the_end_of_a_trial_is_there_or_it_is_said_why_not(run, tmp_path):
    whole = shutil.copytree(run, tmp_path / "whole")
    assert write_page(whole) == f"report: {whole / 'report.html'}"
    assert (whole / "report.html").stat().st_size > 0
    assert write_page(tmp_path / "none").startswith(f"no report: {tmp_path / 'none'}: is no directory")
    assert write_page(run, most_s=0.01) == f"no report: it took longer than 0 s; type: testbed report {run}"


def test_a_trial_that_broke_off_has_that_on_its_time_axis(tmp_path):
    topology = select(load(Path("topologies/quickstart.yaml")), ["psl", "c2p2sl"], rounds=3)
    found = report(synthetic.write(tmp_path / "run", topology, whole=False))
    first, last = (list(story.course.frames["marks"].rows) for story in found.stories)
    at_s = sum(r.round_s for r in found.series[1].result.rounds)
    assert (first, last) == ([], [(pytest.approx(at_s), "broke off", "ue1 stopped with exit status 137")])
    assert "Broke off once." in found.stories[1].course.says


def test_a_trial_of_which_no_round_has_ended_has_a_page_that_says_so(run, tmp_path):
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "events.jsonl").write_text("".join(lines[:4]))
    list(publish([tmp_path], tmp_path / "report.html", None, []))
    text = (tmp_path / "report.html").read_text()
    assert ">No round has been measured yet.</h2>" in text
    assert embedded(text)["figures"] == {}


@pytest.mark.parametrize(("out", "figures", "option"), [("no/a.html", None, "--out"), ("a.html", "taken", "--figures")])
def test_what_cannot_be_written_is_named_with_its_option(run, tmp_path, out, figures, option):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=f"^{option}: {tmp_path}") as stop:
        list(publish([run], tmp_path / out, tmp_path / figures if figures else None, []))
    assert stop.value.exit_status == 2
