"""Lines of JSON through Docker's framed stream, however it is cut."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from testbed.conversation import STDERR, STDOUT, Conversation, read_frame
from testbed.errors import EngineError


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(data)) + data


@pytest.fixture
def ends():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def test_answers_come_in_any_pieces(ends):
    near, far = ends
    far.sendall(frame(1, b'{"a"') + frame(2, b"a warning\n") + frame(1, b': 1}\n{"a": 2}\n'))
    with Conversation(near, "shaper") as conversation:
        assert conversation.ask({"first": True}) == {"a": 1}
        assert conversation.ask({"second": True}) == {"a": 2}
        lines = far.recv(1000).splitlines()
    assert [json.loads(line) for line in lines] == [{"first": True}, {"second": True}]
    assert far.recv(1) == b"", "the process sees the end of its input"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (frame(2, b"Traceback\nMemoryError\n"), "shaper ended: MemoryError"),
        (b"", "shaper ended: no output"),
        (frame(1, b"what?\n"), "shaper answers what?"),
    ],
)
def test_a_process_that_fails_is_named_with_its_last_words(ends, said, error):
    near, far = ends
    far.sendall(said)
    far.shutdown(socket.SHUT_WR)
    with Conversation(near, "shaper") as conversation, pytest.raises(EngineError, match=error.replace("?", r"\?")):
        conversation.ask({})


def test_frames_are_read_one_by_one_until_the_stream_ends(ends):
    near, far = ends
    far.sendall(frame(1, b"said") + frame(2, b"warned") + frame(1, b"cut off")[:-3])
    far.shutdown(socket.SHUT_WR)
    assert [read_frame(near) for _ in range(3)] == [(STDOUT, b"said"), (STDERR, b"warned"), None]
