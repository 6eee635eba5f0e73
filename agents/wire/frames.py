"""One message as frames: a msgpack header, then each tensor's bytes as they lie in memory.

Torch is loaded by whoever reads a tensor: a controller passes them on as they came, and never loads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgpack

if TYPE_CHECKING:
    import torch

Header = dict[str, Any]
Buffer = bytes | memoryview
Shape = tuple[str, Sequence[int]]

_DTYPES = ("float32", "float64", "uint8", "int64")


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
    """The tensors. Nothing is unpickled; a wrong shape or type raises FrameError."""
    try:
        return [_tensor(name, shape, data) for (name, shape), data in zip(sealed.shapes, sealed.data, strict=True)]
    except (ValueError, TypeError, RuntimeError) as error:
        raise FrameError(f"unreadable message: {error}") from error


def pack(header: Mapping[str, Any], sealed: Sealed = NOTHING) -> list[Buffer]:
    """The frames of a message."""
    return [msgpack.packb([dict(header), sealed.shapes]), *sealed.data]


def unpack(frames: Sequence[Buffer]) -> tuple[Header, Sealed]:
    """The header of a message, and its tensors unread. FrameError when it is not one."""
    try:
        header, shapes = _unpack(frames[0])
    except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
        raise FrameError(f"unreadable message: {error}") from error
    return header, Sealed(shapes, frames[1:])


def encode(header: Mapping[str, Any], tensors: Sequence[torch.Tensor] = ()) -> list[Buffer]:
    """The frames of a message with tensors; see ``seal``."""
    return pack(header, seal(tensors))


def decode(frames: Sequence[Buffer]) -> tuple[Header, list[torch.Tensor]]:
    """The header and tensors of a message; see ``unseal``."""
    header, sealed = unpack(frames)
    return header, unseal(sealed)


def decode_header(frame: Buffer) -> Header:
    """The header alone, without touching the tensors."""
    try:
        return _unpack(frame)[0]
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise FrameError(f"unreadable message: {error}") from error


def _name(dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise FrameError(f"tensors of {name} are not sent")
    return name


def _view(tensor: torch.Tensor) -> Buffer:
    return tensor.numpy().data.cast("B") if tensor.numel() else b""


def _unpack(frame: Buffer) -> tuple[Header, list[Shape]]:
    header, shapes = msgpack.unpackb(frame)
    return header, shapes


def _tensor(name: str, shape: Sequence[int], data: Buffer) -> torch.Tensor:
    import torch

    if name not in _DTYPES:
        raise FrameError(f"unreadable message: tensors of {name}")
    dtype = getattr(torch, name)
    if not len(data):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


def size(frames: Sequence[Buffer]) -> int:
    """Bytes of all frames together."""
    return sum(len(frame) for frame in frames)
