"""The torch device on which the BS computes: chosen once, exact, and waited for where time is taken."""

from __future__ import annotations

import torch

CPU = "cpu"


def pick_device(wanted: str) -> str:
    """The torch device for ``auto`` (a GPU when there is one), ``cpu`` or ``cuda``."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else CPU
    return wanted


def compute_exactly(device: str) -> None:
    """Lets a GPU compute in full single precision, as a CPU does: convolutions are rounded to TF32 otherwise."""
    if device.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def settle(device: str) -> None:
    """Returns when the device has done what it was given: what is timed must be over."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
