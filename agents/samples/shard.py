"""Private shards: cut on the controller, read by one agent each, and taken in batches."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TEST, OWN = "samples.npz", "own.npz"
"""Files of the BS: the test set, and training samples of its own."""
Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Samples:
    """Images (n, channels, height, width) as bytes 0…255, and labels (n,)."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: npt.NDArray[np.int64]) -> Samples:
        """The samples at these positions, in this order."""
        return Samples(self.images[index], self.labels[index])

    def to_bytes(self) -> bytes:
        """The samples as an ``npz`` file."""
        buffer = io.BytesIO()
        np.savez(buffer, images=self.images, labels=self.labels)
        return buffer.getvalue()

    @staticmethod
    def load(path: Path) -> Samples:
        """The samples in an ``npz`` file written by ``to_bytes`` (nothing is unpickled)."""
        with np.load(path, allow_pickle=False) as file:
            return Samples(file["images"], file["labels"])


def shard_file(number: int) -> str:
    """The file of a UE's shard in one of the dealings of a trial."""
    return f"shard-{number}.npz"


class Order:
    """The order in which samples are trained, endless: each epoch is a fresh permutation of so many positions."""

    def __init__(self, size: int, seed: Sequence[int]) -> None:
        self._size, self._rng = size, np.random.default_rng(list(seed))
        self._queue = np.empty(0, dtype=np.int64)

    def take(self, batch: int) -> npt.NDArray[np.int64]:
        """The next ``batch`` positions, which may span two epochs."""
        while len(self._queue) < batch:
            self._queue = np.concatenate([self._queue, self._rng.permutation(self._size)])
        taken, self._queue = self._queue[:batch], self._queue[batch:]
        return taken

    def state(self) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
        """What later epochs are drawn from, and the positions that are left of those that are drawn."""
        return dict(self._rng.bit_generator.state), self._queue

    def go_on(self, drawn: Mapping[str, Any], left: npt.NDArray[np.int64]) -> None:
        """Goes on where ``state`` was taken. ValueError for what is no state of an order of this size."""
        if len(left) > self._size or not all(0 <= position < self._size for position in left.tolist()):
            raise ValueError(f"{len(left)} positions, not of {self._size} samples")
        self._rng.bit_generator.state = drawn
        self._queue = left.copy()
