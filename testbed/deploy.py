"""Topology → networks and containers, by label; up, find, ps, down.

Labels on containers are the only state: what carries a trial's label is the trial's, and
taking it down needs nothing else.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from agents.wire.keys import CONTROLLER, KEYRING, Keyring, new_keyrings
from testbed.container import DEPLOYMENT, LABEL, ContainerSpec, ContainerState, Thing
from testbed.engine import Engine
from testbed.errors import AwayError, DeployError, NameTakenError
from testbed.events import AGENT
from testbed.loading import digest
from testbed.lock import held
from testbed.portion import UNCOUNTED, Portion, room
from testbed.shaping.model import AIR_SYSCTLS, TRIAL, TRIAL_FILE
from testbed.topology import Topology

ROLE, DIGEST, OWNER, UES = (f"io.testbed.{key}" for key in ("role", "digest", "owner", "ues"))
AGENT_IMAGE, SHAPER_IMAGE = "testbed-agent:latest", "testbed-shaper:latest"
AIR, MGMT = "air", "mgmt"
SHAPER = "shaper"
AGENT_USER, NOBODY = 10001, 65534
"""Users, by number: as whom agents run, and as whom nothing does."""
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

    def only(self, ues: Collection[str]) -> Deployment:
        """The same without the other UEs."""
        agents = {name: state for name, state in self.agents.items() if name == BS or name in ues}
        return replace(self, agents=agents)

    def addresses(self, network: str) -> dict[str, str]:
        """IPv4 address of each agent in ``air`` or ``mgmt``."""
        return {name: state.addresses[resource(self.trial, network)] for name, state in self.agents.items()}


def up(
    engine: Engine,
    topology: Topology,
    samples: Mapping[str, Mapping[str, bytes]],
    memory_bytes: Mapping[str, int],
    owner: str,
    mine: str = "",
    portion: Portion = UNCOUNTED,
) -> Deployment:
    """Networks, BS, UEs and shaper of a topology, started; removed again if anything fails.

    ``samples``: for each agent the files that are mounted into it alone; ``memory_bytes``: its limit. ``owner`` says
    which verb created them (``up`` or ``run``), ``mine`` is what ``new_id`` gave, ``portion`` what they need of the
    host. DeployError when somebody else is starting this name, or has taken that portion meanwhile.
    """
    mine = mine or new_id()
    for image in (AGENT_IMAGE, SHAPER_IMAGE):
        engine.need_image(image)
    labels = {LABEL: topology.name, DIGEST: digest(topology, samples), OWNER: owner, DEPLOYMENT: mine}
    try:
        _claim(engine, topology, {**labels, **portion.labels})
        room(engine, topology.name).check(portion)
        _create(engine, topology, samples, memory_bytes, labels)
        return _deployment(engine, topology.name, "type: testbed images build")
    except BaseException:
        remove_mine(engine, mine)
        raise


@contextmanager
def at_work(engine: Engine, trial: str, verb: str) -> Iterator[None]:
    """Meanwhile this process alone works on the trial of this name. DeployError when another one does.

    Where the engine stays away, its error says what removes what is left when it is back.
    """
    with held(engine.id, trial, verb):
        try:
            yield
        except AwayError as error:
            hint = f"when Docker answers again, type: testbed down {trial}"
            raise AwayError(f"{error.message}; what {trial} has there is left", hint) from error


def new_id() -> str:
    """What tells one deployment from any other, whoever else starts one of the same name."""
    return uuid.uuid4().hex


def remove_mine(engine: Engine, mine: str) -> int:
    """Removes everything of one deployment; how many things there were."""
    return engine.remove(**{DEPLOYMENT: mine})


def find(engine: Engine, trial: str) -> Deployment | None:
    """The deployment of this name; None when there is none, or when it is still being started.

    DeployError names who of it is missing or does not run.
    """
    states = _states(engine, trial)
    if not states or (SHAPER in states and states[SHAPER].status == "created"):
        return None
    return _deployment(engine, trial, f"type: testbed down {trial}")


def owner(engine: Engine, trial: str) -> str | None:
    """Which verb created what is there of this name, whole or not; None where nothing is."""
    owners = {state.labels.get(OWNER, "") for state in _states(engine, trial).values()}
    return min(owners, default=None)


def exists(engine: Engine, trial: str) -> bool:
    """Whether anything of this name is there: a container, running or not, a network or a volume."""
    return bool(engine.labelled(**{LABEL: trial}))


def left(engine: Engine, trial: str) -> list[Thing]:
    """What of this name is there that nobody has brought up to stay."""
    kept = engine.labelled(**{LABEL: trial, OWNER: "up"})
    return [thing for thing in engine.labelled(**{LABEL: trial}) if thing not in kept]


def trials(engine: Engine) -> list[str]:
    """Names of all trials of which anything is there."""
    return sorted({thing.trial for thing in engine.labelled(**{LABEL: ""})})


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


def _claim(engine: Engine, topology: Topology, labels: Mapping[str, str]) -> None:
    """Makes the name ours: of all that a trial consists of, only a container's name is given once.

    The shaper is created first and started last, so that one that runs says that all the others did.
    """
    try:
        engine.parallel(engine.create, [_shaper(topology, labels)])
    except NameTakenError as error:
        name = topology.name
        raise DeployError(f"{name} is already being started", f"wait, or type: testbed down {name}") from error


def gives_gpu(engine: Engine, topology: Topology) -> bool:
    """Whether the BS's container gets a GPU."""
    return topology.base_station.device != "cpu" and engine.has_gpu()


