"""The report in a real browser: it opens offline without a complaint, fits, draws every chart, and all can read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.cli.selection import select
from controller.report.html.publish import publish
from testbed.loading import load
from tests import recorded
from tests.report import axe
from tests.report.browser import Browser, chromium

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium: images/host/chromium.sh installs it")

CHARTS = "[...document.querySelectorAll('.chart')]"
MARKS = ".mark-rect path, .mark-symbol path, .mark-rule line, .mark-line path"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    topology = select(load(Path("topologies/quickstart.yaml")), ["psl", "c2p2sl"], rounds=4)
    return recorded.write(tmp_path_factory.mktemp("runs") / "quickstart", topology, noise=0.02)


@pytest.fixture(scope="module")
def pages(run, tmp_path_factory) -> dict[str, Path]:
    """One trial, and two whose links and plans change in one."""
    folder = tmp_path_factory.mktemp("pages")
    topology = select(load(Path("topologies/moving-replan.yaml")), ["c2p2sl"], rounds=4)
    moving = recorded.write(folder / "moving", topology, noise=0.02, whole=False)
    list(publish([run], folder / "one.html", None, [3]))
    list(publish([run, moving], folder / "two.html", None, []))
    return {name: folder / f"{name}.html" for name in ("one", "two")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as found:
        yield found


@pytest.mark.parametrize("page", ["one", "two"])
@pytest.mark.parametrize(("width", "dark"), [(375, False), (1280, False), (1280, True)])
def test_it_opens_offline_without_a_complaint_fits_and_draws_every_chart(page, width, dark, pages, browser):
    browser.open(pages[page], width, dark=dark)
    assert browser.complaints == []
    assert {url for url in browser.requested if not url.startswith(("data:", "blob:"))} == {pages[page].as_uri()}
    assert browser.value("document.documentElement.scrollWidth") <= width
    drawn = browser.value(f"{CHARTS}.map(c => c.querySelectorAll('{MARKS}').length)")
    assert len(drawn) == 8 and min(drawn) > 0
    widths = browser.value(f"{CHARTS}.map(c => c.querySelector('svg').getBoundingClientRect().right)")
    assert max(widths) <= width


def test_on_paper_it_fits_and_nothing_is_on_it_that_needs_a_screen(pages, browser, tmp_path):
    browser.open(pages["one"], 760, dark=True)
    browser.on_paper()
    assert browser.value("document.documentElement.scrollWidth") <= 760
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.value("document.querySelector('#zoom').offsetHeight") == 0
    browser.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().count(b"/Type /Page\n") >= 2


def test_scheme_and_round_are_chosen_and_the_pipeline_is_zoomed_by_buttons(pages, browser):
    browser.open(pages["one"], 1280)
    heading = "document.querySelector('#pipeline h3').textContent"
    assert browser.value(heading).endswith("of c2p2sl")
    for control, value, expected in (("scheme", "0", "of psl"), ("round", "3", "Round 3 of psl")):
        browser.value(f"{control}.value = '{value}'; {control}.dispatchEvent(new Event('change'))")
        browser.until(f"{heading}.endsWith('{expected}')")
    labels = "[...document.querySelectorAll('#pipeline .role-axis-label text')].map(t => t.textContent).sort().join()"
    whole = browser.value(labels)
    for button in ('[data-zoom="0.5"]', '[data-move="0.25"]', "[data-all]"):
        before = browser.value(labels)
        browser.value(f"document.querySelector('{button}').click()")
        browser.until(f"{labels} !== {json.dumps(before)}")
    assert browser.value(labels) == whole
    assert browser.complaints == []


def test_every_chart_has_its_numbers_in_words_and_in_a_table_that_are_those_of_the_results(run, pages, browser):
    browser.open(pages["one"], 1280)
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.until("[...document.querySelectorAll('.numbers')].every(d => d.querySelector('td'))")
    named = "document.getElementById(p.getAttribute('aria-labelledby')).textContent"
    described = "document.getElementById(p.getAttribute('aria-describedby')).textContent"
    pictures = "[...document.querySelectorAll('.picture')]"
    charts = browser.value(f"{pictures}.map(p => [p.role, {named}, {described}])")
    assert len(charts) == 8
    assert [one for one in charts if one[0] != "img" or not one[1] or len(one[2]) < 40] == []
    rows = "[...document.querySelectorAll('#round_time tbody tr')]"
    table = browser.value(f"{rows}.map(r => [...r.cells].map(c => c.textContent))")
    schemes = json.loads((run / "results.json").read_text())["schemes"]
    for label, median, *_ in table:
        assert float(median) == pytest.approx(schemes[label]["summary"]["round_s"]["median"])


@pytest.mark.parametrize("page", ["one", "two"])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_serious_fault(page, dark, pages, browser):
    script = axe.source()
    if script is None:
        pytest.skip("axe-core cannot be fetched from npm")
    browser.open(pages[page], 1280, dark=dark)
    browser.value("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.value(f"{script}; 0")
    found = browser.value("axe.run().then(r => r.violations.map(v => [v.impact, v.id, v.nodes.map(n => n.html)]))")
    assert [one for one in found if one[0] in ("serious", "critical")] == []
