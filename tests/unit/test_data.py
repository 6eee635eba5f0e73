"""Datasets: shapes without reading pixels, samples as they are in the files, and what a wrong file is told."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agents.job import Job
from agents.models.catalog import DatasetInfo
from controller.planners.planning import plan_all
from controller.predict.workload import workload
from testbed.data import Data, info, load
from testbed.errors import InputError
from testbed.loading import parse
from tests.unit.loopback import job

RNG = np.random.default_rng(0)


def images(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    plain = {"x_train": images(20, 12, 10), "y_train": np.arange(20) % 4, "x_test": images(6, 12, 10)}
    return {**plain, "y_test": np.arange(6) % 3, **changes}


def npz(folder: Path, values: dict[str, np.ndarray]) -> Data:
    np.savez(folder / "own.npz", **values)
    return Data(name="npz", path=str(folder / "own.npz"))


@pytest.mark.parametrize("layout", ("n h w", "n h w c", "n c h w", "n h w 1"))
def test_an_npz_keeps_its_pixels_in_every_layout(tmp_path, layout):
    channels_first = {
        name: images(n, 1 if "c" not in layout else 3, 12, 10) for name, n in (("train", 20), ("test", 6))
    }
    stored = {
        "n h w": lambda x: x[:, 0],
        "n h w c": lambda x: x.transpose(0, 2, 3, 1),
        "n c h w": lambda x: x,
        "n h w 1": lambda x: x.transpose(0, 2, 3, 1),
    }[layout]
    data = npz(tmp_path, arrays(**{f"x_{split}": stored(x) for split, x in channels_first.items()}))
    channels = channels_first["train"].shape[1]
    assert info(data) == DatasetInfo(channels, 12, 10, classes=4, train=20, test=6)
    for samples, split in zip(load(data), channels_first, strict=True):
        assert np.array_equal(samples.images, channels_first[split])
        assert np.array_equal(samples.labels, arrays()[f"y_{split}"])


WRONG = {
    "x_train is of type float64": {"x_train": np.zeros((20, 12, 10))},
    "x_train has the shape": {"x_train": images(20, 12, 10, 5)},
    "x_train has images of 4 × 10": {"x_train": images(20, 4, 10)},
    "x_test of": {"x_test": images(6, 12, 12)},
    "has 20 images, but y_train 19 labels": {"y_train": np.zeros(19, int)},
    "y_train is float64": {"y_train": np.zeros(20)},
    "y_train has labels from -1": {"y_train": np.arange(20) - 1},
    "y_test has labels from 0 to 300": {"y_test": np.arange(6) * 60},
    "x_test has no images": {"x_test": images(0, 12, 10), "y_test": np.zeros(0, int)},
    "is no readable npz": {"y_train": np.array([{}] * 20, dtype=object)},
}


@pytest.mark.parametrize("told", WRONG)
def test_a_wrong_npz_is_told_what_is_wrong(tmp_path, told):
    with pytest.raises(InputError) as error:
        info(npz(tmp_path, arrays(**WRONG[told])))
    assert error.value.path == "data.path"
    assert told in str(error.value) and error.value.hint


def test_a_missing_array_is_named(tmp_path):
    with pytest.raises(InputError, match=r"data\.path: .* has no array y_test"):
        info(npz(tmp_path, {key: value for key, value in arrays().items() if key != "y_test"}))


def folder_of_images(root: Path, mode: str) -> Data:
    for split, count in (("train", 3), ("test", 1)):
        for number, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                colour = 100 * number + i if mode == "L" else (100 * number + i, 7, 9)
                Image.new(mode, (20, 30), colour).save(root / split / name / f"{i}.png")
    return Data(name="imagefolder", path=str(root), size=16)


@pytest.mark.parametrize(("mode", "channels"), (("L", 1), ("RGB", 3)))
def test_a_folder_of_images_is_resized_and_numbered_by_class_name(tmp_path, mode, channels):
    data = folder_of_images(tmp_path, mode)
    assert info(data) == DatasetInfo(channels, 16, 16, classes=2, train=6, test=2)
    train, test = load(data)
    assert train.images.shape == (6, channels, 16, 16) and test.images.shape == (2, channels, 16, 16)
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.images[:, 0, 5, 5].tolist() == [0, 1, 2, 100, 101, 102]


def test_a_test_class_without_training_images_is_named(tmp_path):
    data = folder_of_images(tmp_path, "L")
    (tmp_path / "test" / "bird").mkdir()
    with pytest.raises(InputError, match=r"data\.path: .*bird is a class that train does not have"):
        info(data)


def test_a_file_that_is_no_image_is_named(tmp_path):
    data = folder_of_images(tmp_path, "L")
    (tmp_path / "train" / "dog" / "0.png").write_text("not an image")
    with pytest.raises(InputError, match=r"data\.path: .*dog/0\.png is no image"):
        load(data)


def idx(path: Path, values: np.ndarray) -> None:
    """The format of the MNIST files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes())


