"""Control over the mgmt network: the controller asks, an agent answers, one request at a time, or some beside it."""

from __future__ import annotations

import queue
import threading
import time
import traceback
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import zmq

from agents.wire.frames import NOTHING, Buffer, FrameError, Header, Sealed, decode, encode, pack, unpack
from agents.wire.keys import CONTROLLER, Door, Keyring, connecting

if TYPE_CHECKING:
    import torch

Tensors = list["torch.Tensor"]
Answer = tuple[Header, Tensors]
Report = tuple[Header, Sealed]
"""An answer as the controller has it, which reads no tensors."""
Handler = Callable[[Header, Tensors], Answer]

_MOST_ITEMS = 1 << 20
"""Of an evaluation the tensors of all UEs: 314 of each for ResNet-101."""
_numbers = count()
_LOOK_S = 0.2
"""How often whoever waits for answers looks at what else has happened."""
_OTHERS_S = 2.0
"""What others have to fail in, too, once one has: who waited for whom tells who is to blame."""


@dataclass(frozen=True)
class Failure:
    """What an agent answered instead: why, and for whom it had waited, if that was it."""

    text: str
    waited_for: tuple[str, ...] = ()


class AgentsFailed(Exception):
    """Agents answered that they failed: ``failures`` by name. ``silent``: who had not answered by then."""

    def __init__(self, failures: Mapping[str, Failure], silent: Sequence[str]) -> None:
        super().__init__("; ".join(f"{name}: {failure.text}" for name, failure in failures.items()))
        self.failures, self.silent = dict(failures), list(silent)


