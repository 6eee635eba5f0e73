"""One message as frames: a msgpack header, then each tensor's bytes as they lie in memory.

Torch is loaded by the first tensor that is read: a controller never reads one, and starts without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgpack

if TYPE_CHECKING:
    import torch

Header = dict[str, Any]
Buffer = bytes | memoryview

_DTYPES = ("float32", "float64", "uint8", "int64")


class FrameError(Exception):
    """A message that is not ours, or is damaged."""


def encode(header: Mapping[str, Any], tensors: Sequence[torch.Tensor] = ()) -> list[Buffer]:
    """The frames of a message; tensor bytes are views, so the tensors must not change until sent."""
    flat = [t.detach().cpu().contiguous() for t in tensors]
    shapes = [[_name(t.dtype), list(t.shape)] for t in flat]
    return [msgpack.packb([dict(header), shapes]), *(_view(t) for t in flat)]


def decode(frames: Sequence[Buffer]) -> tuple[Header, list[torch.Tensor]]:
    """The header and tensors of a message. Nothing is unpickled; a wrong shape or type raises FrameError."""
    try:
        header, shapes = _unpack(frames[0])
        tensors = [_tensor(name, shape, data) for (name, shape), data in zip(shapes, frames[1:], strict=True)]
    except (ValueError, KeyError, TypeError, IndexError, RuntimeError, msgpack.UnpackException) as error:
        raise FrameError(f"unreadable message: {error}") from error
    return header, tensors


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


def _unpack(frame: Buffer) -> tuple[Header, list[tuple[str, list[int]]]]:
    header, shapes = msgpack.unpackb(frame)
    return header, shapes


def _tensor(name: str, shape: list[int], data: Buffer) -> torch.Tensor:
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
