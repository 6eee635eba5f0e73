"""One message as frames: a msgpack header, then each tensor's bytes as they lie in memory, in pieces of a bounded size.

A seal is put on a whole frame before its first byte leaves, and taken off after its last one came: with short frames
that is done while others are on the link.

Torch is loaded by whoever reads a tensor: a controller passes them on as they came, and never loads it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgpack

if TYPE_CHECKING:
    import torch

Header = dict[str, Any]
Buffer = bytes | memoryview
Shape = tuple[str, Sequence[int]]

Layout = Sequence[tuple[str, tuple[int, ...]]]
"""Type and shape of each tensor of a message that is expected."""

_BYTES_EACH = {"float32": 4, "float64": 8, "uint8": 1, "int64": 8}
_MOST_DIMENSIONS = 16
HEADER_BYTES = 1 << 20
"""No header is longer, and so no frame."""
PIECE_BYTES = 1 << 16
"""A longer tensor takes several frames. The seal of one takes 0.2 ms that no link hides; of half as many bytes the
seals would be 0.13 % of what goes."""
MOST_ITEMS = 1 << 12
"""Nothing that a header lists is longer, nor does a message have more tensors, unless its reader says so."""


class FrameError(Exception):
    """A message that is not ours, or is damaged."""


@dataclass(frozen=True)
class Sealed:
    """Tensors as they travel: type and shape of each, and its bytes."""

    shapes: Sequence[Shape] = ()
    data: Sequence[Buffer] = ()

    def __add__(self, other: Sealed) -> Sealed:
        return Sealed((*self.shapes, *other.shapes), (*self.data, *other.data))

    def __len__(self) -> int:
        return len(self.shapes)


NOTHING = Sealed()


def seal(tensors: Sequence[torch.Tensor]) -> Sealed:
    """The bytes are views, so the tensors must not change until sent."""
    flat = [tensor.detach().cpu().contiguous() for tensor in tensors]
    return Sealed([(_name(t.dtype), list(t.shape)) for t in flat], [_view(t) for t in flat])


def unseal(sealed: Sealed) -> list[torch.Tensor]:
    """The tensors, as they lie in the message, so they must not change. Nothing is unpickled.

    A wrong shape or type raises FrameError.
    """
    try:
        return [_tensor(name, shape, data) for (name, shape), data in zip(sealed.shapes, sealed.data, strict=True)]
    except (ValueError, TypeError, RuntimeError) as error:
        raise FrameError(f"unreadable message: {error}") from error


def pack(header: Mapping[str, Any], sealed: Sealed = NOTHING) -> list[Buffer]:
    """The frames of a message."""
    return [msgpack.packb([dict(header), sealed.shapes]), *(piece for data in sealed.data for piece in _pieces(data))]


def unpack(frames: Sequence[Buffer], most_items: int = MOST_ITEMS) -> tuple[Header, Sealed]:
    """The header of a message, and its tensors unread. FrameError when it is not one.

    Memory for what it lists is taken before it is read: nothing longer than ``most_items`` is.
    """
    try:
        header, shapes = _unpack(frames[0], most_items)
    except (ValueError, TypeError, IndexError, RecursionError, msgpack.UnpackException) as error:
        raise FrameError(f"unreadable message: {error}") from error
    counts = [_count(name, shape) for name, shape in shapes]
    if sum(counts) != len(frames) - 1:
        raise FrameError(f"unreadable message: {len(frames) - 1} frames of {sum(counts)}")
    pieces = iter(frames[1:])
    return header, Sealed(
        shapes, [_joined(*shape, list(islice(pieces, n))) for shape, n in zip(shapes, counts, strict=True)]
    )


def _count(name: str, shape: Sequence[int]) -> int:
    """How many frames a tensor takes."""
    return max(1, -(-bytes_of(name, shape) // PIECE_BYTES))


def _pieces(data: Buffer) -> Iterator[Buffer]:
    view = memoryview(data)
    return (view[at : at + PIECE_BYTES] for at in range(0, len(view) or 1, PIECE_BYTES))


def _joined(name: str, shape: Sequence[int], pieces: Sequence[Buffer]) -> Buffer:
    """The bytes of a tensor; FrameError, before memory for them is taken, where they are too many or too few."""
    if len(pieces) == 1:
        return pieces[0]
    if sum(map(len, pieces)) != bytes_of(name, shape):
        raise FrameError(f"unreadable message: {sum(map(len, pieces))} bytes are no {name} of {list(shape)}")
    return memoryview(bytearray().join(pieces))


def encode(header: Mapping[str, Any], tensors: Sequence[torch.Tensor] = ()) -> list[Buffer]:
    """The frames of a message with tensors; see ``seal``."""
    return pack(header, seal(tensors))


def decode(frames: Sequence[Buffer], most_items: int = MOST_ITEMS) -> tuple[Header, list[torch.Tensor]]:
    """The header and tensors of a message; see ``unpack`` and ``unseal``."""
    header, sealed = unpack(frames, most_items)
    return header, unseal(sealed)


def layout(tensors: Sequence[torch.Tensor]) -> Layout:
    """What a message with tensors like these looks like."""
    return [(_name(t.dtype), tuple(t.shape)) for t in tensors]


def bytes_of(name: str, shape: Sequence[int]) -> int:
    """How many bytes a tensor of this type and shape has."""
    return _BYTES_EACH[name] * math.prod(shape)


def check(sealed: Sealed, expected: Layout) -> None:
    """FrameError when the tensors that are announced, or their bytes, are not those that are expected."""
    found = [(name, tuple(shape)) for name, shape in sealed.shapes]
    if found != [(name, tuple(shape)) for name, shape in expected]:
        raise FrameError(f"{_named(found)} instead of {_named(expected)}")
    for (name, shape), data in zip(sealed.shapes, sealed.data, strict=True):
        _check_length(name, shape, data)


def _named(some: Layout) -> str:
    return ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in some[:3]) or "no tensors"


def _check_length(name: str, shape: Sequence[int], data: Buffer) -> None:
    """FrameError unless there is exactly a byte for each that the claimed shape takes."""
    if len(data) != bytes_of(name, shape):
        raise FrameError(f"unreadable message: {len(data)} bytes are no {name} of {list(shape)}")


def _name(dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    if name not in _BYTES_EACH:
        raise FrameError(f"tensors of {name} are not sent")
    return name


def _view(tensor: torch.Tensor) -> Buffer:
    return tensor.numpy().data.cast("B") if tensor.numel() else b""


def _unpack(frame: Buffer, most_items: int) -> tuple[Header, list[Shape]]:
    if len(frame) > HEADER_BYTES:
        raise FrameError(f"a header of {len(frame)} bytes")
    header, shapes = msgpack.unpackb(frame, max_array_len=most_items, max_map_len=most_items, max_ext_len=0)
    if not isinstance(header, dict) or not isinstance(shapes, list):
        raise FrameError("unreadable message: no header")
    return header, [_shape(name, shape) for name, shape in shapes]


def _shape(name: Any, shape: Any) -> Shape:
    """The type and shape that are claimed of a tensor, if there can be such a one."""
    sound = isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS and all(type(n) is int and n >= 0 for n in shape)
    if not sound or name not in _BYTES_EACH:
        raise FrameError("unreadable message: no type and shape of a tensor")
    return name, shape


def _tensor(name: str, shape: Sequence[int], data: Buffer) -> torch.Tensor:
    import torch

    _check_length(name, shape, data)
    dtype = getattr(torch, name)
    if not len(data):
        return torch.zeros(shape, dtype=dtype)
    found = torch.frombuffer(bytearray(data) if isinstance(data, bytes) else data, dtype=dtype).reshape(shape)
    return found.clone() if found.data_ptr() % found.element_size() else found


def size(frames: Sequence[Buffer]) -> int:
    """Bytes of all frames together."""
    return sum(len(frame) for frame in frames)
