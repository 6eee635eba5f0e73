"""Who may speak with whom: a pair of keys for each agent and for the controller, and a door that only these open.

CURVE (ZeroMQ's RFC 26) encrypts and authenticates both ends of a connection. The side that connects knows the key of
the side that listens; whom the latter lets in, and as whom, its door says (RFC 27).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import zmq
from zmq.utils import z85

from agents.schedule.task import BS
from agents.wire.frames import HEADER_BYTES

CONTROLLER = "controller"
KEYRING = "keyring.json"
"""The file in an agent's folder that only it can read."""
SEAL_BYTES = 33
"""What CURVE adds to a frame: its name, a nonce, a seal, and the frame's flags."""
_DOOR = "inproc://zeromq.zap.01"
_VERSION = b"1.0"


@dataclass(frozen=True)
class KeyPair:
    """A public key and its secret, each as 40 characters (Z85)."""

    public: str
    secret: str = field(repr=False)

    @staticmethod
    def new() -> KeyPair:
        """A pair that nobody else has."""
        public, secret = zmq.curve_keypair()
        return KeyPair(public.decode(), secret.decode())


@dataclass(frozen=True)
class Keyring:
    """What one party holds: its own pair, and the public keys of those that it speaks with, by name."""

    own: KeyPair
    peers: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """As it is kept in a file."""
        return json.dumps({"public": self.own.public, "secret": self.own.secret, "peers": dict(self.peers)}).encode()

    @staticmethod
    def from_bytes(content: bytes) -> Keyring:
        """What ``to_bytes`` gave. ValueError or KeyError when it is something else."""
        found = json.loads(content)
        return Keyring(KeyPair(found["public"], found["secret"]), found["peers"])


def new_keyrings(ues: Iterable[str]) -> dict[str, Keyring]:
    """New keys for a trial: a ring for the controller, for the BS and for each of these UEs, by name."""
    of_ues = {ue: KeyPair.new() for ue in ues}
    controller, bs = KeyPair.new(), KeyPair.new()
    public = {ue: pair.public for ue, pair in of_ues.items()}
    return {
        CONTROLLER: Keyring(controller, {BS: bs.public, **public}),
        BS: Keyring(bs, {CONTROLLER: controller.public, **public}),
        **{ue: Keyring(own, {CONTROLLER: controller.public, BS: bs.public}) for ue, own in of_ues.items()},
    }


class Door:
    """Makes sockets that listen, and lets in who has the secret of one of these ``names``; the rest gets no answer.

    What came through has the property ``User-Id``: whose key it was. Closed after its sockets.
    """

    def __init__(self, keys: Keyring, names: Iterable[str]) -> None:
        self._keys = keys
        self._names = {z85.decode(keys.peers[name]): name.encode() for name in names}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        handler = self._context.socket(zmq.REP)
        handler.bind(_DOOR)
        threading.Thread(target=self._answer, args=(handler,), name="door", daemon=True).start()

    def socket(self, kind: int) -> zmq.Socket[bytes]:
        """A socket that is to be bound."""
        socket = _bounded(self._context.socket(kind))
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt_string(zmq.CURVE_SECRETKEY, self._keys.own.secret)
        socket.setsockopt(zmq.ZAP_DOMAIN, b"testbed")  # without a domain everybody is let in when nobody answers
        return socket

    def close(self) -> None:
        """Returns when all of it has ended."""
        self._context.term()

    def _answer(self, handler: zmq.Socket[bytes]) -> None:
        with suppress(zmq.ContextTerminated):
            while True:
                _, number, _, _, _, mechanism, *credentials = handler.recv_multipart()
                name = self._names.get(credentials[0]) if mechanism == b"CURVE" and credentials else None
                # 300 hangs up without a word, where 400 would tell the other side why.
                told = (b"200", b"", name) if name is not None else (b"300", b"", b"")
                handler.send_multipart([_VERSION, number, *told, b""])
        handler.close(linger=0)


def connecting(context: zmq.Context[zmq.Socket[bytes]], keys: Keyring, to: str) -> zmq.Socket[bytes]:
    """A socket that is to be connected to the one of this name, and to nobody who only says so."""
    socket = _bounded(context.socket(zmq.DEALER))
    socket.setsockopt_string(zmq.CURVE_PUBLICKEY, keys.own.public)
    socket.setsockopt_string(zmq.CURVE_SECRETKEY, keys.own.secret)
    socket.setsockopt_string(zmq.CURVE_SERVERKEY, keys.peers[to])
    return socket


def _bounded(socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
    """Hangs up on whoever announces a longer frame than there are."""
    socket.setsockopt(zmq.MAXMSGSIZE, HEADER_BYTES + SEAL_BYTES)
    return socket
