"""Private shards: cut on the controller, read by one agent each, and taken in batches."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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


def batches(size: int, batch: int, seed: Sequence[int]) -> Iterator[npt.NDArray[np.int64]]:
    """Endless positions of ``batch`` samples: each epoch is a fresh permutation; a batch may span two epochs."""
    rng = np.random.default_rng(list(seed))
    queue = np.empty(0, dtype=np.int64)
    while True:
        while len(queue) < batch:
            queue = np.concatenate([queue, rng.permutation(size)])
        yield queue[:batch]
        queue = queue[batch:]
