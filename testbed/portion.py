"""What trials of different names on one host are given of it: each container of a shaper says what its trial has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from testbed.container import LABEL
from testbed.engine import Engine
from testbed.errors import DeployError

CORES, MEMORY, OF_CORES = (f"io.testbed.{key}" for key in ("cores", "memory", "of-cores"))


@dataclass(frozen=True)
class Portion:
    """The cores and the bytes of memory that a trial needs of its host, and the cores that it was planned with."""

    cores: int = 0
    memory_bytes: int = 0
    of_cores: int = 0

    @property
    def labels(self) -> dict[str, str]:
        """It as labels of a container."""
        return {CORES: str(self.cores), MEMORY: str(self.memory_bytes), OF_CORES: str(self.of_cores)}

    @staticmethod
    def labelled(labels: Mapping[str, str]) -> Portion:
        """The one that a container's labels say."""
        return Portion(*(int(labels.get(key, 0)) for key in (CORES, MEMORY, OF_CORES)))


UNCOUNTED = Portion()
"""Of a deployment that nobody has fitted to its host."""


@dataclass(frozen=True)
class Room:
    """What a host has, what the other trials that are up have of it, and what this one has if it is up already."""

    cores: int
    memory_bytes: int
    others: Mapping[str, Portion] = field(default_factory=dict)
    mine: Portion | None = None

    @property
    def taken_bytes(self) -> dict[str, float]:
        """The memory of the others, by their names."""
        return {name: float(portion.memory_bytes) for name, portion in self.others.items()}

    def __str__(self) -> str:
        had = [f"{name} has {portion.cores}" for name, portion in self.others.items()]
        return f"{' and '.join(had)} of the {self.cores} cores of this host"

    def cores_for(self, most: int | None = None) -> int:
        """How many cores a trial may plan with that wants no more than ``most``. DeployError when there is none."""
        free = self.cores - sum(portion.cores for portion in self.others.values())
        if self.mine is not None:
            free = self.mine.of_cores or self.cores  # so that it is planned as before
        if free < 1:
            raise DeployError(f"no core is left: {self}", self.way_out)
        return min(free, most or free)

    @property
    def way_out(self) -> str:
        """What helps where the others have too much."""
        return f"wait, or type: testbed down {next(iter(self.others))}; --cores N gives a trial no more than N"

    def check(self, portion: Portion) -> None:
        """DeployError unless a trial's portion is there beside those of the others, which may have come meanwhile."""
        together = [portion, *self.others.values()]
        cores, taken_bytes = (sum(getattr(one, what) for one in together) for what in ("cores", "memory_bytes"))
        if self.others and (cores > self.cores or taken_bytes > self.memory_bytes):
            need = f"{portion.cores} cores and {portion.memory_bytes / 1e9:.3g} GB of memory"
            raise DeployError(f"another trial was faster: {self}, and this one needs {need}", self.way_out)


def room(engine: Engine, trial: str) -> Room:
    """What the host of an engine has for a trial."""
    found = {
        state.labels[LABEL]: Portion.labelled(state.labels) for state in engine.containers(**{LABEL: "", CORES: ""})
    }
    info = engine.info()
    mine = found.pop(trial, None)
    return Room(int(info["NCPU"]), int(info["MemTotal"]), found, mine)
