"""What the units of a model take of memory, and the bound that chunks of a pass keep; bytes, free of torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from agents.plan import micro_batch_sizes

CHUNK_BYTES = float(256 << 20)
"""A pass that ends in the loss, with its way back at once, keeps at most this of what its chunks compute."""
LONGEST_CHUNK, CHUNKS_OF_A_THREAD = 32, 2
"""Of a pass that several threads share, each gets at least two chunks, of at most so many rows.

Larger ones are not faster: a batch of 512 through ResNet-18 took as long in chunks of 16 to 64.
"""

EVALUATED_BYTES = float(8 << 20)
"""No tensor of an evaluation is larger, and so many images go through the model together; at most 250."""
MOST_EVALUATED = 250


def chunks(rows: int, most: int) -> tuple[int, ...]:
    """As few chunks as hold so many rows with ``most`` in each, and as equal."""
    return micro_batch_sizes(rows, -(-rows // most)) if rows else ()


@dataclass(frozen=True)
class Footprint:
    """What the units of a model take, in bytes: their weights, and for one sample what they compute.

    ``input_bytes``: a sample. Per unit ``output_bytes``; ``kept_bytes``, all that stays from a forward pass to its
    way back (the unit's output included, its input not); ``largest_bytes``, the largest tensor among it. ``mixes``:
    whether it computes a sample otherwise beside others (batch norm).
    """

    input_bytes: float
    weight_bytes: tuple[float, ...]
    output_bytes: tuple[float, ...]
    kept_bytes: tuple[float, ...]
    largest_bytes: tuple[float, ...]
    mixes: tuple[bool, ...]

    def inner_bytes(self, unit: int) -> float:
        """A sample after so many units."""
        return self.output_bytes[unit - 1] if unit else self.input_bytes

    def held_bytes(self, first: int, last: int) -> float:
        """What stays of a sample from its way through units ``first + 1`` … ``last`` to its way back."""
        return self.inner_bytes(first) + sum(self.kept_bytes[first:last])

    def pass_bytes(self, first: int, last: int) -> float:
        """The most that a sample takes on its way there or back: what stays, and two tensors in the work."""
        kept = accumulate(self.kept_bytes[first:last])
        most = (so_far + 2 * large for so_far, large in zip(kept, self.largest_bytes[first:last], strict=True))
        return self.inner_bytes(first) + max(most, default=0.0)

    def tears(self, first: int, last: int) -> bool:
        """Whether rows may go through these units in chunks, which is to say that none of them mixes samples."""
        return not any(self.mixes[first:last])

    def chunk_rows(self, first: int, last: int, rows: int, threads: int = 1) -> int:
        """How many of these rows at a time go through these units and back, on each of so many threads."""
        if not self.tears(first, last):
            return rows
        most = max(1, int(CHUNK_BYTES / threads / max(1.0, self.held_bytes(first, last))))
        if threads > 1:
            most = min(most, LONGEST_CHUNK, max(1, math.ceil(rows / (threads * CHUNKS_OF_A_THREAD))))
        return min(rows, most)

    def evaluated_rows(self) -> int:
        """How many test images go through the whole model together."""
        return max(1, min(MOST_EVALUATED, int(EVALUATED_BYTES / max(1.0, *self.largest_bytes))))

    def without_samples(self) -> Footprint:
        """The footprint of its weights alone."""
        none = (0.0,) * len(self.weight_bytes)
        return Footprint(0.0, self.weight_bytes, none, none, none, self.mixes)

    def grouped(self, sizes: Sequence[int]) -> Footprint:
        """The footprint of units that stand for so many of these each, one after another."""
        ends = list(accumulate(sizes))
        spans = list(zip((0, *ends), ends, strict=False))

        def sums(values: Sequence[float]) -> tuple[float, ...]:
            return tuple(sum(values[a:b]) for a, b in spans)

        return Footprint(
            self.input_bytes,
            sums(self.weight_bytes),
            tuple(self.output_bytes[b - 1] for _, b in spans),
            sums(self.kept_bytes),
            tuple(max(self.largest_bytes[a:b]) for a, b in spans),
            tuple(any(self.mixes[a:b]) for a, b in spans),
        )

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Footprint:
        """What ``to_json`` wrote."""
        lists = {key: tuple(value) for key, value in data.items() if key != "input_bytes"}
        return Footprint(input_bytes=data["input_bytes"], **lists)