class AgentSilent(Exception):
    """Agents did not answer in time; ``names`` says which."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"no answer from {', '.join(names)}")
        self.names = list(names)


class ControlServer:
    """An agent's end: waits for requests on its mgmt address and answers each; the controller's, and nobody else's.

    A thread of its own has the socket. It answers the verbs in ``beside`` itself, by ``handle_beside``, however long
    the request before them takes; all others wait for their turn with whoever serves.
    """

    def __init__(
        self,
        keys: Keyring,
        address: str,
        port: int,
        beside: Container[str] = (),
        handle_beside: Handler | None = None,
    ) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._door = Door(keys, [CONTROLLER])
        self._socket = self._door.socket(zmq.ROUTER)
        self._socket.bind(f"tcp://{address}:{port}")
        self._beside, self._handle_beside = beside, handle_beside
        self._requests: queue.SimpleQueue[tuple[bytes, Header, Tensors]] = queue.SimpleQueue()
        self._answers, self._answered = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        endpoint = f"inproc://control-{next(_numbers)}"
        self._answers.bind(endpoint)
        self._answered.connect(endpoint)
        self.dropped = 0
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def serve(self, handle: Handler) -> None:
        """Answers requests for ever; what is none is dropped. What ``handle`` raises is logged and becomes the answer
        ``error``."""
        while True:
            peer, request, tensors = self._requests.get()
            self._answered.send_multipart(_answer(handle, peer, request, tensors))

    def _listen(self) -> None:
        poller = zmq.Poller()
        for socket in (self._socket, self._answers):
            poller.register(socket, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._answers in ready:
                self._socket.send_multipart(self._answers.recv_multipart())
            if self._socket in ready:
                self._take(*self._socket.recv_multipart())

    def _take(self, peer: bytes, *frames: bytes) -> None:
        try:
            request, tensors = decode(frames, _MOST_ITEMS)
            sound = type(request["id"]) is int and type(request["verb"]) is str
        except (FrameError, KeyError):
            sound = False
        if not sound:
            self.dropped += 1
        elif self._handle_beside is not None and request["verb"] in self._beside:
            self._socket.send_multipart(_answer(self._handle_beside, peer, request, tensors))
        else:
            self._requests.put((peer, request, tensors))


def _answer(handle: Handler, peer: bytes, request: Header, tensors: Tensors) -> list[Buffer]:
    """The frames of what a request is answered."""
    try:
        answer = handle(request, tensors)
    except Exception as error:  # whatever went wrong is the controller's to judge
        traceback.print_exc()
        waited_for = list(getattr(error, "waited_for", ()))
        answer = {"error": f"{type(error).__name__}: {error}", "waited_for": waited_for}, []
    return [peer, *encode({**answer[0], "id": request["id"]}, answer[1])]


class ControlClient:
    """The controller's end: one connection per agent, requests to many answered side by side."""

    def __init__(self, keys: Keyring, addresses: Mapping[str, str], port: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._keys, self._port = keys, port
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._answers: dict[int, dict[str, Report | Failure]] = {}
        self._last_id = 0
        for name, address in addresses.items():
            self._connect(name, address)

    def _connect(self, name: str, address: str) -> None:
        socket = connecting(self._context, self._keys, name)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.connect(f"tcp://{address}:{self._port}")
        self._sockets[name] = socket

    def ask(
        self,
        requests: Mapping[str, tuple[Mapping[str, Any], Sealed]],
        timeout_s: float,
        while_waiting: Callable[[Sequence[str]], Collection[str]] = lambda names: (),
    ) -> dict[str, Report]:
        """Sends each agent its request and returns all answers, in the order of the requests.

        ``while_waiting`` is called a few times a second with the names still owing an answer, and says whose is not
        waited for any more; it may ask, and it may raise. AgentsFailed when agents answer with errors, and others have
        had a moment to do so too; AgentSilent after ``timeout_s``.
        """
        number = self._last_id = self._last_id + 1
        answers: dict[str, Report | Failure] = {}
        self._answers[number] = answers
        try:
            for name, (header, tensors) in requests.items():
                self._sockets[name].send_multipart(pack({**header, "id": number}, tensors))
            given_up = self._await(list(requests), answers, timeout_s, while_waiting)
        finally:
            del self._answers[number]
        found = {name: answers[name] for name in requests if name in answers}
        failures = {name: answer for name, answer in found.items() if isinstance(answer, Failure)}
        if failures:
            silent = [name for name in requests if name not in found and name not in given_up]
            raise AgentsFailed(failures, silent)
        return {name: answer for name, answer in found.items() if not isinstance(answer, Failure)}

    def ask_those_there(self, requests: Mapping[str, Mapping[str, Any]], timeout_s: float) -> dict[str, Header]:
        """The answers of those who give one by then, to requests that are answered beside others."""
        late = time.monotonic() + timeout_s

        def give_up(waiting: Sequence[str]) -> Sequence[str]:
            return waiting if time.monotonic() > late else ()

        asked = {name: (header, NOTHING) for name, header in requests.items()}
        return {name: header for name, (header, _) in self.ask(asked, 2 * timeout_s, give_up).items()}

    def reconnect(self, name: str, address: str) -> None:
        """An agent that may have another address from now on."""
        self._sockets[name].close(linger=0)
        self._connect(name, address)

    def _await(
        self,
        names: Sequence[str],
        answers: Mapping[str, Report | Failure],
        timeout_s: float,
        while_waiting: Callable[[Sequence[str]], Collection[str]],
    ) -> set[str]:
        """Returns when all have answered that are waited for; those who are not any more."""
        given_up: set[str] = set()
        deadline = time.monotonic() + timeout_s
        looked = time.monotonic()
        while waiting := [name for name in names if name not in answers and name not in given_up]:
            failed = any(isinstance(answer, Failure) for answer in answers.values())
            if failed:
                deadline = min(deadline, time.monotonic() + _OTHERS_S)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                if failed:
                    break
                raise AgentSilent(waiting)
            self._receive(waiting, min(left_s, _LOOK_S))
            if not failed and time.monotonic() - looked >= _LOOK_S:
                given_up.update(while_waiting([name for name in waiting if name not in answers]))
                looked = time.monotonic()
        return given_up

    def _receive(self, names: Sequence[str], timeout_s: float) -> None:
        """Takes what comes from these in so much time, whatever request it answers."""
        poller = zmq.Poller()
        for name in names:
            poller.register(self._sockets[name], zmq.POLLIN)
        ready = dict(poller.poll(int(timeout_s * 1000) + 1))
        for name in names:
            if self._sockets[name] in ready:
                self._collect(name)

    def _collect(self, name: str) -> None:
        """Takes an answer; of one that cannot be read it is not known to what, and the last request has failed."""
        try:
            header, tensors = unpack(self._sockets[name].recv_multipart(), _MOST_ITEMS)
            number = header.pop("id")
        except (FrameError, KeyError) as error:
            self._answers[max(self._answers)][name] = Failure(f"its answer cannot be read: {error}")
            return
        answers = self._answers.get(number) if isinstance(number, int) else None
        if answers is None:
            return  # the late answer to a request that was given up
        answers[name] = header, tensors
        if "error" in header:
            waited_for = header.get("waited_for")
            of = tuple(map(str, waited_for)) if isinstance(waited_for, list) else ()
            answers[name] = Failure(str(header["error"]), of)

    def close(self) -> None:
        """Closes all connections."""
        self._context.destroy(linger=0)
