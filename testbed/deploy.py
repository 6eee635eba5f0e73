"""Topology → networks and containers, by label; up, find, ps, down.

Labels on containers are the only state: what carries a trial's label is the trial's, and
taking it down needs nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.engine import LABEL, ContainerSpec, ContainerState, Engine
from testbed.errors import DeployError
from testbed.loading import digest
from testbed.shaping.model import AIR_SYSCTLS
from testbed.topology import Topology

ROLE, AGENT, DIGEST, OWNER = (f"io.testbed.{key}" for key in ("role", "agent", "digest", "owner"))
AGENT_IMAGE, SHAPER_IMAGE = "testbed-agent:latest", "testbed-shaper:latest"
AIR, MGMT = "air", "mgmt"
SHAPER = "shaper"
SHAPER_CAPABILITIES = ("NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE")
BS = "bs"


def resource(trial: str, what: str) -> str:
    """The Docker name of a container, network or volume of a trial."""
    return f"testbed-{trial}-{what}"


@dataclass(frozen=True)
class Deployment:
    """The running containers of a trial: its agents (``bs`` first, then the UEs) and its shaper."""

    trial: str
    digest: str
    owner: str
    agents: Mapping[str, ContainerState]
    shaper: ContainerState

    @property
    def ues(self) -> tuple[str, ...]:
        """Names of the UEs."""
        return tuple(name for name in self.agents if name != BS)

    def addresses(self, network: str) -> dict[str, str]:
        """IPv4 address of each agent in ``air`` or ``mgmt``."""
        return {name: state.addresses[resource(self.trial, network)] for name, state in self.agents.items()}


def up(engine: Engine, topology: Topology, samples: Mapping[str, Mapping[str, bytes]], owner: str) -> Deployment:
    """Networks, BS, UEs and shaper of a topology, started; removed again if anything fails.

    ``samples``: for each agent the files that are mounted into it alone. ``owner`` says which
    verb created them (``up`` or ``run``).
    """
    for image in (AGENT_IMAGE, SHAPER_IMAGE):
        engine.need_image(image)
    labels = {LABEL: topology.name, DIGEST: digest(topology), OWNER: owner}
    try:
        _create(engine, topology, samples, labels)
        return _deployment(engine, topology.name)
    except BaseException:
        down(engine, topology.name)
        raise


def find(engine: Engine, trial: str) -> Deployment | None:
    """The deployment of this name when it is up and whole, else None."""
    states = engine.containers(**{LABEL: trial})
    if not any(s.labels.get(ROLE) == SHAPER for s in states) or any(s.status != "running" for s in states):
        return None
    return _deployment(engine, trial)


def exists(engine: Engine, trial: str) -> bool:
    """Whether any container of this name is there, running or not."""
    return bool(engine.containers(**{LABEL: trial}))


def ps(engine: Engine, trial: str | None = None) -> list[dict[str, Any]]:
    """One row per container of all trials, or of one."""
    return [
        {
            "trial": state.labels[LABEL],
            "agent": state.labels.get(AGENT, ""),
            "role": state.labels.get(ROLE, ""),
            "status": state.status,
            "container": state.name,
            "addresses": {net.rsplit("-", 1)[-1]: ip for net, ip in state.addresses.items()},
        }
        for state in engine.containers(**{LABEL: trial or ""})
    ]


def down(engine: Engine, trial: str) -> int:
    """Removes everything that carries the trial's label; how many things there were."""
    return engine.remove(**{LABEL: trial})


def _create(
    engine: Engine, topology: Topology, samples: Mapping[str, Mapping[str, bytes]], labels: Mapping[str, str]
) -> None:
    name = topology.name
    engine.create_network(resource(name, AIR), labels, internal=True)
    engine.create_network(resource(name, MGMT), labels, internal=False)
    gpu = topology.base_station.device != "cpu" and engine.has_gpu()
    if topology.base_station.device == "cuda" and not gpu:
        raise DeployError("base_station.device: cuda, but this engine has no GPU to give", "use auto or cpu")
    agents = [BS, *(ue.name for ue in topology.ues)]
    specs = [_agent(topology, agent, labels, gpu=gpu and agent == BS) for agent in agents]

    def launch(spec: ContainerSpec) -> None:
        for volume, folder in spec.volumes.items():
            engine.create_volume(volume, labels)
            engine.create(spec)
            for name, content in samples[spec.labels[AGENT]].items():
                engine.put_file(spec.name, folder, name, content)
        if not spec.volumes:
            engine.create(spec)
        engine.start(spec.name)

    engine.parallel(launch, [*specs, _shaper(name, labels)])


def _agent(topology: Topology, agent: str, labels: Mapping[str, str], gpu: bool) -> ContainerSpec:
    trial, role = topology.name, "bs" if agent == BS else "ue"
    return ContainerSpec(
        name=resource(trial, agent),
        image=AGENT_IMAGE,
        labels={**labels, ROLE: role, AGENT: agent},
        environment={
            "TESTBED_ROLE": role,
            "TESTBED_NAME": agent,
            "TESTBED_MGMT_HOST": f"{agent}.{MGMT}",
            "TESTBED_AIR_HOST": f"{agent}.{AIR}",
            "TESTBED_DEVICE": topology.base_station.device if agent == BS else "cpu",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        },
        networks={resource(trial, MGMT): f"{agent}.{MGMT}", resource(trial, AIR): f"{agent}.{AIR}"},
        volumes={resource(trial, f"{agent}-data"): "/data"},
        sysctls=AIR_SYSCTLS,
        gpu=gpu,
    )


def _shaper(trial: str, labels: Mapping[str, str]) -> ContainerSpec:
    return ContainerSpec(
        name=resource(trial, SHAPER),
        image=SHAPER_IMAGE,
        labels={**labels, ROLE: SHAPER, AGENT: SHAPER},
        capabilities=SHAPER_CAPABILITIES,
        tmpfs=("/tmp", "/run"),
        host_pid=True,
        memory_bytes=512 << 20,
    )


def _deployment(engine: Engine, trial: str) -> Deployment:
    states = {s.labels[AGENT]: s for s in engine.containers(**{LABEL: trial})}
    dead = [s for s in states.values() if s.status != "running"]
    if dead:
        lines = engine.logs(dead[0].name, tail=3).strip().splitlines()
        cause = lines[-1] if lines else f"exit status {dead[0].exit_code}"
        raise DeployError(f"{dead[0].labels[AGENT]} stopped as it started: {cause}", "type: testbed images build")
    shaper = states.pop(SHAPER)
    bs = states.pop(BS)
    return Deployment(trial, shaper.labels[DIGEST], shaper.labels[OWNER], {BS: bs, **states}, shaper)
