"""torchvision's residual and mobile networks, taken apart into chains of units.

No unit begins with an in-place operation: each residual block and each inverted residual begins
with a convolution. All are made for small images of one or three channels, without dropout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from agents.models.catalog import DatasetInfo
from agents.models.norm import layer
from agents.samples.vision import torchvision

_WIDTH = 64


def resnet18(info: DatasetInfo, norm: str) -> list[nn.Module]:
    """ResNet-18 of the C²P²SL paper (Table II): the first convolution is 3 × 3 of stride 1, without max pool."""
    whole = torchvision().models.resnet18(num_classes=info.classes, norm_layer=layer(norm))
    whole.conv1 = _first(info.channels, _WIDTH, kernel=3, stride=1)
    return _resnet(whole, [whole.conv1, whole.bn1, whole.relu])


def resnet101(info: DatasetInfo, norm: str) -> list[nn.Module]:
    """ResNet-101 with torchvision's own stem: 7 × 7 of stride 2, then max pool."""
    whole = torchvision().models.resnet101(num_classes=info.classes, norm_layer=layer(norm))
    if info.channels != 3:
        whole.conv1 = _first(info.channels, _WIDTH, kernel=7, stride=2)
    return _resnet(whole, [whole.conv1, whole.bn1, whole.relu, whole.maxpool])


def mobilenet_v3_small(info: DatasetInfo, norm: str) -> list[nn.Module]:
    """MobileNetV3-Small: each of torchvision's ``features``, then the head."""
    return _mobilenet(torchvision().models.mobilenet_v3_small, info, norm)


def mobilenet_v3_large(info: DatasetInfo, norm: str) -> list[nn.Module]:
    """MobileNetV3-Large: each of torchvision's ``features``, then the head."""
    return _mobilenet(torchvision().models.mobilenet_v3_large, info, norm)


def _resnet(whole: Any, stem: Sequence[nn.Module]) -> list[nn.Module]:
    blocks = [block for stage in (whole.layer1, whole.layer2, whole.layer3, whole.layer4) for block in stage]
    return [nn.Sequential(*stem), *blocks, nn.Sequential(whole.avgpool, nn.Flatten(), whole.fc)]


def _mobilenet(make: Any, info: DatasetInfo, norm: str) -> list[nn.Module]:
    # What torchvision gives its own batch norm here.
    whole = make(num_classes=info.classes, norm_layer=layer(norm, eps=0.001, momentum=0.01), dropout=0.0)
    if info.channels != 3:
        first = whole.features[0][0]
        whole.features[0][0] = _first(info.channels, first.out_channels, kernel=3, stride=2)
    return [*whole.features, nn.Sequential(whole.avgpool, nn.Flatten(), whole.classifier)]


def _first(channels: int, width: int, kernel: int, stride: int) -> nn.Conv2d:
    """A first convolution for these input channels, drawn as torchvision draws its own."""
    conv = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
