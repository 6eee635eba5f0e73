"""What an agent expects to arrive in a round, and what to make of what does: no socket, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from agents.schedule.task import Key
from agents.wire.frames import Buffer, FrameError, Header, Layout, Sealed, check, size, unpack, unseal

_MOST_EARLY = 4096


class Unexpected(Exception):
    """A peer of this trial sent what nobody waits for."""


@dataclass(frozen=True)
class Expected:
    """Who will send it, and what it looks like."""

    peer: str
    layout: Layout


@dataclass(frozen=True)
class Arrival:
    """A message as it came: what, from whom, how many bytes, when it was sent and when its last byte was here."""

    key: Key
    peer: str
    sealed: Sealed
    bytes: int
    sent_ns: int
    arrived_ns: int

    def tensors(self) -> list[torch.Tensor]:
        """The tensors of the message."""
        return unseal(self.sealed)


@dataclass(frozen=True)
class Message:
    """A message that is not sorted yet."""

    peer: str
    frames: Sequence[Buffer]
    arrived_ns: int


@dataclass
class Inbox:
    """Sorts messages. ``dropped`` counts, by reason, what is old, of strangers or of lost peers, or cannot be read.

    Of what comes before its round has begun, so many ``early_bytes`` are kept for each peer.
    """

    early_bytes: int = 1 << 30
    peers: frozenset[str] = frozenset()
    scheme: str = ""
    round: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._expected: dict[Key, Expected] = {}
        self._early: list[Message] = []
        self._waiting: Counter[str] = Counter()
        self._lost: set[str] = set()

    def open(self, scheme: str, peers: frozenset[str]) -> None:
        """A new scheme: its rounds are numbered from 1 again."""
        self.scheme, self.peers, self.round = scheme, peers, 0
        self._expected, self._early, self._waiting, self._lost = {}, [], Counter(), set()

    def lose(self, peer: str) -> None:
        """From now on nothing of this peer counts any more, until it joins again."""
        self._lost.add(peer)
        self._early = [message for message in self._early if message.peer != peer]
        self._waiting.pop(peer, None)

    def join(self, peer: str) -> None:
        """A peer that was lost counts again."""
        self._lost.discard(peer)

    def forget(self, keys: Iterable[Key]) -> None:
        """These are not expected any more."""
        for key in keys:
            self._expected.pop(key, None)

    def begin(self, number: int, expected: Mapping[Key, Expected]) -> list[Message]:
        """A new round; what came before it was begun, to be sorted again."""
        self.round, self._expected = number, dict(expected)
        early, self._early, self._waiting = self._early, [], Counter()
        return early

    def sort(self, message: Message) -> Arrival | Header | None:
        """The arrival that was expected, the header of a greeting, or None for what is dropped or too early.

        Unexpected when a peer of this trial sent, in this very round, what nobody waits for.
        """
        if message.peer not in self.peers or message.peer in self._lost:
            self.dropped["lost" if message.peer in self._lost else "stranger"] += 1
            return None
        try:
            header, sealed = unpack(message.frames)
            scheme, number, sent_ns = header["scheme"], _whole(header["round"]), _whole(header["sent_ns"])
            key = Key.of(header["key"]) if number else None
        except (FrameError, KeyError, TypeError, ValueError):
            self.dropped["unreadable"] += 1
            return None
        if scheme != self.scheme or (number and number < self.round):
            self.dropped["of another scheme" if scheme != self.scheme else "of an earlier round"] += 1
            return None
        if key is None:
            return header
        if number > self.round:
            self._keep(message, number)
            return None
        return self._expected_one(key, message, sealed, sent_ns)

    def _keep(self, message: Message, number: int) -> None:
        waiting = self._waiting[message.peer] + size(message.frames)
        if number > self.round + 1 or len(self._early) >= _MOST_EARLY or waiting > self.early_bytes:
            self.dropped["too early"] += 1
        else:
            self._early.append(message)
            self._waiting[message.peer] = waiting

    def missing(self, keys: Iterable[Key]) -> dict[Key, str]:
        """Which of these have not come, and from whom they should."""
        return {key: self._expected[key].peer for key in keys if key in self._expected}

    def _expected_one(self, key: Key, message: Message, sealed: Sealed, sent_ns: int) -> Arrival:
        expected = self._expected.get(key)
        if expected is None or expected.peer != message.peer:
            waited = next((str(k) for k, e in self._expected.items() if e.peer == message.peer), "nothing any more")
            raise Unexpected(f"{message.peer} sent {key}; expected of it: {waited}")
        try:
            check(sealed, expected.layout)
        except FrameError as error:
            raise Unexpected(f"{message.peer} sent {key} with {error}") from error
        del self._expected[key]
        return Arrival(key, message.peer, sealed, size(message.frames), sent_ns, message.arrived_ns)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no number")
    return value
