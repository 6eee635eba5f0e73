"""Samples in another shape than their dataset has: enlarged or reduced, grey or in colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agents.models.catalog import DatasetInfo
from agents.samples.shard import Images, Samples

FRAME = 8
"""A frame of zeros is at most an eighth of the size: 28 pixels become 32 by two on each side, as LeNet had it."""
_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, by ITU-R BT.601


def reshaped(info: DatasetInfo, size: int | None, channels: int | None) -> DatasetInfo:
    """The facts about a dataset whose images get ``size`` pixels a side, and so many channels; None leaves them."""
    height, width = (info.height, info.width) if size is None else (size, size)
    return replace(info, height=height, width=width, channels=channels or info.channels)


def reshape(samples: Samples, size: int | None, channels: int | None) -> Samples:
    """The samples so.

    Images that are smaller by an even number of pixels, at most an eighth of ``size``, get a frame of zeros; all
    others are resized (bilinear). Grey is repeated three times; colours become their luminance.
    """
    images = samples.images
    if size is not None:
        images = _sized(images, size)
    return Samples(images if channels is None else _coloured(images, channels), samples.labels)


def _sized(images: Images, size: int) -> Images:
    missing = [size - side for side in images.shape[2:]]
    if not any(missing):
        return images
    if all(0 <= pixels <= size / FRAME and pixels % 2 == 0 for pixels in missing):
        return np.pad(images, [(0, 0), (0, 0), *((pixels // 2, pixels // 2) for pixels in missing)])
    from PIL import Image

    planes = images.reshape(-1, *images.shape[2:])
    found = [Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(plane) for plane in found]).reshape(*images.shape[:2], size, size)


def _coloured(images: Images, channels: int) -> Images:
    if images.shape[1] == channels:
        return images
    if channels == 1:
        grey: Images = np.rint(np.tensordot(_LUMINANCE, images, (0, 1))).astype(np.uint8)
        return grey[:, None]
    return np.repeat(images, channels, axis=1)
