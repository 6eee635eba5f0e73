"""A field trial: push plans, run rounds, collect events, write results."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.catalog import UNITS
from agents.data import LOADERS, partition_iid
from agents.plan import Job, Plan
from agents.scheme import SCHEMES
from controller.demand import need, pick_dilation
from controller.fidelity import judge
from controller.host import host_facts
from controller.instance import instance
from controller.measured import Happened, after_warm_up, happened, round_row, spread, ue_results
from controller.planning import Planned, plan_all
from controller.results import Accuracy, Results, Round, SchemeResult, Scraped, Summary
from controller.scrape import scrape
from controller.session import Session
from controller.timing import decision_per_sample
from controller.watch import RoundEnded, SchemeBegins, Stage, Watcher
from controller.workload import workload
from testbed import deploy, links
from testbed.calibration import calibrate
from testbed.compute import LEAST_QUOTA_US, PERIOD_US, UNLIMITED, quotas_us
from testbed.deploy import BS, MGMT, Deployment
from testbed.engine import Engine
from testbed.errors import DeployError, InputError
from testbed.loading import digest
from testbed.topology import Topology

CURVE_POINTS = 4
LEAST_DEADLINE_S = 20.0


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A topology that is ready to be deployed: its plans, the dilation, and each agent's CPU quota."""

    topology: Topology
    planned: tuple[Planned, ...]
    dilation: float
    quotas_us: Mapping[str, int]


def prepare(engine: Engine, topology: Topology, watcher: Watcher) -> Prepared:
    """Plans every scheme, calibrates the host and fits the dilation; nothing is created yet."""
    units = UNITS[topology.model.name]
    if len(topology.model.units) != len(units):
        message = f"has {len(topology.model.units)} units, but {topology.model.name} has {len(units)}"
        raise InputError("model.profile", message, "a trial needs a row per unit; testbed plan takes any")
    links.check_kernel(engine, topology.radio)
    watcher(Stage("planning"))
    planned = plan_all(topology)
    watcher(Stage("calibrating the host"))
    problem = instance(topology, workload(topology))
    needed = need(problem, calibrate(engine, topology), planned)
    dilation = pick_dilation(topology, needed, int(engine.info()["NCPU"]))
    dilated = tuple(dataclasses.replace(p, plan=dataclasses.replace(p.plan, time_dilation=dilation)) for p in planned)
    idle = dict.fromkeys((ue.name for ue in topology.ues), LEAST_QUOTA_US)  # also of a UE that trains nothing
    return Prepared(topology, dilated, dilation, {**idle, **quotas_us(needed.tasks, dilation)})


def bring_up(engine: Engine, prepared: Prepared, owner: str, watcher: Watcher) -> Deployment:
    """Deploys the topology, or finds it up already; returns when every agent is ready and limited.

    DeployError when the name is taken by another topology or by a running trial.
    """
    topology = prepared.topology
    there = deploy.find(engine, topology.name)
    if there is not None and there.owner == "up" and there.digest == digest(topology):
        make_ready(engine, prepared, there, watcher)
        return there
    if there is not None or deploy.exists(engine, topology.name):
        raise DeployError(f"{topology.name} is already up", f"type: testbed down {topology.name}")
    watcher(Stage("starting containers"))
    deployment = deploy.up(engine, topology, shards(topology), owner)
    try:
        make_ready(engine, prepared, deployment, watcher)
    except BaseException:
        deploy.down(engine, topology.name)
        raise
    return deployment


def make_ready(engine: Engine, prepared: Prepared, deployment: Deployment, watcher: Watcher) -> None:
    """Waits for the agents; only then limits their CPUs (an import of torch needs a core) and links."""
    with Session(engine, deployment) as session:
        watcher(Stage("waiting for the agents"))
        session.await_ready()
    watcher(Stage("limiting CPUs and links"))
    for agent, quota_us in prepared.quotas_us.items():
        engine.limit_cpu(deployment.agents[agent].name, PERIOD_US, quota_us)
    links.set_links(engine, deployment, prepared.planned[0].plan, prepared.topology.radio)


def shards(topology: Topology) -> dict[str, bytes]:
    """What each agent gets mounted: a UE its private shard, the BS the test set."""
    train, test = LOADERS[topology.data.name]()
    parts = partition_iid(train, [ue.name for ue in topology.ues], topology.seed)
    return {BS: test.to_bytes(), **{ue: part.to_bytes() for ue, part in parts.items()}}


