"""Control over the mgmt network: the controller asks, an agent answers, one request at a time."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zmq

from agents.wire.frames import FrameError, Header, Sealed, decode, encode, pack, unpack
from agents.wire.keys import CONTROLLER, SEAL_BYTES, Door, Keyring, connecting

if TYPE_CHECKING:
    import torch

Tensors = list["torch.Tensor"]
Answer = tuple[Header, Tensors]
Report = tuple[Header, Sealed]
"""An answer as the controller has it, which reads no tensors."""
Handler = Callable[[Header, Tensors], Answer]

MOST_BYTES = 1 << 30
"""No frame is longer: the largest tensor of the largest model has 411 MB."""
_MOST_ITEMS = 1 << 20
"""Of an evaluation the tensors of all UEs: 314 of each for ResNet-101."""
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
    """An agent's end: waits for requests on its mgmt address and answers each; the controller's, and nobody else's."""

    def __init__(self, keys: Keyring, address: str, port: int) -> None:
        self._door = Door(keys, [CONTROLLER])
        self._socket = self._door.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES + SEAL_BYTES)
        self._socket.bind(f"tcp://{address}:{port}")
        self.dropped = 0

    def serve(self, handle: Handler) -> None:
        """Answers requests for ever; what is none is dropped. What ``handle`` raises is logged and becomes the answer
        ``error``."""
        while True:
            peer, *frames = self._socket.recv_multipart()
            try:
                request, tensors = decode(frames, _MOST_ITEMS)
                number = int(request["id"])
            except (FrameError, KeyError, TypeError, ValueError, OverflowError):
                self.dropped += 1
                continue
            try:
                answer = handle(request, tensors)
            except Exception as error:  # whatever went wrong is the controller's to judge
                traceback.print_exc()
                waited_for = list(getattr(error, "waited_for", ()))
                answer = {"error": f"{type(error).__name__}: {error}", "waited_for": waited_for}, []
            self._socket.send_multipart([peer, *encode({**answer[0], "id": number}, answer[1])])


class ControlClient:
    """The controller's end: one connection per agent, requests to many answered side by side."""

    def __init__(self, keys: Keyring, addresses: Mapping[str, str], port: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._last_id = 0
        for name, address in addresses.items():
            socket = connecting(self._context, keys, name)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.MAXMSGSIZE, MOST_BYTES + SEAL_BYTES)
            socket.setsockopt(zmq.RECONNECT_IVL, 50)
            socket.connect(f"tcp://{address}:{port}")
            self._sockets[name] = socket

    def ask(
        self,
        requests: Mapping[str, tuple[Mapping[str, Any], Sealed]],
        timeout_s: float,
        while_waiting: Callable[[Sequence[str]], None] = lambda names: None,
    ) -> dict[str, Report]:
        """Sends each agent its request and returns all answers, in the order of the requests.

        ``while_waiting`` is called about every second with the names still owing an answer;
        it may raise. AgentsFailed when agents answer with errors, and others have had a moment to do so too;
        AgentSilent after ``timeout_s``.
        """
        self._last_id += 1
        for name, (header, tensors) in requests.items():
            self._sockets[name].send_multipart(pack({**header, "id": self._last_id}, tensors))
        answers: dict[str, Report] = {}
        failures: dict[str, Failure] = {}
        deadline = time.monotonic() + timeout_s
        while waiting := [name for name in requests if name not in answers and name not in failures]:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                if failures:
                    break
                raise AgentSilent(waiting)
            poller = zmq.Poller()
            for name in waiting:
                poller.register(self._sockets[name], zmq.POLLIN)
            ready = dict(poller.poll(int(min(left_s, 1.0) * 1000) + 1))
            for name in [name for name in waiting if self._sockets[name] in ready]:
                failure = self._collect(name, answers)
                if failure is not None:
                    failures[name] = failure
                    deadline = min(deadline, time.monotonic() + _OTHERS_S)
            if not ready:
                while_waiting(waiting)
        if failures:
            raise AgentsFailed(failures, [name for name in requests if name not in answers and name not in failures])
        return {name: answers[name] for name in requests}

    def _collect(self, name: str, answers: dict[str, Report]) -> Failure | None:
        try:
            header, tensors = unpack(self._sockets[name].recv_multipart(), _MOST_ITEMS)
            number = header.pop("id")
        except (FrameError, KeyError) as error:
            return Failure(f"its answer cannot be read: {error}")
        if number != self._last_id:
            return None  # the late answer to a request that was given up
        if "error" in header:
            waited_for = header.get("waited_for")
            return Failure(str(header["error"]), tuple(map(str, waited_for)) if isinstance(waited_for, list) else ())
        answers[name] = header, tensors
        return None

    def close(self) -> None:
        """Closes all connections."""
        self._context.destroy(linger=0)
