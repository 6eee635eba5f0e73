"""The rounds of every scheme of a prepared topology on its deployment; what was measured is written as it comes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from agents.plan import Job, Plan, Privacy
from agents.scheme import SCHEMES
from controller.judge.host_load import Sights
from controller.judge.measured import Happened, after_warm_up, happened, round_row, spread, ue_results
from controller.judge.results import Accuracy, Results, Round, SchemeResult, Scraped, Summary, Target
from controller.judge.verdict import gather, judge
from controller.planners.planning import Planned
from controller.predict.channel import Moment, at_plan_rates, changes, moment
from controller.predict.instance import Instance
from controller.predict.timing import per_sample, stations
from controller.trial.host import host_facts
from controller.trial.prepare import Prepared
from controller.trial.scrape import scrape
from controller.trial.session import Session
from controller.trial.watch import RoundEnded, SchemeBegins, Watcher
from testbed import data, deploy, links
from testbed.compute import PERIOD_US, UNLIMITED
from testbed.deploy import BS, MGMT, Deployment
from testbed.engine import Engine
from testbed.tuning import Tuner

AVERAGE = "average"
CURVE_POINTS = 4
LEAST_DEADLINE_S = 20.0


class Trial:
    """The rounds of every scheme of a prepared topology on its deployment."""

    def __init__(self, engine: Engine, prepared: Prepared, deployment: Deployment, out: Path, watcher: Watcher) -> None:
        self._engine, self._prepared, self._deployment = engine, prepared, deployment
        self._out, self._watcher = out, watcher
        self._topology = prepared.topology
        self._sights: list[Sights] = []

    def run(self) -> Results:
        """All schemes, one after another; what has been measured is written as soon as it is."""
        schemes: dict[str, SchemeResult] = {}
        (self._out / "partition.json").write_text(json.dumps(self._prepared.dealt.description, indent=1) + "\n")
        with (
            Session(self._engine, self._deployment) as session,
            Tuner(self._engine, self._deployment) as self._tuner,
            (self._out / "events.jsonl").open("w") as log,
        ):
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

    def _scheme(self, session: Session, planned: Planned, log: IO[str]) -> SchemeResult:
        plan = planned.plan
        folder = self._out / planned.label
        folder.mkdir(exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(planned.to_json(), indent=1) + "\n")
        links.set_links(self._engine, self._deployment, plan, self._topology.radio)
        job = self._job(planned, planned.problem, planned.predicted.round_s)
        before = self._counters(planned.label)
        with self._unlimited(self._prepared.quotas_us):  # building a model and its first passes are not emulated
            session.configure(job)
        self._sights.clear()
        plans: dict[int, Plan] = {}
        rounds, rows, accuracy = self._rounds(session, planned, job, log, plans)
        summary = _summary(rounds)
        ues = ue_results(plan, rows, rounds)
        return SchemeResult(
            plan=plan.to_json(),
            predicted=dataclasses.asdict(planned.predicted),
            rounds=rounds,
            summary=summary,
            accuracy=accuracy,
            ues=ues,
            scraped=_scraped(before, self._counters(planned.label), rounds),
            fidelity=judge(gather(planned, rounds, summary, at_plan_rates(plan, rows, plans), self._sights)),
        )

    def _rounds(
        self, session: Session, planned: Planned, job: Job, log: IO[str], plans: dict[int, Plan]
    ) -> tuple[list[Round], list[Happened], Accuracy]:
        """All rounds, or those until the target accuracy is reached; the plan of each is left in ``plans``."""
        count, training = planned.rounds, self._topology.training
        every = training.evaluate_every or (1 if training.target_accuracy else max(1, count // CURVE_POINTS))
        self._watcher(SchemeBegins(planned.label, count))
        rounds: list[Round] = []
        rows: list[Happened] = []
        curve: list[tuple[int, float, float]] = []
        found: dict[str, float] = {}
        now = Moment(planned.problem, planned.plan, planned.timeline)
        for number in range(1, count + 1):
            before, now = now, moment(self._topology, planned, number, sum(r.round_s for r in rounds))
            job, plans[number] = self._retuned(session, planned, job, number, (before, now), log), now.plan
            measured, train_loss = self._round(session, job, number)
            rounds.append(round_row(number, measured, train_loss, now.timeline))
            session.end_round(rounds[-1].round_s)
            rows += measured
            log.writelines(json.dumps({"scheme": planned.label, **dataclasses.asdict(r)}) + "\n" for r in measured)
            log.flush()
            self._watcher(RoundEnded(planned.label, rounds[-1]))
            if number == count or number % every == 0:
                found = self._evaluate(session, job)
                curve.append((number, sum(r.round_s for r in rounds), _mean(found)))
                if training.target_accuracy and curve[-1][2] >= training.target_accuracy:
                    break
        return rounds, rows, _accuracy(found, curve, training.target_accuracy)

    def _retuned(
        self, session: Session, planned: Planned, job: Job, number: int, moments: tuple[Moment, Moment], log: IO[str]
    ) -> Job:
        """Links and agents brought from one moment to the next before a round; the job that they do in it."""
        before, now = moments
        found = list(changes(number, before, now))
        if not found:
            return job
        self._tuner.follow(before.plan, now.plan)
        job = self._job(dataclasses.replace(planned, plan=now.plan), now.instance, now.timeline.round_s)
        session.retune(job)
        log.writelines(json.dumps({"scheme": planned.label, **dataclasses.asdict(c)}) + "\n" for c in found)
        return job

    def _round(self, session: Session, job: Job, number: int) -> tuple[list[Happened], float]:
        """One round, phase by phase: its events on the round's clock, and the training loss."""
        rows: list[Happened] = []
        clock_s = 0.0
        for index in range(len(job.plan.phases(job.duplex))):
            report = session.phase(number, index, job.deadline_s)
            rows += happened(number, report.events, report.start_ns, job.plan.time_dilation, clock_s)
            clock_s = max((row.end_s for row in rows), default=clock_s)
            self._sights.append(report.seen)
        return rows, report.train_loss

    def _evaluate(self, session: Session, job: Job) -> dict[str, float]:
        """Test accuracy per UE half that trains; where halves are shared, of the one that all have.

        Outside emulated time, so whoever works for it may use a whole core.
        """
        plan = job.plan
        shared = SCHEMES[plan.scheme].ue_weights == "shared"
        holders = (list(plan.phases(job.duplex)[-1].heirs) if shared else []) or list(plan.clusters)
        asked = holders[:1] if shared else holders
        with self._unlimited([BS, *asked]):
            return session.evaluate(asked)

    @contextmanager
    def _unlimited(self, agents: Iterable[str]) -> Iterator[None]:
        """No CPU quota for these agents meanwhile."""
        names = {agent: self._deployment.agents[agent].name for agent in agents}
        for name in names.values():
            self._engine.limit_cpu(name, PERIOD_US, UNLIMITED)
        yield
        for agent, name in names.items():
            self._engine.limit_cpu(name, PERIOD_US, self._prepared.quotas_us[agent])

    def _counters(self, label: str) -> tuple[float, float]:
        """Idle and busy seconds that the BS's ``/metrics`` shows for a scheme (0 before its first round)."""
        samples = scrape(self._deployment.addresses(MGMT)[BS])
        labels = frozenset({"trial": self._topology.name, "scheme": label}.items())
        names = ("testbed_bs_idle_seconds_total", "testbed_bs_busy_seconds_total")
        idle_s, busy_s = (samples.get((name, labels), 0.0) for name in names)
        return idle_s, busy_s

    def _job(self, planned: Planned, problem: Instance, round_s: float) -> Job:
        t, plan = self._topology, planned.plan
        each = dict(zip(plan.ues, stations(problem, planned.decision), strict=True))
        whole = per_sample(problem, plan.cut, problem.rate_up, problem.rate_down)
        wall_s = round_s * plan.time_dilation
        return Job(
            trial=t.name,
            label=planned.label,
            plan=plan,
            model=t.model.name,
            norm=t.model.norm,
            dataset=t.data.name,
            dataset_info=data.info(t.data),
            lr=t.training.lr,
            momentum=t.training.momentum,
            seed=t.seed,
            paced=t.compute == "paced",
            duplex=t.radio.duplex,
            ue_forward_s_per_sample={ue: float(per.ue_forward[0]) for ue, per in each.items()},
            ue_backward_s_per_sample={ue: float(per.ue_backward[0]) for ue, per in each.items()},
            bs_forward_s_per_sample={BS: whole.bs_forward, **{ue: per.bs_forward for ue, per in each.items()}},
            bs_backward_s_per_sample={BS: whole.bs_backward, **{ue: per.bs_backward for ue, per in each.items()}},
            deadline_s=max(LEAST_DEADLINE_S, 10.0 * wall_s),
            bs_address=self._deployment.addresses(deploy.AIR)[BS],
            shares=dict(self._prepared.dealt.shares),
            privacy=Privacy(**planned.privacy.model_dump()) if planned.privacy else None,
            delay_s=planned.problem.delay_s,
        )


def _mean(found: dict[str, float]) -> float:
    each = [accuracy for name, accuracy in found.items() if name != AVERAGE]
    return sum(each) / len(each)


def _accuracy(found: dict[str, float], curve: Sequence[tuple[int, float, float]], target: float | None) -> Accuracy:
    number, emulated_s, final = curve[-1]
    return Accuracy(
        final=final,
        per_ue={name: accuracy for name, accuracy in found.items() if name != AVERAGE},
        curve=list(curve),
        averaged=found.get(AVERAGE),
        target=None
        if target is None
        else Target(accuracy=target, reached=final >= target, round=number, emulated_s=emulated_s),
    )


def _summary(rounds: list[Round]) -> Summary:
    counted = after_warm_up(rounds)
    return Summary(
        round_s=spread([r.round_s for r in counted]),
        bubble_rate=spread([r.bubble_rate for r in counted]).median,
        round_error=spread([r.round_s / r.predicted_s - 1.0 for r in counted if r.predicted_s]).median,
        bubble_rate_error=spread(
            [r.bubble_rate - r.predicted_bubble_rate for r in counted if r.predicted_bubble_rate is not None]
        ).median,
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
