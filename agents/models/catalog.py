"""What is known of models and datasets without loading torch: names, units, shapes.

``agents.models.build`` builds exactly these units; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """Shape of one sample (channels, height, width), number of classes, and samples per split."""

    channels: int
    height: int
    width: int
    classes: int
    train: int
    test: int

    @property
    def shape(self) -> dict[str, int]:
        """What a model is built for: the shape of a sample, and the number of classes."""
        return {"channels": self.channels, "height": self.height, "width": self.width, "classes": self.classes}

    def to_json(self) -> dict[str, int]:
        """The facts as plain data; ``DatasetInfo(**data)`` reads them back."""
        return asdict(self)


def _numbered(stem: str, count: int) -> tuple[str, ...]:
    return tuple(f"{stem}{i}" for i in range(1, count + 1))


UNITS: Mapping[str, tuple[str, ...]] = {
    "vgg5": ("conv1", "conv2", "conv3", "fc1", "fc2"),
    "lenet12": (
        *("conv1", "conv2", "pool1", "conv3", "conv4", "pool2"),
        *("conv5", "conv6", "pool3", "fc1", "fc2", "fc3"),
    ),
    "resnet18": ("stem", *_numbered("block", 8), "head"),
    "resnet101": ("stem", *_numbered("block", 33), "head"),
    "vgg16": (*_numbered("conv", 13), *_numbered("fc", 3)),
    "mobilenet_v3_small": ("stem", *_numbered("block", 11), "conv", "head"),
    "mobilenet_v3_large": ("stem", *_numbered("block", 15), "conv", "head"),
}

DATASETS: Mapping[str, DatasetInfo] = {
    "mnist5k": DatasetInfo(channels=1, height=28, width=28, classes=10, train=4000, test=1000),
    "mnist": DatasetInfo(channels=1, height=28, width=28, classes=10, train=60000, test=10000),
    "fashion_mnist": DatasetInfo(channels=1, height=28, width=28, classes=10, train=60000, test=10000),
    "cifar10": DatasetInfo(channels=3, height=32, width=32, classes=10, train=50000, test=10000),
    "cifar100": DatasetInfo(channels=3, height=32, width=32, classes=100, train=50000, test=10000),
}
"""The datasets whose shape is known by name; that of ``npz`` and ``imagefolder`` is in their files."""
