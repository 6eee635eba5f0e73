"""How training samples are dealt to UEs: positions per UE, drawn from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
Labels = npt.NDArray[np.uint8]
Shards = dict[str, Positions]


class PartitionError(ValueError):
    """The samples cannot be dealt as asked; ``hint`` says what to change."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def partition(
    labels: Labels, ues: Sequence[str], seed: int, spec: Mapping[str, Any], weights: Sequence[float] = ()
) -> Shards:
    """Disjoint shards, one per UE: positions in ``labels`` (n,), in random order.

    ``spec`` has a ``kind`` and its keys:

    - ``iid``: random shards of (nearly) equal size.
    - ``proportional``: random shards of sizes proportional to ``weights``, one per UE (the D_i of
      the C²P²SL paper, section V-A, with the UEs' batches as weights).
    - ``dirichlet`` with ``alpha``: each class is split by shares drawn from Dir(α, …, α) (Yurochkin
      et al. 2019): the smaller α, the fewer UEs hold most of a class.
    - ``classes`` with ``per_ue``, ``samples_per_ue`` (or None): each UE gets so many classes at
      random, and an equal part of each among the UEs that have it (CPSL paper, section VII-A: three
      classes, 180 samples). Classes that no UE has are left out.

    All samples are dealt, but for ``classes``. PartitionError when a UE would be left without any.
    """
    rng = np.random.default_rng([seed, 1])
    match spec["kind"]:
        case "iid":
            parts = np.array_split(rng.permutation(len(labels)), len(ues))
        case "proportional":
            parts = _cut(rng.permutation(len(labels)), np.asarray(weights, np.float64))
        case "dirichlet":
            parts = _dirichlet(labels, len(ues), rng, spec["alpha"])
        case "classes":
            parts = _classes(labels, ues, rng, spec["per_ue"], spec.get("samples_per_ue"))
        case kind:
            raise ValueError(f"unknown kind of partition {kind!r}")
    empty = [ue for ue, part in zip(ues, parts, strict=True) if not len(part)]
    if empty:
        raise PartitionError(f"{spec['kind']} leaves {', '.join(empty)} without samples", _HINTS[spec["kind"]])
    return dict(zip(ues, parts, strict=True))


_HINTS = {
    "iid": "use fewer UEs or more samples",
    "proportional": "use fewer UEs, more samples, or weights that are closer together",
    "dirichlet": "use a larger alpha, fewer UEs or another seed",
    "classes": "use fewer UEs or more samples",
}


def describe(labels: Labels, shards: Mapping[str, Positions]) -> dict[str, Any]:
    """A partition as plain data: per UE its samples, how many of each class, and a digest of its positions.

    The digest is the SHA-256 of the positions as little-endian 64-bit integers, in their order.
    """
    return {
        ue: {
            "samples": len(shard),
            "classes": {str(c): int(n) for c, n in enumerate(np.bincount(labels[shard])) if n},
            "positions_sha256": hashlib.sha256(shard.astype("<i8").tobytes()).hexdigest(),
        }
        for ue, shard in shards.items()
    }


def _cut(positions: Positions, weights: npt.NDArray[np.float64]) -> list[Positions]:
    """Consecutive parts of these relative sizes; each boundary is rounded to the nearest sample."""
    ends = np.rint(np.cumsum(weights) / weights.sum() * len(positions)).astype(np.int64)
    return np.split(positions, ends[:-1])


def _dirichlet(labels: Labels, ues: int, rng: np.random.Generator, alpha: float) -> list[Positions]:
    parts: list[list[Positions]] = [[] for _ in range(ues)]
    for label in np.unique(labels):
        shares = _shares(rng, alpha, ues)
        for part, piece in zip(parts, _cut(rng.permutation(np.flatnonzero(labels == label)), shares), strict=True):
            part.append(piece)
    return [rng.permutation(np.concatenate(part)) for part in parts]


def _shares(rng: np.random.Generator, alpha: float, ues: int) -> npt.NDArray[np.float64]:
    """Shares drawn from Dir(α, …, α); numbers underflow for tiny α, where one UE gets all."""
    shares = rng.dirichlet(np.full(ues, alpha))
    return shares if np.isfinite(shares).all() and shares.sum() > 0 else np.eye(ues)[rng.integers(ues)]


def _classes(
    labels: Labels, ues: Sequence[str], rng: np.random.Generator, per_ue: int, samples_per_ue: int | None
) -> list[Positions]:
    present = np.unique(labels)
    if per_ue > len(present):
        raise PartitionError(f"{per_ue} classes per UE, but the samples are of {len(present)}", "use fewer classes")
    chosen = [rng.choice(present, per_ue, replace=False) for _ in ues]
    parts: list[list[Positions]] = [[] for _ in ues]
    for label in present:
        holders = [i for i, own in enumerate(chosen) if label in own]
        pieces = np.array_split(rng.permutation(np.flatnonzero(labels == label)), max(1, len(holders)))
        for holder, piece in zip(holders, pieces, strict=False):  # no holder, no taker
            parts[holder].append(piece)
    dealt = [rng.permutation(np.concatenate(part)) for part in parts]
    if samples_per_ue is None:
        return dealt
    short = [f"{ue} ({len(part)})" for ue, part in zip(ues, dealt, strict=True) if len(part) < samples_per_ue]
    if short:
        message = f"{samples_per_ue} samples per UE are more than there are for {', '.join(short)}"
        raise PartitionError(message, "use fewer samples_per_ue, fewer UEs or another seed")
    return [part[:samples_per_ue] for part in dealt]