def _create(
    engine: Engine,
    topology: Topology,
    samples: Mapping[str, Mapping[str, bytes]],
    memory_bytes: Mapping[str, int],
    labels: Mapping[str, str],
) -> None:
    name = topology.name
    keys = new_keyrings(ue.name for ue in topology.ues)
    _put(engine, resource(name, CONTROLLER), labels, {}, keys[CONTROLLER], NOBODY)
    engine.parallel(lambda net: engine.create_network(resource(name, net), labels, internal=True), (AIR, MGMT))
    gpu = gives_gpu(engine, topology)
    if topology.base_station.device == "cuda" and not gpu:
        raise DeployError("base_station.device: cuda, but this engine has no GPU to give", "use auto or cpu")
    agents = [BS, *(ue.name for ue in topology.ues)]
    specs = [_agent(topology, agent, labels, memory_bytes[agent], gpu=gpu and agent == BS) for agent in agents]

    def launch(spec: ContainerSpec) -> None:
        agent = spec.labels[AGENT]
        (volume,) = spec.inputs
        told = {PurePath(TRIAL_FILE).name: topology.name.encode()}
        _put(engine, volume, labels, {**samples[agent], **told}, keys[agent], AGENT_USER)
        engine.create(spec)
        engine.start(spec.name)

    engine.parallel(launch, specs)
    engine.start(resource(name, SHAPER))


def _put(
    engine: Engine, volume: str, labels: Mapping[str, str], files: Mapping[str, bytes], keys: Keyring, user: int
) -> None:
    """A volume with these files and with keys, which this user alone can read."""
    engine.create_volume(volume, labels)
    engine.put_into_volume(volume, AGENT_IMAGE, files)
    engine.put_into_volume(volume, AGENT_IMAGE, {KEYRING: keys.to_bytes()}, only_for=user)


def controller_keys(engine: Engine, trial: str) -> Keyring:
    """The controller's keys of a trial that is up: they lie in a volume that no container of it mounts."""
    return Keyring.from_bytes(engine.read_from_volume(resource(trial, CONTROLLER), AGENT_IMAGE, KEYRING))


def _agent(topology: Topology, agent: str, labels: Mapping[str, str], memory_bytes: int, gpu: bool) -> ContainerSpec:
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
        inputs={resource(trial, f"{agent}-data"): str(PurePath(TRIAL_FILE).parent)},
        sysctls=AIR_SYSCTLS,
        gpu=gpu,
        memory_bytes=memory_bytes,
    )


def _shaper(topology: Topology, labels: Mapping[str, str]) -> ContainerSpec:
    return ContainerSpec(
        name=resource(topology.name, SHAPER),
        image=SHAPER_IMAGE,
        labels={**labels, ROLE: SHAPER, AGENT: SHAPER, UES: ",".join(ue.name for ue in topology.ues)},
        environment={TRIAL: topology.name},
        capabilities=SHAPER_CAPABILITIES,
        tmpfs=("/tmp", "/run"),
        host_pid=True,
        memory_bytes=512 << 20,
    )


def _states(engine: Engine, trial: str) -> dict[str, ContainerState]:
    """The containers of agents and shaper by name; not one that calibrates for the trial."""
    return {s.labels[AGENT]: s for s in engine.containers(**{LABEL: trial}) if AGENT in s.labels}


def _deployment(engine: Engine, trial: str, hint: str) -> Deployment:
    """The deployment if each of its containers runs and no other does; else DeployError with this hint."""
    states = _states(engine, trial)
    labels = states[SHAPER].labels if SHAPER in states else {}
    ues = [name for name in labels.get(UES, "").split(",") if name]
    expected = (BS, *ues, SHAPER)
    wrong = [f"{name} is missing" for name in expected if name not in states]
    wrong += [_complaint(engine, state) for state in states.values() if state.status != "running"]
    if labels:
        wrong += [f"{name} does not belong to it" for name in states if name not in expected]
    if wrong:
        raise DeployError(f"{trial} is not whole: {'; '.join(wrong)}", hint)
    agents = {name: states[name] for name in (BS, *ues)}
    return Deployment(trial, labels[DIGEST], labels[OWNER], agents, states[SHAPER])


def _complaint(engine: Engine, state: ContainerState) -> str:
    """The condition of a container, and what it said last if it has ended."""
    lines = engine.logs(state.name, tail=3).strip().splitlines() if state.status == "exited" else []
    return f"{state.labels[AGENT]} {state.condition}{f': {lines[-1]}' if lines else ''}"
