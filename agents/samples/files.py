"""Datasets in files of the user's own: one ``npz``, or a folder of images."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agents.models.catalog import DatasetInfo
from agents.samples.shard import Images, Labels, Samples

MOST_CLASSES = 256
"""A label travels as one byte."""

LEAST_SIZE = 8
"""Pixels a side that every model can take."""

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_KEYS_HINT = f"an npz needs the arrays {', '.join(_KEYS)}"
_SHAPE_HINT = "images are (n, height, width), with 1 or 3 channels after n or at the end"
_FOLDER_HINT = "images go to PATH/train/CLASS/ and PATH/test/CLASS/"
_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}
_GREY = ("1", "L", "LA", "I", "I;16", "F")


class DataError(ValueError):
    """A dataset is missing or not as expected; ``key`` is the wrong key, ``hint`` what to change."""

    def __init__(self, key: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.key, self.hint = key, hint


def describe_npz(path: Path) -> DatasetInfo:
    """Shapes from the arrays' headers; only the labels are read. DataError when something is not as it must be."""
    with _reading(path):
        shapes = {key: _header(path, key) for key in _KEYS}
        labels = {split: _labels(path, f"y_{split}") for split in ("train", "test")}
    sizes = {split: _image_shape(f"x_{split}", *shapes[f"x_{split}"]) for split in ("train", "test")}
    if sizes["train"] != sizes["test"]:
        raise DataError("path", f"x_train has images of {sizes['train']}, x_test of {sizes['test']}", "make them equal")
    for split, own in labels.items():
        if len(own) != shapes[f"x_{split}"][0][0]:
            message = f"x_{split} has {shapes[f'x_{split}'][0][0]} images, but y_{split} {len(own)} labels"
            raise DataError("path", message, "there must be one label per image")
        if not len(own):
            raise DataError("path", f"x_{split} has no images", _KEYS_HINT)
    classes = 1 + max(int(own.max()) for own in labels.values())
    return DatasetInfo(*sizes["train"], classes, len(labels["train"]), len(labels["test"]))


def load_npz(path: Path) -> tuple[Samples, Samples]:
    """Train and test split of a file that ``describe_npz`` finds in order (nothing is unpickled)."""
    describe_npz(path)
    with np.load(path, allow_pickle=False) as file:
        x_train, y_train, x_test, y_test = (file[key] for key in _KEYS)
    train, test = Samples(channels_first(x_train), _bytes(y_train)), Samples(channels_first(x_test), _bytes(y_test))
    return train, test


def describe_folder(path: Path, size: int) -> DatasetInfo:
    """Classes and counts from ``path/train/CLASS/…`` and ``path/test/…``.

    One channel when the first training image is grey, else three. DataError when a folder is
    missing or empty.
    """
    classes = _class_names(path)
    train, test = (list(_images(path / split, classes)) for split in ("train", "test"))
    for split, found in (("train", train), ("test", test)):
        if not found:
            raise DataError("path", f"there are no images in {path / split}/CLASS/", _FOLDER_HINT)
    return DatasetInfo(_channels(train[0][0]), size, size, len(classes), len(train), len(test))


def load_folder(path: Path, size: int) -> tuple[Samples, Samples]:
    """Train and test split, every image resized to ``size`` × ``size``; classes are numbered by their names' order."""
    info, classes = describe_folder(path, size), _class_names(path)
    train, test = (_read(list(_images(path / split, classes)), info) for split in ("train", "test"))
    return train, test


def channels_first(images: npt.NDArray[np.uint8]) -> Images:
    """Images (n, h, w), (n, h, w, c) or (n, c, h, w) as (n, c, h, w)."""
    if images.ndim == 3:
        return images[:, None]
    return images if images.shape[1] in (1, 3) else np.ascontiguousarray(images.transpose(0, 3, 1, 2))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a broken file makes numpy and zipfile raise becomes a DataError."""
    try:
        yield
    except DataError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError("path", f"{path} is no readable npz file", _KEYS_HINT) from error


def _header(path: Path, key: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and type of an array in an npz, without reading it."""
    with zipfile.ZipFile(path) as archive:
        if f"{key}.npy" not in archive.namelist():
            raise DataError("path", f"{path} has no array {key}", _KEYS_HINT)
        with archive.open(f"{key}.npy") as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(member)
    return shape, dtype


def _image_shape(key: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, int, int]:
    """Channels, height and width."""
    if dtype != np.uint8:
        raise DataError("path", f"{key} is of type {dtype}", "images are bytes 0…255: use astype('uint8')")
    if len(shape) == 3:
        found = (1, shape[1], shape[2])
    elif len(shape) == 4 and shape[1] in (1, 3):
        found = (shape[1], shape[2], shape[3])
    elif len(shape) == 4 and shape[3] in (1, 3):
        found = (shape[3], shape[1], shape[2])
    else:
        raise DataError("path", f"{key} has the shape {shape}", _SHAPE_HINT)
    if min(found[1:]) < LEAST_SIZE:
        raise DataError(
            "path", f"{key} has images of {found[1]} × {found[2]}", f"give {LEAST_SIZE} × {LEAST_SIZE} or more"
        )
    return found


def _labels(path: Path, key: str) -> npt.NDArray[np.integer]:
    with np.load(path, allow_pickle=False) as file:
        labels: npt.NDArray[np.integer] = file[key]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError("path", f"{key} is {labels.dtype} of shape {labels.shape}", "labels are whole numbers (n,)")
    if len(labels) and not 0 <= labels.min() <= labels.max() < MOST_CLASSES:
        message = f"{key} has labels from {labels.min()} to {labels.max()}"
        raise DataError("path", message, f"number the classes from 0 to {MOST_CLASSES - 1}")
    return labels


def _bytes(labels: npt.NDArray[np.integer]) -> Labels:
    return labels.astype(np.uint8)


def _class_names(path: Path) -> Sequence[str]:
    """The folders in ``train``, in order."""
    if not (path / "train").is_dir():
        raise DataError("path", f"{path} has no folder train", _FOLDER_HINT)
    names = sorted(entry.name for entry in (path / "train").iterdir() if entry.is_dir())
    if len(names) > MOST_CLASSES:
        raise DataError("path", f"{path / 'train'} has {len(names)} folders", f"at most {MOST_CLASSES} classes")
    return names


def _images(folder: Path, classes: Sequence[str]) -> Iterator[tuple[Path, int]]:
    """Each image and its label, in a fixed order. DataError for a class that training does not have."""
    found = sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    for entry in found:
        if entry.name not in classes:
            raise DataError("path", f"{entry} is a class that train does not have", "each class needs images in train")
        label = classes.index(entry.name)
        yield from ((file, label) for file in sorted(entry.iterdir()) if file.suffix.lower() in _SUFFIXES)


def _channels(file: Path) -> int:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return 1 if image.mode in _GREY else 3
    except OSError as error:
        raise DataError("path", f"{file} is no image", "remove it, or save it anew") from error


def _read(found: Sequence[tuple[Path, int]], info: DatasetInfo) -> Samples:
    from PIL import Image

    images = np.empty((len(found), info.height, info.width, info.channels), dtype=np.uint8)
    for target, (file, _) in zip(images, found, strict=True):
        try:
            with Image.open(file) as image:
                plain = image.convert("L" if info.channels == 1 else "RGB")
        except OSError as error:
            raise DataError("path", f"{file} is no image", "remove it, or save it anew") from error
        target[:] = np.asarray(plain.resize((info.width, info.height))).reshape(target.shape)
    labels = np.array([label for _, label in found], dtype=np.uint8)
    return Samples(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels)
