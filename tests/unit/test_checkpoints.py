"""Checkpoint files: what was written is read, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from agents.wire.frames import Sealed
from controller.trial.checkpoints import Belongs, every, keep_last, read, write
from testbed.errors import InputError, StorageError
from testbed.loading import parse

BELONGS = Belongs("c0de", "t0p0", "psl", 4, "p1an", "part")
STATES = {
    "bs": ({"parts": [["bs", 2, 5, [0]]], "random": 1}, Sealed([("float32", [2, 1]), ("int64", [])], [b"8" * 8] * 2)),
    "ue1": ({"parts": [], "order_drawn": "{}"}, Sealed([("uint8", [3]), ("float64", [0, 4])], [b"123", b""])),
}


@pytest.fixture
def written(tmp_path):
    return tmp_path, write(tmp_path, BELONGS, STATES)


def test_what_was_written_is_read(written):
    out, line = written
    assert line["file"] == "psl/checkpoint-4.safetensors"
    assert line["bytes"] == (out / line["file"]).stat().st_size
    found = read(out, BELONGS, line)
    assert {agent: (header, list(sealed.shapes)) for agent, (header, sealed) in found.items()} == {
        agent: (header, list(sealed.shapes)) for agent, (header, sealed) in STATES.items()
    }
    assert {agent: list(sealed.data) for agent, (_, sealed) in found.items()} == {
        agent: list(sealed.data) for agent, (_, sealed) in STATES.items()
    }


@pytest.mark.parametrize("key", ["code", "topology", "plan", "partition"])
def test_what_belongs_to_something_else_is_refused_with_file_and_key(written, key):
    out, line = written
    with pytest.raises(InputError) as refused:
        read(out, replace(BELONGS, **{key: "other"}), line)
    assert refused.value.exit_status == 2
    assert f"psl/checkpoint-4.safetensors: {key}: is " in str(refused.value)


def test_a_checkpoint_of_another_round_or_scheme_under_this_name_is_refused(written):
    out, line = written
    (out / "sl").mkdir()
    (out / "sl/checkpoint-4.safetensors").write_bytes((out / line["file"]).read_bytes())
    (out / "psl/checkpoint-8.safetensors").write_bytes((out / line["file"]).read_bytes())
    with pytest.raises(InputError, match="scheme: is psl"):
        read(out, replace(BELONGS, scheme="sl"), line)
    with pytest.raises(InputError, match="round: is 4"):
        read(out, replace(BELONGS, round=8), line)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="checkpoint-4"):
        read(tmp_path, BELONGS, {"bytes": 1, "digest": ""})


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_file_that_was_changed_is_refused(tmp_path_factory, data):
    out = tmp_path_factory.getbasetemp() / "changed"
    line = write(out, BELONGS, STATES) if out.mkdir(exist_ok=True) is None else {}
    path = out / line["file"]
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "more", "zeros"]))
    if kind == "flip":
        content[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        content = content[:at]
    elif kind == "more":
        content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    else:
        content[at:] = bytes(len(content) - at + 1)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint-4\.safetensors: "):
        read(out, BELONGS, line)


def test_a_header_that_claims_to_be_huge_is_not_read(written):
    out, line = written
    (out / line["file"]).write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(InputError, match="header: is not one of a checkpoint"):
        read(out, BELONGS, line)


def test_agents_that_the_tensors_do_not_fit_are_refused_even_with_the_right_digest(tmp_path):
    from safetensors.numpy import save

    told = {key: str(value) for key, value in vars(BELONGS).items()}
    for agents in ('{"bs": {"header": {}, "tensors": 1}}', "[]", "7", '{"bs": {"header": 1, "tensors": 0}}'):
        (tmp_path / "psl").mkdir(exist_ok=True)
        content = save({}, {"format": "1", **told, "agents": agents})
        (tmp_path / "psl/checkpoint-4.safetensors").write_bytes(content)
        import hashlib

        line = {"bytes": len(content), "digest": hashlib.sha256(content).hexdigest()}
        with pytest.raises(InputError, match="agents: "):
            read(tmp_path, BELONGS, line)


def test_the_last_two_are_kept(tmp_path):
    lines = []
    for number in (2, 4, 6):
        lines.append(write(tmp_path, replace(BELONGS, round=number), STATES))
        keep_last(tmp_path, "psl", lines)
    names = sorted(path.name for path in (tmp_path / "psl").iterdir())
    assert names == ["checkpoint-4.safetensors", "checkpoint-6.safetensors"]


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left_half(tmp_path):
    (tmp_path / "psl").write_text("a file")
    with pytest.raises(StorageError, match=r"checkpoint-4\.safetensors"):
        write(tmp_path, BELONGS, STATES)


@pytest.mark.parametrize(
    ("asked", "rounds", "round_s", "found"),
    [("auto", 10, 5.0, 0), ("auto", 1000, 5.0, 12), ("auto", 3, 90.0, 1), ("7", 10, 5.0, 7), ("0", 1000, 5.0, 0)],
)
def test_about_every_minute_unless_the_topology_says_otherwise(asked, rounds, round_s, found):
    topology = parse(f"{json.dumps({'name': 't', 'ues': {'count': 2}})[:-1]}, checkpoint_every: {asked}}}", "test")
    assert every(topology, rounds, round_s) == found


def test_a_header_that_is_nested_without_end_is_refused_though_its_digest_fits(written):
    out, line = written
    path = out / line["file"]
    told = {"format": "1", **{key: str(value) for key, value in asdict(BELONGS).items()}, "agents": "[" * 100_000}
    path.write_bytes(save({}, told))
    content = path.read_bytes()
    with pytest.raises(InputError, match="agents: cannot be read"):
        read(out, BELONGS, {**line, "bytes": len(content), "digest": hashlib.sha256(content).hexdigest()})
