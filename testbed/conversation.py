"""A conversation with a process in a container, through its stdin and stdout: a line of JSON there, a line back."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from typing import Any

from testbed.errors import EngineError

_FRAME = struct.Struct(">BxxxL")
STDOUT, STDERR = 1, 2
PATIENCE_S = 30.0


def read_frame(source: socket.socket) -> tuple[int, bytes] | None:
    """The next frame of Docker's multiplexed stream: STDOUT or STDERR, and its bytes; None where the stream ends."""
    header = _exactly(source, _FRAME.size)
    if header is None:
        return None
    kind, length = _FRAME.unpack(header)
    data = _exactly(source, length)
    return None if data is None else (kind, data)


def _exactly(source: socket.socket, length: int) -> bytes | None:
    """So many bytes; None where the stream ends before."""
    data = bytearray()
    while len(data) < length:
        part = source.recv(length - len(data))
        if not part:
            return None
        data += part
    return bytes(data)


def last_line(output: str | bytes) -> str:
    """What a process said last, which tells best why it ended."""
    text = output.decode(errors="replace") if isinstance(output, bytes) else output
    return (text.strip().splitlines() or ["no output"])[-1]


class Conversation:
    """Owns the stream of an attached exec; the process sees the end of its input when this is closed."""

    def __init__(self, stream: Any, who: str) -> None:
        self._stream, self._who = stream, who
        self._socket = getattr(stream, "_sock", stream)
        self._socket.settimeout(PATIENCE_S)
        self._said, self._errors = bytearray(), bytearray()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # it may have ended by itself
            self._socket.shutdown(1)
        self._stream.close()
        self._socket.close()

    def ask(self, document: Any) -> Any:
        """The answer to one document. EngineError when the process has ended, or says something else."""
        try:
            self._socket.sendall(json.dumps(document).encode() + b"\n")
            while b"\n" not in self._said:
                self._listen()
        except OSError as error:
            raise EngineError(f"{self._who} does not answer: {error}", "type: testbed ps") from error
        line, _, rest = self._said.partition(b"\n")
        self._said = bytearray(rest)
        try:
            return json.loads(line)
        except ValueError:
            raise EngineError(f"{self._who} answers {line.decode(errors='replace')}") from None

    def _listen(self) -> None:
        frame = read_frame(self._socket)
        if frame is None:
            raise EngineError(f"{self._who} ended: {last_line(bytes(self._errors))}", "type: testbed ps")
        kind, data = frame
        (self._said if kind == STDOUT else self._errors).extend(data)
