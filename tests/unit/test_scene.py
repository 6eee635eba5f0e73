"""``testbed topology``: who is where, what computes and what its link carries, as table, JSON, Mermaid and SVG."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from controller.cli import main
from controller.cli.selection import select
from controller.planners.planning import plan_all
from controller.report.scene.mermaid import mermaid
from controller.report.scene.scene import Scene, scene
from controller.report.scene.svg import svg
from testbed.loading import load

QUICKSTART = Path("topologies/quickstart.yaml")
SVG = "{http://www.w3.org/2000/svg}"


def cell(tmp_path: Path, ues: str, radio: str = "{bandwidth_mhz: 5}") -> Scene:
    file = tmp_path / "cell.yaml"
    file.write_text(f"name: cell\nradio: {radio}\nues: {ues}\n")
    return scene(load(file))


def run(*arguments: str) -> int | str | None:
    """The exit status of ``testbed topology ARGUMENTS``."""
    with pytest.raises(SystemExit) as stop:
        main(["topology", *arguments])
    return stop.value.code


def test_rates_are_those_of_path_loss_and_power() -> None:
    ue = scene(load(QUICKSTART)).ues[0]
    loss_db = 28 + 22 * math.log10(120) + 20 * math.log10(3.5)
    snr = 10 ** ((20 + 10 - loss_db + 174 - 10 * math.log10(5e6)) / 10)
    assert ue.uplink_bps == pytest.approx(5e6 * math.log2(1 + snr))
    assert ue.shared_uplink_bps == pytest.approx(ue.uplink_bps / 4)
    assert (ue.distance_m, ue.flop_per_s, ue.share) == (120, pytest.approx(1.8e9), 0.25)


@pytest.mark.parametrize("name", ["quickstart.yaml", "papers/cpsl-table2.yaml", "papers/pipar-pi-wifi.yaml"])
def test_shared_rates_are_what_the_uniform_planner_gives_to_all_at_once(name: str) -> None:
    topology = load(Path("topologies") / name)
    (planned,) = plan_all(select(topology, ["psl"], planner="uniform"))
    for ue in scene(topology).ues:
        assert ue.shared_uplink_bps == pytest.approx(planned.plan.ues[ue.name].uplink_bps)
        assert ue.shared_downlink_bps == pytest.approx(planned.plan.ues[ue.name].downlink_bps)


def test_where_a_ue_is_follows_from_what_its_rate_follows_from(tmp_path: Path) -> None:
    by_snr = cell(tmp_path, "[{name: a, snr_db: 12.5}, {name: b, distance_m: 80}]")
    assert [ue.where for ue in by_snr.ues] == ["12.5 dB SNR", "80 m"]
    assert [(ue.snr_db, ue.distance_m) for ue in by_snr.ues] == [(12.5, None), (None, 80)]
    own = cell(tmp_path, "[{name: a, distance_m: 80}]", "{access: dedicated, network: wifi}")
    assert [(ue.where, ue.share, ue.uplink_bps) for ue in own.ues] == [("", 1, 50e6)]
    assert [ue.where for ue in scene(load(Path("topologies/moving.yaml"))).ues][:2] == ["120 m, moves", "200 m"]


def test_mermaid_has_a_box_and_a_link_for_everybody_and_no_reserved_word(tmp_path: Path) -> None:
    text = mermaid(cell(tmp_path, "[{name: end, distance_m: 80, memory_mb: 900}, {name: graph}]"))
    assert text.startswith("flowchart LR\n")
    assert '  u1["<b>end</b><br/>80 m<br/>19.2 GFLOP/s<br/>900 MB"]\n' in text
    assert len(re.findall(r'^ *u\d ---\|"up [\d.]+, down [\d.]+<br/>Mbit/s, 50.0% of the air"\| bs$', text, re.M)) == 2
    assert not re.search(r"^\s*(end|graph)\W*\[", text, re.M)
    assert text.count("subgraph") == len(re.findall(r"^ *end$", text, re.M))


@pytest.mark.parametrize("count", [1, 2, 10, 11, 60, 100])
def test_the_picture_lists_everybody_inside_the_sheet_and_nothing_over_something_else(
    count: int, tmp_path: Path
) -> None:
    drawn = cell(tmp_path, f"{{count: {count}}}")
    root = ElementTree.fromstring(svg(drawn))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    words = [(float(t.attrib["x"]), float(t.attrib["y"]), t.text or "") for t in root.iter(f"{SVG}text")]
    assert all(0 < x < width and 0 < y < height for x, y, _ in words)
    assert len({(x, y) for x, y, text in words if text}) == sum(bool(text) for _, _, text in words)
    for ue in drawn.ues:
        assert sum(text == ue.name for _, _, text in words) == 2  # in the map, and in the list
    circles = [c.attrib for c in root.iter(f"{SVG}circle") if c.attrib["class"] == "ue"]
    dots = [(float(c["cx"]), float(c["cy"])) for c in circles]
    assert len(set(dots)) == count + 1  # and the legend's


def test_a_nearer_ue_is_nearer_in_the_map_by_as_much(tmp_path: Path) -> None:
    root = ElementTree.fromstring(svg(cell(tmp_path, "[{name: a, distance_m: 100}, {name: b, distance_m: 300}]")))
    (base,) = (r for r in root.iter(f"{SVG}rect") if r.attrib.get("class") == "bs" and r.attrib["width"] == "22")
    middle = float(base.attrib["x"]) + 11
    rings = sorted(float(c.attrib["r"]) for c in root.iter(f"{SVG}circle") if c.attrib["class"] == "ring")
    a, b = (abs(float(c.attrib["cx"]) - middle) for c in root.iter(f"{SVG}circle") if c.attrib["r"] == "6.0")
    assert a == pytest.approx(rings[0]) and b == pytest.approx(rings[2])


def test_colours_follow_the_viewer_and_bytes_do_not_change(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("one.svg", "two.svg"))
    for file in (first, second):
        assert run(str(QUICKSTART), "--graph", "svg", "--out", str(file)) == 0
    assert first.read_bytes() == second.read_bytes()
    assert "@media (prefers-color-scheme: dark)" in first.read_text()


def test_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(QUICKSTART), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["base_station"]["flop_per_s"] == 6e9
    assert [ue["name"] for ue in found["ues"]] == ["ue1", "ue2", "ue3", "ue4"]
    assert run(str(QUICKSTART)) == 0
    table = capsys.readouterr().out
    assert re.search(r"ue4 +│ +400 m +│ +2.1 GFLOP/s +│ +- +│ +72.9 / 111 +│ +25.0% +│ +18.2 / 27.8", table)
    assert run(str(QUICKSTART), "--graph", "mermaid") == 0
    assert capsys.readouterr().out.startswith("flowchart LR\n")


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (("--out", "cell.svg"), "--out: there is no drawing"),
        (("--graph", "svg", "--json"), "--json: a drawing is no JSON"),
        (("--graph", "svg", "--out", "no/such/cell.svg"), "--out: no/such/cell.svg: No such file"),
    ],
)
def test_what_cannot_be_drawn_or_written_is_bad_input(
    options: tuple[str, ...], path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(QUICKSTART), *options) == 2
    assert capsys.readouterr().err.startswith(path)
