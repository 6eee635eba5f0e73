"""torchvision, imported when it is needed and not before: it takes 1.5 s and 80 MB."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

_OPERATORS = ("nms", "qnms")
_declared: list[Any] = []
"""A library's declarations last as long as the object."""


def torchvision() -> ModuleType:
    """The package. One built for another torch is made to import: its compiled operators stay unusable."""
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
    import torch  # not above: who only reads about datasets needs none

    # Its compiled part did not load, and its Python part refers to two operators of it: declare them.
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in _OPERATORS:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _declared.append(library)
    return import_module("torchvision")
