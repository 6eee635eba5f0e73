"""The topology's ``data`` section: which dataset, and how its samples are dealt to the UEs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from agents.models.catalog import DatasetInfo
from agents.samples import datasets
from agents.samples.datasets import TORCHVISION, Source
from agents.samples.files import LEAST_SIZE, DataError
from agents.samples.partition import Labels, PartitionError, Shards, partition
from agents.samples.shard import Samples
from testbed.errors import InputError
from testbed.section import OwnName, Section

Problem = tuple[str, str, str]


class Iid(Section):
    """Random shards of (nearly) equal size."""

    kind: Literal["iid"] = "iid"


class Proportional(Section):
    """Random shards of sizes proportional to ``weights``, one per UE, or to the batches of each scheme's plan."""

    kind: Literal["proportional"]
    weights: tuple[PositiveFloat, ...] | None = None


class Dirichlet(Section):
    """Each class is split by shares drawn from Dir(α, …, α): a small ``alpha`` makes shards unlike."""

    kind: Literal["dirichlet"]
    alpha: PositiveFloat


class Classes(Section):
    """Each UE has samples of ``per_ue`` random classes only: all its share of them, or ``samples_per_ue``."""

    kind: Literal["classes"]
    per_ue: int = Field(ge=1)
    samples_per_ue: int | None = Field(default=None, ge=1)


PARTITIONS: Mapping[str, type[Section]] = {
    "iid": Iid,
    "proportional": Proportional,
    "dirichlet": Dirichlet,
    "classes": Classes,
}
Partition = Annotated[Iid | Proportional | Dirichlet | Classes, Field(discriminator="kind")]


class Data(Section):
    """The dataset, how much of it is used, and its partition into private shards.

    ``path`` and ``download`` are for the datasets that do not come with the testbed. Images are framed with zeros or
    resized to ``size`` × ``size``, those of an ``imagefolder`` to 32 where nothing is said; ``channels`` repeats grey,
    or makes it of colours. A loader of one's own is ``mine.py:load``.
    """

    name: Literal["mnist5k", "mnist", "fashion_mnist", "cifar10", "cifar100", "npz", "imagefolder"] | OwnName = (
        "mnist5k"
    )
    path: str | None = None
    download: bool = False
    size: int | None = Field(default=None, ge=LEAST_SIZE, le=512)
    channels: Literal[1, 3] | None = None
    train_samples: int | None = Field(default=None, ge=1)
    test_samples: int | None = Field(default=None, ge=1)
    partition: Partition = Iid()

    @property
    def source(self) -> Source:
        """The section without the partition."""
        return Source(
            self.name, self.path, self.download, self.size, self.channels, self.train_samples, self.test_samples
        )


def info(data: Data) -> DatasetInfo:
    """Shape, classes and number of samples; read from the files once. InputError when they are not in order."""
    try:
        return _describe(data.source)
    except DataError as error:
        raise InputError(f"data.{error.key}", str(error), error.hint) from error


_describe = cache(datasets.describe)


def load(data: Data) -> tuple[Samples, Samples]:
    """Train and test split. InputError when the files are not in order."""
    try:
        return datasets.load(data.source)
    except DataError as error:
        raise InputError(f"data.{error.key}", str(error), error.hint) from error


def deal(data: Data, labels: Labels, ues: Sequence[str], seed: int, batches: Sequence[float]) -> Shards:
    """Each UE's positions among the training samples of these labels.

    ``batches``, one number above 0 per UE, are the weights of a ``proportional`` partition that
    names none. InputError when a UE would be left without samples.
    """
    weights = data.partition.weights if isinstance(data.partition, Proportional) else None
    try:
        return partition(labels, ues, seed, data.partition.model_dump(), weights or batches)
    except PartitionError as error:
        raise InputError("data.partition", str(error), error.hint) from error


def dealt_samples(data: Data, ues: Sequence[str], seed: int) -> int:
    """How many training samples the UEs have together; all of them but where UEs hold some classes only."""
    match data.partition:
        case Classes(samples_per_ue=each) if each is not None:
            return each * len(ues)
        case Classes():
            shards = deal(data, load(data)[0].labels, ues, seed, [1.0] * len(ues))
            return sum(len(shard) for shard in shards.values())
        case _:
            return info(data).train


def depends_on_plan(data: Data) -> bool:
    """Whether the shards follow from the plan's batches, not from the data section alone."""
    return isinstance(data.partition, Proportional) and data.partition.weights is None


def problems(data: Data, ues: int) -> list[Problem]:
    """What is wrong between the keys, or in the files, as (path, message, hint)."""
    found = _unused_keys(data)
    if found:
        return found
    try:
        facts = info(data)
    except InputError as error:
        return [(error.path, error.message.removeprefix(f"{error.path}: "), error.hint)]
    if ues > facts.train:
        message = f"{data.name} has {facts.train} training samples for {ues} UEs"
        found.append(("data.name", message, "use fewer UEs or a larger dataset"))
    return [*found, *_partition_problems(data, facts, ues)]


def _unused_keys(data: Data) -> list[Problem]:
    users = {"path": (*TORCHVISION, "npz", "imagefolder"), "download": tuple(TORCHVISION)}
    return [
        (f"data.{key}", f"is not used with {data.name}", f"remove it; {key} is for {', '.join(names)}")
        for key, names in users.items()
        if getattr(data, key) not in (None, False) and data.name not in names
    ]


def _partition_problems(data: Data, facts: DatasetInfo, ues: int) -> list[Problem]:
    match data.partition:
        case Classes(per_ue=per_ue) if per_ue > facts.classes:
            message = f"{per_ue} is more than the {facts.classes} classes of {data.name}"
            return [("data.partition.per_ue", message, f"use {facts.classes} or less")]
        case Proportional(weights=weights) if weights is not None and len(weights) != ues:
            message = f"there are {len(weights)} weights for {ues} UEs"
            return [("data.partition.weights", message, "give one weight per UE, in their order")]
    return []
