"""A conversation with a process in a container, through its stdin and stdout: a line of JSON there, a line back."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from typing import Any

from testbed.errors import EngineError

_FRAME = struct.Struct(">BxxxL")
_STDOUT = 1
PATIENCE_S = 30.0


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
        """One frame of Docker's multiplexed stream."""
        kind, length = _FRAME.unpack(self._exactly(_FRAME.size))
        (self._said if kind == _STDOUT else self._errors).extend(self._exactly(length))

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = self._socket.recv(length - len(data))
            if not part:
                lines = self._errors.decode(errors="replace").strip().splitlines()
                raise EngineError(f"{self._who} ended: {lines[-1] if lines else 'no output'}", "type: testbed ps")
            data += part
        return bytes(data)
