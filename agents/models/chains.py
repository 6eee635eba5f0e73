"""Models that are plain chains of convolutions and dense layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from agents.models.catalog import DatasetInfo
from agents.models.norm import layer

_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_VGG16_LEAST = 32


def vgg5(info: DatasetInfo, norm: str) -> list[nn.Module]:
    """VGG-5 of the PiPar paper (Table II): convolutions of 32, 64, 64, dense layers of 128 and classes."""
    features = 64 * (info.height // 4) * (info.width // 4)
    return [
        _conv(info.channels, 32, norm, pool=True),
        _conv(32, 64, norm, pool=True),
        _conv(64, 64, norm, pool=False),
        nn.Sequential(nn.Flatten(), nn.Linear(features, 128), nn.ReLU()),
        nn.Linear(128, info.classes),
    ]


def lenet12(info: DatasetInfo, norm: str) -> list[nn.Module]:
    """The 12-layer LeNet of the CPSL paper (Table III): six convolutions, three pools, three dense layers.

    The table names no norm, so there is none, whatever ``norm``; the softmax is in the loss.
    The paper is silent on padding: here convolutions keep the size.
    """
    units: list[nn.Module] = []
    before = info.channels
    for width in (32, 64, 128):
        units += [nn.Sequential(nn.Conv2d(cin, width, 3, padding=1), nn.ReLU()) for cin in (before, width)]
        units.append(nn.MaxPool2d(2))
        before = width
    features = 128 * (info.height // 8) * (info.width // 8)
    units += [
        nn.Sequential(nn.Flatten(), nn.Linear(features, 382), nn.ReLU()),
        nn.Sequential(nn.Linear(382, 192), nn.ReLU()),
        nn.Linear(192, info.classes),
    ]
    _initialise(units)
    return units


def vgg16(info: DatasetInfo, norm: str) -> list[nn.Module]:
    """VGG-16 in torchvision's ``vgg16_bn`` layout: a norm layer after each convolution.

    Five poolings need an image of 32 × 32: a smaller one is padded with zeros. There is no
    dropout: micro-batches would draw other masks than the whole batch, and the seed's draw would
    not repeat.
    """
    rows, columns = (max(0, _VGG16_LEAST - size) for size in (info.height, info.width))
    pad = nn.ZeroPad2d((columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    units: list[nn.Module] = []
    before = info.channels
    for block in _VGG16:
        for i, width in enumerate(block):
            units.append(_conv(before, width, norm, pool=i == len(block) - 1))
            before = width
    if rows or columns:
        units[0] = nn.Sequential(pad, *units[0].children())
    units += [
        nn.Sequential(nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(before * 7 * 7, 4096), nn.ReLU()),
        nn.Sequential(nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, info.classes),
    ]
    _initialise(units, dense_spread=0.01)
    return units


def _conv(cin: int, cout: int, norm: str, pool: bool) -> nn.Sequential:
    """A convolution with norm, ReLU and (where asked) 2 × 2 max pooling."""
    pooling = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), layer(norm)(cout), nn.ReLU(), *pooling)


def _initialise(units: Sequence[nn.Module], dense_spread: float | None = None) -> None:
    """Weights that keep the size of values through many ReLUs (He et al.), as torchvision's VGG draws them.

    Dense layers get normal weights of this spread, or He's too.
    """
    for module in (module for unit in units for module in unit.modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Linear):
            if dense_spread is None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.normal_(module.weight, 0.0, dense_spread)
            nn.init.zeros_(module.bias)
