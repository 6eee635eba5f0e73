"""What YAML can do and a topology must not."""

from __future__ import annotations

import pytest

from testbed.errors import InputError
from testbed.loading import parse
from tests.fuzzing.attempts import bounded_memory
from tests.fuzzing.mutations import BOMB, YAML_FRAGMENTS

FRAGMENTS = [one for one in YAML_FRAGMENTS if one != "#"]  # a comment is no harm
HEAD = "name: bad\nues: [{name: ue1}]\n"


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=range(len(FRAGMENTS)))
@pytest.mark.parametrize("place", ["{}", HEAD + "model: {}", HEAD + "{}: 1"], ids=["whole", "section", "key"])
def test_what_no_topology_holds_is_refused_in_one_line(fragment: str, place: str) -> None:
    with bounded_memory(), pytest.raises(InputError) as caught:
        parse(place.replace("{}", fragment, 1), "bad.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (BOMB, "line 3, column 269: more than 200000 values"),
        ("&a [1, *a]", "stands for something that it is a part of"),
        ("[" * 500 + "]" * 500, "more than 40 values inside one another"),
        ("2001-99-99", "line 3, column 8: this is no timestamp"),
        ("{2001-12-14: 1}", "2001-12-14 cannot be a key"),
        ("0x" + "f" * 5000, "a whole number beyond"),
    ],
    ids=["bomb", "itself", "deep", "date", "key", "digits"],
)  # fmt: skip
def test_the_line_is_named(value: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(f"{HEAD}model: {value}\n", "bad.yaml")
    where, _, what = said.rpartition(": ")
    assert where in str(caught.value) and what in str(caught.value)


def test_anchors_and_merges_are_allowed() -> None:
    ues = "[&first {name: ue1, distance_m: 50}, {<<: *first, name: ue2}]"
    topology = parse(f"name: good\nues: {ues}\n", "good.yaml")
    assert [(ue.name, ue.distance_m) for ue in topology.ues] == [("ue1", 50), ("ue2", 50)]


def test_a_large_file_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InputError, match="larger than 4 MB"):
        parse("x" * 5_000_000, "large.yaml")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("radio: {bandwidth_mhz: 1.0e+300}", "radio.bandwidth_mhz: must be within"),
        ("radio: {bandwidth_mhz: 1.0e-300}", "radio.bandwidth_mhz: must be 0 or"),
        ("base_station: {tx_power_dbm: 1.0e+9}", "base_station.tx_power_dbm: must be at most 1000"),
        ("training: {rounds: 99999999999999999999}", "training.rounds: must be within"),
        ('"a\\nb": 1', "'a\\\\nb': unknown key"),
    ],
)
def test_what_no_calculation_survives_is_refused_at_its_key(section: str, key: str) -> None:
    with pytest.raises(InputError, match=f"^{key}"):
        parse(f"{HEAD}{section}\n", "bad.yaml")