class Trial:
    """The rounds of every scheme of a prepared topology on its deployment."""

    def __init__(self, engine: Engine, prepared: Prepared, deployment: Deployment, out: Path, watcher: Watcher) -> None:
        self._engine, self._prepared, self._deployment = engine, prepared, deployment
        self._out, self._watcher = out, watcher
        self._topology = prepared.topology
        self._problem = instance(self._topology, workload(self._topology))

    def run(self) -> Results:
        """All schemes, one after another; what has been measured is written as soon as it is."""
        schemes: dict[str, SchemeResult] = {}
        with Session(self._engine, self._deployment) as session, (self._out / "events.jsonl").open("w") as log:
            agents = session.await_ready()
            backend = links.backend_in_use(self._engine, self._deployment)
            host = {**host_facts(self._engine), "bs_device": agents[BS]["device"], "link_backend": backend}
            for planned in self._prepared.planned:
                schemes[planned.label] = self._scheme(session, planned, log)
                results = Results(
                    topology=self._topology.model_dump(mode="json"),
                    host=host,
                    time_dilation=self._prepared.dilation,
                    schemes=schemes,
                )
                (self._out / "results.json").write_text(results.model_dump_json(indent=1) + "\n")
        return results

    def _scheme(self, session: Session, planned: Planned, log: Any) -> SchemeResult:
        plan, count = planned.plan, self._topology.training.rounds
        folder = self._out / planned.label
        folder.mkdir(exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(planned.to_json(), indent=1) + "\n")
        links.set_links(self._engine, self._deployment, plan, self._topology.radio)
        job = self._job(planned)
        before = self._counters(planned.label)
        session.configure(job)
        self._watcher(SchemeBegins(planned.label, count))
        rounds: list[Round] = []
        rows: list[Happened] = []
        curve: list[tuple[int, float, float]] = []
        per_ue: dict[str, float] = {}
        for number in range(1, count + 1):
            report = session.round(number, job.deadline_s)
            measured = happened(number, report.events, report.start_ns, plan.time_dilation)
            rounds.append(round_row(number, measured, report.train_loss))
            session.end_round(rounds[-1].round_s)
            rows += measured
            log.writelines(json.dumps({"scheme": planned.label, **dataclasses.asdict(row)}) + "\n" for row in measured)
            log.flush()
            self._watcher(RoundEnded(planned.label, rounds[-1]))
            if number == count or number % max(1, count // CURVE_POINTS) == 0:
                per_ue = self._evaluate(session, plan, job.deadline_s)
                emulated_s = sum(row.round_s for row in rounds)
                curve.append((number, emulated_s, sum(per_ue.values()) / len(per_ue)))
        summary = _summary(planned, rounds)
        ues = ue_results(plan, rows, rounds)
        return SchemeResult(
            plan=plan.to_json(),
            predicted=dataclasses.asdict(planned.predicted),
            rounds=rounds,
            summary=summary,
            accuracy=Accuracy(final=curve[-1][2], per_ue=per_ue, curve=curve),
            ues=ues,
            scraped=_scraped(before, self._counters(planned.label), rounds),
            fidelity=judge(plan, summary, rows, ues),
        )

    def _evaluate(self, session: Session, plan: Plan, deadline_s: float) -> dict[str, float]:
        """Test accuracy per UE half that trains; where one half is handed on, that of the UE which holds it.

        Outside emulated time, so the BS may use a whole core for it.
        """
        handed = SCHEMES[plan.scheme].ue_weights == "handed"
        holders = list(plan.ues)[:1] if handed else [name for name, ue in plan.ues.items() if ue.batch]
        bs = self._deployment.agents[BS].name
        self._engine.limit_cpu(bs, PERIOD_US, UNLIMITED)
        try:
            return session.evaluate(holders, deadline_s)
        finally:
            self._engine.limit_cpu(bs, PERIOD_US, self._prepared.quotas_us[BS])

    def _counters(self, label: str) -> tuple[float, float]:
        """Idle and busy seconds that the BS's ``/metrics`` shows for a scheme (0 before its first round)."""
        samples = scrape(self._deployment.addresses(MGMT)[BS])
        labels = frozenset({"trial": self._topology.name, "scheme": label}.items())
        names = ("testbed_bs_idle_seconds_total", "testbed_bs_busy_seconds_total")
        idle_s, busy_s = (samples.get((name, labels), 0.0) for name in names)
        return idle_s, busy_s

    def _job(self, planned: Planned) -> Job:
        t, plan = self._topology, planned.plan
        per = decision_per_sample(self._problem, planned.decision)
        wall_s = planned.predicted.round_s * plan.time_dilation
        return Job(
            trial=t.name,
            label=planned.label,
            plan=plan,
            model=t.model.name,
            norm=t.model.norm,
            dataset=t.data.name,
            lr=t.training.lr,
            momentum=t.training.momentum,
            seed=t.seed,
            paced=t.compute == "paced",
            duplex=t.radio.duplex,
            ue_forward_s_per_sample=dict(zip(plan.ues, per.ue_forward.tolist(), strict=True)),
            ue_backward_s_per_sample=dict(zip(plan.ues, per.ue_backward.tolist(), strict=True)),
            bs_forward_s_per_sample=per.bs_forward,
            bs_backward_s_per_sample=per.bs_backward,
            deadline_s=max(LEAST_DEADLINE_S, 10.0 * wall_s),
            bs_address=self._deployment.addresses(deploy.AIR)[BS],
        )


def _summary(planned: Planned, rounds: list[Round]) -> Summary:
    counted = after_warm_up(rounds)
    round_s = spread([r.round_s for r in counted])
    bubble_rate = spread([r.bubble_rate for r in counted]).median
    return Summary(
        round_s=round_s,
        bubble_rate=bubble_rate,
        round_error=round_s.median / planned.predicted.round_s - 1.0,
        bubble_rate_error=bubble_rate - planned.predicted.bubble_rate,
    )


def _scraped(before: tuple[float, float], after: tuple[float, float], rounds: list[Round]) -> Scraped:
    """What the counters grew by, beside the sums of the rounds."""
    idle_s, busy_s = after[0] - before[0], after[1] - before[1]
    events_idle_s = sum(r.bs_idle_s for r in rounds)
    return Scraped(
        bs_idle_s=idle_s,
        bubble_rate=idle_s / (idle_s + busy_s) if idle_s + busy_s else 0.0,
        events_bs_idle_s=events_idle_s,
        events_bubble_rate=events_idle_s / sum(r.round_s for r in rounds),
    )


def save_logs(engine: Engine, deployment: Deployment, out: Path) -> None:
    """What each agent printed, into ``logs/`` of the run directory."""
    folder = out / "logs"
    folder.mkdir(exist_ok=True)
    for name, state in deployment.agents.items():
        (folder / f"{name}.log").write_text(engine.logs(state.name))
