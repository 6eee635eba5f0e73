"""Control over the mgmt network: the controller asks, an agent answers, one request at a time."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import zmq

from agents.wire.frames import Header, Sealed, decode, encode, pack, unpack

if TYPE_CHECKING:
    import torch

Tensors = list["torch.Tensor"]
Answer = tuple[Header, Tensors]
Report = tuple[Header, Sealed]
"""An answer as the controller has it, which reads no tensors."""
Handler = Callable[[Header, Tensors], Answer]


class AgentError(Exception):
    """An agent answered that it failed; the text says who and why."""


class AgentSilent(Exception):
    """Agents did not answer in time; ``names`` says which."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"no answer from {', '.join(names)}")
        self.names = list(names)


class ControlServer:
    """An agent's end: waits for requests on its mgmt address and answers each."""

    def __init__(self, address: str, port: int) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.bind(f"tcp://{address}:{port}")

    def serve(self, handle: Handler) -> None:
        """Answers requests for ever. What ``handle`` raises is logged and becomes the answer ``error``."""
        while True:
            peer, *frames = self._socket.recv_multipart()
            number = 0
            try:
                request, tensors = decode(frames)
                number = request["id"]
                answer = handle(request, tensors)
            except Exception as error:  # whatever went wrong is the controller's to judge
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}, []
            self._socket.send_multipart([peer, *encode({**answer[0], "id": number}, answer[1])])


class ControlClient:
    """The controller's end: one connection per agent, requests to many answered side by side."""

    def __init__(self, addresses: Mapping[str, str], port: int) -> None:
        self._context = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._last_id = 0
        for name, address in addresses.items():
            socket = self._context.socket(zmq.DEALER)
            socket.setsockopt(zmq.LINGER, 0)
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
        it may raise. AgentError when an agent answers with an error, AgentSilent after ``timeout_s``.
        """
        self._last_id += 1
        for name, (header, tensors) in requests.items():
            self._sockets[name].send_multipart(pack({**header, "id": self._last_id}, tensors))
        answers: dict[str, Report] = {}
        deadline = time.monotonic() + timeout_s
        while waiting := [name for name in requests if name not in answers]:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise AgentSilent(waiting)
            poller = zmq.Poller()
            for name in waiting:
                poller.register(self._sockets[name], zmq.POLLIN)
            ready = dict(poller.poll(int(min(left_s, 1.0) * 1000) + 1))
            for name in [name for name in waiting if self._sockets[name] in ready]:
                self._collect(name, answers)
            if not ready:
                while_waiting(waiting)
        return {name: answers[name] for name in requests}

    def _collect(self, name: str, answers: dict[str, Report]) -> None:
        header, tensors = unpack(self._sockets[name].recv_multipart())
        if header.pop("id") != self._last_id:
            return  # the late answer to a request that was given up
        if "error" in header:
            raise AgentError(f"{name}: {header['error']}")
        answers[name] = header, tensors

    def close(self) -> None:
        """Closes all connections."""
        self._context.destroy(linger=0)
