"""What is known of models and datasets without loading torch: names, units, shapes.

``agents.models`` builds exactly these units; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """Shape of one sample (channels, height, width), number of classes, and samples per split."""

    channels: int
    height: int
    width: int
    classes: int
    train: int
    test: int


UNITS: dict[str, tuple[str, ...]] = {"vgg5": ("conv1", "conv2", "conv3", "fc1", "fc2")}

DATASETS: dict[str, DatasetInfo] = {
    "mnist5k": DatasetInfo(channels=1, height=28, width=28, classes=10, train=4000, test=1000)
}
