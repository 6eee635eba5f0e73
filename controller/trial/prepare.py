"""Before and after the rounds of a field trial: plan, fit the dilation, deploy, make ready, save logs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

from controller.planners.planning import Planned, plan_all
from controller.predict.sizes import check_rows, check_sizes, differences
from controller.predict.strikes import strikes_of
from controller.trial.fit import Fitted, fit
from controller.trial.memory import Memory, agent_peaks, limits, needed_bytes
from controller.trial.session import Session
from controller.trial.shards import Dealt, deal
from controller.trial.undisturbed import undisturbed
from controller.trial.watch import Learned, Stage, Warned, Watcher
from testbed import deploy, links
from testbed.calibration import calibrate
from testbed.compute import LEAST_QUOTA_US, PERIOD_US, QUOTAS_US, Calibration, weights
from testbed.deploy import BS, Deployment
from testbed.engine import Engine
from testbed.errors import DeployError, TestbedError
from testbed.files import storing
from testbed.injection import Injector
from testbed.loading import digest
from testbed.portion import Portion, room
from testbed.topology import Topology


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A topology that is ready to be deployed: its plans as they fit the host, each agent's CPU quota, and memory.

    ``calibrations``: those that the plans were made with, by the threads of the BS. ``cores``: as many as they may use.
    """

    topology: Topology
    fitted: Fitted
    quotas_us: Mapping[str, int]
    dealt: Dealt
    memory: Mapping[str, Memory]
    calibrations: Mapping[int, Calibration]
    cores: int

    @property
    def portion(self) -> Portion:
        """What it needs of the host."""
        return Portion(self.fitted.cores, math.ceil(needed_bytes(self.memory)), self.cores)

    @property
    def planned(self) -> tuple[Planned, ...]:
        """The plans."""
        return self.fitted.planned

    def fits(self, planned: Planned) -> bool:
        """Whether the agents' containers have the memory that another plan of a scheme asks for."""
        samples, footprint = self.dealt.dealings[planned.label].samples, planned.problem.workload.footprint
        peaks = agent_peaks(self.topology, planned, footprint, samples, self.fitted.bs_threads)
        return all(size <= self.memory[agent].limit_bytes for agent, size in peaks.items())

    @property
    def dilation(self) -> float:
        """Wall seconds per emulated second."""
        return self.fitted.dilation.value


def prepare(
    engine: Engine,
    topology: Topology,
    watcher: Watcher,
    known: Mapping[int, Calibration] | None = None,
    most_cores: int | None = None,
) -> Prepared:
    """Plans every scheme, calibrates the host and fits the dilation; nothing is created yet.

    What is wrong with the topology shows before a calibration that takes a while. With the calibrations that are
    ``known`` the plans are those that were made with them before. It is fitted to the cores and memory that other
    trials leave, and to no more than ``most_cores``; DeployError where they leave no core.
    """
    check_rows(topology)
    links.check_kernel(engine, topology.name, topology.radio)
    watcher(Stage("planning"))
    host = room(engine, topology.name)
    cores = host.cores_for(most_cores)
    if host.others:
        watcher(Learned(f"{host}; this trial is fitted to {cores}"))
    first = plan_all(topology)
    strikes_of(topology, first)
    limits(topology, first, host.memory_bytes, others=host.taken_bytes)
    watcher(Stage("calibrating the host"))
    calibrations = dict(known or {})

    def calibrated(threads: int) -> Calibration:
        if threads not in calibrations:
            calibrations[threads] = calibrate(engine, topology, threads)
        return calibrations[threads]

    found = differences(topology, calibrated(1).sizes)
    check_sizes(found)
    for one in found:
        watcher(Warned(str(one)))
    fitted = fit(topology, first, calibrated, cores)
    watcher(Learned(str(fitted)))
    idle = dict.fromkeys((BS, *(ue.name for ue in topology.ues)), LEAST_QUOTA_US)  # also of one that trains nothing
    quotas = QUOTAS_US[topology.compute](fitted.tasks, fitted.dilation.value)
    dealt = deal(topology, {one.label: one.plan for one in fitted.planned})
    gpu = deploy.gives_gpu(engine, topology)
    plans = [*fitted.planned, *fitted.later]
    memory = limits(topology, plans, host.memory_bytes, dealt.dealings, fitted.bs_threads, gpu, host.taken_bytes)
    return Prepared(topology, fitted, {**idle, **quotas}, dealt, memory, calibrations, cores)


def bring_up(engine: Engine, prepared: Prepared, owner: str, watcher: Watcher, mine: str = "") -> Deployment:
    """Deploys the topology, or finds it up already; returns when every agent is ready and limited.

    What it starts carries ``mine``, and is removed again if anything fails. DeployError when the name is taken by
    another topology or by a running trial.
    """
    mine = mine or deploy.new_id()
    topology = prepared.topology
    there = deploy.find(engine, topology.name)
    if there is not None and there.owner == "up" and there.digest == digest(topology, prepared.dealt.files):
        Injector(engine, there).open_links()  # a trial that was killed may have left some cut
        make_ready(engine, prepared, there, watcher)
        return there
    if there is not None or deploy.exists(engine, topology.name):
        raise DeployError(f"{topology.name} is already up", f"type: testbed down {topology.name}")
    watcher(Stage("starting containers"))
    try:
        limits_bytes = {agent: memory.limit_bytes for agent, memory in prepared.memory.items()}
        deployment = deploy.up(engine, topology, prepared.dealt.files, limits_bytes, owner, mine, prepared.portion)
        make_ready(engine, prepared, deployment, watcher)
        return deployment
    except BaseException:
        with undisturbed():
            deploy.remove_mine(engine, mine)
        raise


def make_ready(engine: Engine, prepared: Prepared, deployment: Deployment, watcher: Watcher) -> None:
    """Waits for the agents; only then limits their CPUs (an import of torch needs a core) and links."""
    with Session(engine, deployment, prepared.memory) as session:
        watcher(Stage("waiting for the agents"))
        session.await_ready()
    watcher(Stage("limiting CPUs and links"))
    quotas_us, weight_of = prepared.quotas_us, weights(prepared.fitted.tasks)

    def limit(agent: str) -> None:
        name = deployment.agents[agent].name
        engine.limit_cpu(name, PERIOD_US, quotas_us[agent])
        engine.weigh_cpu(name, weight_of.get(agent, 1))

    engine.parallel(limit, quotas_us)
    links.set_links(engine, deployment, prepared.planned[0].plan, prepared.topology.radio)


def save_logs(engine: Engine, deployment: Deployment, out: Path, watcher: Watcher) -> None:
    """What each agent printed, into ``logs/`` of the run directory. The trial has ended: a failure is only told of."""
    folder = out / "logs"
    try:
        with storing(folder):
            folder.mkdir(exist_ok=True)
            for name, state in deployment.agents.items():
                (folder / f"{name}.log").write_text(engine.logs(state.name))
    except TestbedError as error:
        watcher(Warned(f"logs are missing: {error.message}"))