@pytest.mark.parametrize(("name", "folder"), (("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")))
def test_mnist_files_are_read_from_a_local_folder(tmp_path, name, folder):
    pixels, classes = images(5, 28, 28), np.arange(5, dtype=np.uint8)
    for split in ("train", "t10k"):
        idx(tmp_path / folder / "raw" / f"{split}-images-idx3-ubyte", pixels)
        idx(tmp_path / folder / "raw" / f"{split}-labels-idx1-ubyte", classes)
    train, test = load(Data(name=name, path=str(tmp_path)))
    assert np.array_equal(train.images, pixels[:, None]) and test.labels.tolist() == [0, 1, 2, 3, 4]


def test_a_broken_torchvision_dataset_is_an_input_error(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(InputError, match=r"data\.path: cifar10 cannot be read from .*hint: add download: true"):
        load(Data(name="cifar10", path=str(tmp_path)))


def test_part_of_a_dataset_is_the_same_part_every_time():
    data = Data(train_samples=300, test_samples=50)
    assert (info(data).train, info(data).test) == (300, 50)
    (train, test), (again, _) = load(data), load(data)
    assert (len(train), len(test)) == (300, 50)
    assert np.array_equal(train.images, again.images)
    assert len(set(train.labels)) == 10


def test_digits_are_framed_to_the_shape_of_coloured_images():
    data = Data(size=32, channels=3)
    assert info(data) == DatasetInfo(3, 32, 32, classes=10, train=4000, test=1000)
    (train, test), (plain, _) = load(data), load(Data())
    assert train.images.shape == (4000, 3, 32, 32) and test.images.shape == (1000, 3, 32, 32)
    for channel in range(3):
        assert np.array_equal(train.images[:, channel, 2:-2, 2:-2], plain.images[:, 0])
    assert train.images.sum() == 3 * plain.images.sum(dtype=np.int64), "the frame is black"
    assert np.array_equal(train.labels, plain.labels)


@pytest.mark.parametrize("size", (8, 14, 27, 30, 31, 33, 36, 64))
def test_every_other_size_is_a_resized_image(size):
    data = Data(size=size, train_samples=20, test_samples=5)
    assert (info(data).height, info(data).width) == (size, size)
    (train, _), (plain, _) = load(data), load(Data(train_samples=20, test_samples=5))
    assert train.images.shape == (20, 1, size, size)
    framed = size in (30,)
    grown = plain.images.sum(dtype=np.int64) * (1 if framed else (size / 28) ** 2)
    assert train.images.sum(dtype=np.int64) == pytest.approx(grown, rel=0 if framed else 0.03), "as bright as before"


def test_images_that_are_no_squares_become_squares(tmp_path):
    data = npz(tmp_path, arrays()).model_copy(update={"size": 12})  # of 12 × 10
    (train, _), (plain, _) = load(data), load(npz(tmp_path, arrays()))
    assert info(data).width == train.images.shape[3] == 12
    assert train.images.shape[2] == 12 and not np.array_equal(train.images[..., 1:-1], plain.images)


def test_colours_become_their_luminance(tmp_path):
    coloured = images(20, 12, 10, 3)
    data = npz(tmp_path, arrays(x_train=coloured, x_test=images(6, 12, 10, 3))).model_copy(update={"channels": 1})
    assert info(data).channels == 1
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in coloured]
    assert np.abs(load(data)[0].images[:, 0].astype(int) - np.stack(expected)).max() <= 1


def test_a_folder_of_grey_images_can_be_repeated(tmp_path):
    data = folder_of_images(tmp_path, "L").model_copy(update={"channels": 3})
    assert info(data).channels == load(data)[0].images.shape[1] == 3


def test_a_dataset_of_ones_own_is_planned_and_its_shape_reaches_the_agents(tmp_path):
    data = npz(tmp_path, arrays())
    topology = parse(
        f"name: own\nues: {{count: 2}}\ntraining: {{batch: 8}}\ndata: {{name: npz, path: {data.path}}}\n", "a"
    )
    assert workload(topology).output_bytes.tolist()[-1] == 4 * 4
    assert len(plan_all(topology)) == 2
    asked = job("psl", 1, 1, batches=(2,), dataset_info=info(data))
    assert Job.from_json(asked.to_json()) == asked
