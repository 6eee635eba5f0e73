"""CPU memory of which we remember that it lies elsewhere, so that it does not mix with the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

OTHER = "other"
_MAY_MIX = ("aten.copy_", "aten.index", "aten.index_put")
"""What CUDA does between devices: copies, and indices that lie on the CPU."""


class WrongDeviceError(AssertionError):
    """Something of one device was used with something of another."""


class OtherDevice(TorchDispatchMode):
    """In it, as with CUDA: what is made of tensors there is there, and tensors here and there do not mix.

    ``.to(OTHER)`` and ``.cpu()`` move, of tensors and modules; numpy sees only what is here. Numbers (tensors without
    a dimension) may be here.
    """

    def __init__(self) -> None:
        super().__init__()
        self._there: dict[int, Any] = {}
        self.moved_here = 0

    def has(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is there."""
        return tensor.untyped_storage()._cdata in self._there

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Does what is asked for, if all of it is on one side."""
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = [tensor for tensor in given if self.has(tensor)]
        here = [tensor for tensor in given if tensor.dim() and not self.has(tensor)]
        copies = str(func).startswith(_MAY_MIX)
        if there and here and not copies:
            raise WrongDeviceError(
                f"{func} of {[tuple(t.shape) for t in there]} there and {[tuple(t.shape) for t in here]}"
            )
        found = func(*args, **(kwargs or {}))
        if there and (not copies or self.has(given[0])):
            self.mark(found)
        return found

    def mark(self, found: Any) -> None:
        """From now on these are there; they are kept, so that nothing else gets their memory."""
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                self._there[storage._cdata] = (storage, leaf)

    def move(self, tensor: torch.Tensor, there: bool) -> torch.Tensor:
        """The tensor on that side; its gradient comes back to this one."""
        if self.has(tensor) == there:
            return tensor
        self.moved_here += not there
        moved: torch.Tensor = _Move.apply(tensor, self, there)
        return moved


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, device: OtherDevice, there: bool) -> torch.Tensor:  # type: ignore[override]
        ctx.device, ctx.there = device, there
        return _copied(tensor, device, there)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        return _copied(gradient, ctx.device, not ctx.there), None, None


def _copied(tensor: torch.Tensor, device: OtherDevice, there: bool) -> torch.Tensor:
    copy = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    with torch.no_grad():
        copy.copy_(tensor.detach())
    if there:
        device.mark(copy)
    return copy


@contextmanager
def other_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtherDevice]:
    """The device, known to ``.to``, ``.cpu`` and ``.numpy``; enter it where something computes on it."""
    device = OtherDevice()
    to, numpy, module_to = torch.Tensor.to, torch.Tensor.numpy, nn.Module.to

    def tensor_to(tensor: torch.Tensor, *args: Any, **more: Any) -> torch.Tensor:
        if args and isinstance(args[0], str):
            return device.move(tensor, args[0] == OTHER)
        return to(tensor, *args, **more)

    def whole_to(module: nn.Module, *args: Any, **more: Any) -> nn.Module:
        if args and isinstance(args[0], str):
            return module._apply(lambda tensor: device.move(tensor, args[0] == OTHER))
        return module_to(module, *args, **more)

    def as_numpy(tensor: torch.Tensor, **more: Any) -> Any:
        if device.has(tensor):
            raise WrongDeviceError("numpy sees only what is on the CPU")
        return numpy(tensor, **more)

    patches: Mapping[tuple[type, str], Any] = {
        (torch.Tensor, "to"): tensor_to,
        (torch.Tensor, "cpu"): lambda tensor: device.move(tensor, False),
        (torch.Tensor, "numpy"): as_numpy,
        (nn.Module, "to"): whole_to,
    }
    with monkeypatch.context() as patched:
        for (owner, name), function in patches.items():
            patched.setattr(owner, name, function)
        yield device
