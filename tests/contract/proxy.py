"""A way to the Docker engine that is as bad as a schedule says: slow, broken off, refused, failing."""

from __future__ import annotations

import random
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

REQUEST = re.compile(rb"(GET|HEAD|POST|PUT|DELETE) (\S+) HTTP/1\.1\r\n")
FAILURE = b'{"message":"the proxy says that the engine failed"}'
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nConnection: close\r\n"
SLOW, DROP, LOSE, FAIL, REFUSE = "slow", "drop", "lose", "fail", "refuse"
KINDS = (SLOW, DROP, LOSE, FAIL, REFUSE)
"""A request waits; it never arrives; its answer never does; it is answered by a 500; nobody is there for a while."""

Draw = Callable[[str, str], str | None]
"""What happens to a request of this method and path, None for nothing."""


def drawn(seed: int, rate: float, kinds: Sequence[str] = KINDS) -> Draw:
    """Faults of these kinds at a rate, from a seed."""
    source = random.Random(seed)
    lock = threading.Lock()

    def draw(method: str, path: str) -> str | None:
        with lock:
            return source.choice(kinds) if source.random() < rate else None

    return draw


class Proxy:
    """Listens at a path of its own and passes on what it gets, a thread for each connection.

    ``happened``: each fault with the request that it happened to. ``away_s``: for so long it refuses.
    """

    def __init__(self, path: Path, engine: str, draw: Draw, away_s: float = 1.0, slow_s: float = 0.5) -> None:
        self.path, self.happened = path, list[tuple[str, str, str]]()
        self._engine, self._draw, self._away_s, self._slow_s = engine, draw, away_s, slow_s
        self._away_until, self._closed = 0.0, False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What DOCKER_HOST says to go this way."""
        return f"unix://{self.path}"

    def refuse(self, for_s: float) -> None:
        """From now on, and for so long, nobody is there; whoever is connected is cut off."""
        self._away_until = time.monotonic() + for_s
        self._hang_up()

    def close(self) -> None:
        """Nobody is there any more."""
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._hang_up()
        self._thread.join(10)

    def _hang_up(self) -> None:
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if time.monotonic() < self._away_until:
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        engine = socket.socket(socket.AF_UNIX)
        self._open |= {client, engine}
        try:
            engine.connect(self._engine)
            self._pass(client, engine)
        except OSError:
            pass
        finally:
            self._open -= {client, engine}
            client.close()
            engine.close()

    def _pass(self, client: socket.socket, engine: socket.socket) -> None:
        """Bytes both ways until both are done, or a fault ends it."""
        lost = False
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, engine)
            ready.register(engine, selectors.EVENT_READ, client)
            while ready.get_map():
                for key, _ in ready.select():
                    source, sink = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    data = source.recv(1 << 16)
                    if source is engine and lost:
                        return
                    if not data:
                        ready.unregister(source)
                        with suppress(OSError):
                            sink.shutdown(socket.SHUT_WR)
                        if source is engine:
                            return
                        continue
                    if source is client and (request := REQUEST.match(data)):
                        fault = self._fault(request[1].decode(), request[2].decode())
                        if fault == FAIL:
                            client.sendall(FAILED + b"Content-Length: %d\r\n\r\n%b" % (len(FAILURE), FAILURE))
                        if fault in (FAIL, DROP, REFUSE):
                            return
                        lost = fault == LOSE
                    sink.sendall(data)

    def _fault(self, method: str, path: str) -> str | None:
        fault = self._draw(method, path)
        if fault is not None:
            self.happened.append((fault, method, path))
        if fault == SLOW:
            time.sleep(self._slow_s)
        if fault == REFUSE:
            self.refuse(self._away_s)
        return fault


@contextmanager
def proxied(path: Path, draw: Draw, engine: str = "/var/run/docker.sock", away_s: float = 1.0) -> Iterator[Proxy]:
    """A proxy, meanwhile."""
    proxy = Proxy(path, engine, draw, away_s)
    try:
        yield proxy
    finally:
        proxy.close()
