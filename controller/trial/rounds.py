"""The rounds of every scheme of a prepared topology on its deployment; each is recorded as it comes."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.job import Job
from agents.schedule.task import Schedule
from agents.schedule.without import contributions
from controller.judge.derive import accuracy_of, derive
from controller.judge.host_load import host_load
from controller.judge.measured import Happened, happened, idle_shares
from controller.judge.record import round_of
from controller.judge.results import Results, Round
from controller.planners.planning import Planned
from controller.planners.replanning import Course, Step
from controller.predict.channel import changes
from controller.predict.prediction import costs_of
from controller.predict.strikes import strikes_of
from controller.trial import checkpoints, lines
from controller.trial.checkpoints import Checkpoints
from controller.trial.duration import images_each
from controller.trial.host import host_facts
from controller.trial.job import deadline_s, job_of, most_bytes
from controller.trial.journal import FILE, RESULTS, Journal, Line
from controller.trial.lines import Clock
from controller.trial.losses import Loss, patience_s
from controller.trial.membership import Members, left_of
from controller.trial.nemesis import Nemesis
from controller.trial.prepare import Prepared
from controller.trial.replay import RESUMED, Replay
from controller.trial.resume import Begun, Point, at, drawn_until, last_losses, last_point, rounds_s
from controller.trial.revive import Restarts, gone, revive, told
from controller.trial.scrape import scrape
from controller.trial.session import Session
from controller.trial.shards import write_partition
from controller.trial.watch import (
    Changed,
    Coming,
    Evaluated,
    Redone,
    RoundBegins,
    RoundEnded,
    SchemeBegins,
    SchemeEnded,
    TrialBegins,
    TrialEnded,
    Warned,
    Watcher,
)
from testbed import data, links
from testbed.compute import PERIOD_US, UNLIMITED
from testbed.deploy import AIR, BS, MGMT, Deployment
from testbed.engine import Engine
from testbed.errors import StorageError, TestbedError, TrialError
from testbed.files import storing, write_atomically
from testbed.injection import Injector
from testbed.tuning import Tuner


class Trial:
    """The rounds of every scheme of a prepared topology on its deployment."""

    def __init__(
        self,
        engine: Engine,
        prepared: Prepared,
        deployment: Deployment,
        out: Path,
        watcher: Watcher,
        begun: Begun | None = None,
    ) -> None:
        """``begun``: the trial that it goes on with, where it was begun before."""
        self._engine, self._prepared, self._deployment = engine, prepared, deployment
        self._out, self._watcher, self._begun = out, watcher, begun
        self._topology = prepared.topology
        self._injector = Injector(engine, deployment)
        self._strikes = strikes_of(prepared.topology, prepared.planned)
        self._most_bytes = max(most_bytes(self._topology, one) for one in prepared.planned)

    def run(self) -> Results:
        """All schemes, one after another. Whatever happens, ``results.json`` holds what was measured."""
        dealings = self._prepared.dealt.dealings
        struck = self._begun.struck if self._begun else ()
        write_partition(self._out, self._topology, dealings)
        with (
            Session(self._engine, self._deployment, self._prepared.memory) as self._session,
            Tuner(self._engine, self._deployment) as self._tuner,
            Journal(self._out, *((self._begun.lines, self._begun.length) if self._begun else ())) as self._journal,
            Nemesis(self._injector, self._strikes, self._injected, struck) as self._nemesis,
        ):
            self._checkpoints = Checkpoints(self._out, self._topology, dealings, self._journal)
            agents = self._session.await_ready()
            if self._begun is None:
                self._begin(agents)
            else:
                self._resume(self._begun)
            try:
                for planned in self._prepared.planned:
                    if self._begun is not None and self._begun.ended(planned.label):
                        continue
                    self._scheme(planned)
                    self._watcher(SchemeEnded(planned.label, self._write().schemes[planned.label]))
            except BaseException as error:
                why = str(error) if isinstance(error, TestbedError) else type(error).__name__
                lost = error.lost if isinstance(error, TrialError) else ()
                with suppress(StorageError):  # of a full disk: what was written before stays
                    self._journal.append("end", [{"error": why, "lost": lost}])
                with suppress(StorageError):
                    self._write()
                self._watcher(TrialEnded(why, lost))
                raise
            self._journal.append("end", [{}])
            self._watcher(TrialEnded())
            return self._write()

    def _write(self) -> Results:
        results = derive(self._journal.lines)
        with storing(self._out / RESULTS):
            write_atomically(self._out / RESULTS, results.model_dump_json(indent=1) + "\n")
        return results

    def _begin(self, agents: Mapping[str, Any]) -> None:
        """Records and tells of whom, of what and on which host the trial is."""
        backend = links.backend_in_use(self._engine, self._deployment)
        host = {**host_facts(self._engine), "bs_device": agents[BS]["device"], "link_backend": backend}
        fitted, at = self._prepared.fitted, time.time()
        coming = tuple(Coming(p.label, p.rounds, fitted.takes.schemes_s[p.label]) for p in fitted.planned)
        head = lines.head(
            self._topology, host, self._prepared.dilation, self._prepared.calibrations, self._prepared.cores
        )
        self._journal.append("journal", [{**head, "coming": list(map(dataclasses.asdict, coming)), "at": at}])
        names = tuple(ue.name for ue in self._topology.ues)
        self._watcher(TrialBegins(self._topology.name, names, self._prepared.dilation, coming, at))

    def _resume(self, begun: Begun) -> None:
        """Tells again what the trial had told, and records from where it goes on."""
        replay = Replay()
        for line in begun.lines:
            for event in replay(line, self._out / FILE) if line["event"] != "end" else ():
                self._watcher(event)
        point = {"scheme": begun.under_way, "from_round": begun.point.from_round} if begun.under_way else {}
        self._journal.append("resume", [{**point, "at": time.time()}])
        if begun.under_way:
            self._watcher(self._redone(begun.under_way, begun.point, RESUMED))

    def _scheme(self, planned: Planned) -> None:
        plan, predicted, begun = planned.plan, planned.predicted, self._begun
        if begun is not None and begun.under_way == planned.label:
            self._all_rounds(planned, begun.point)
            return
        self._watcher(SchemeBegins(planned.label, planned.rounds, plan, predicted.round_s, predicted.bubble_rate))
        folder = self._out / planned.label
        with storing(folder / "plan.json"):
            folder.mkdir(exist_ok=True)
            write_atomically(folder / "plan.json", json.dumps(planned.to_json(), indent=1) + "\n")
        self._record("scheme", planned, [lines.beginning(planned, self._topology.training.target_accuracy)])
        self._all_rounds(planned, Point())

    def _all_rounds(self, planned: Planned, point: Point) -> None:
        """The rounds from a point on; from the last checkpoint on again as often as the base station dies."""
        restarts, broke = Restarts(), None
        while True:
            try:
                if broke is not None:
                    point = self._again(planned, *broke)
                self._rounds(planned, point, anew=broke is not None)
                return
            except TestbedError as error:
                if not gone(self._engine, self._deployment, self._session, error):
                    raise
                restarts.another(self._journal.lines, planned.label, error)
                broke = error, time.monotonic()

    def _again(self, planned: Planned, error: TestbedError, since: float) -> Point:
        """Has the base station started again, which was found to be gone at ``since``; where the scheme goes on."""
        self._watcher(Warned(f"{error.message}: it is started again"))
        self._deployment = revive(self._engine, self._session.deployment)
        self._session.rejoin(self._deployment)
        self._tuner.rejoin(self._deployment)
        self._session.await_ready()
        point = last_point(self._out, planned.label, self._journal.lines)
        self._record("restart", planned, [told(error, point.from_round, time.monotonic() - since)])
        self._watcher(self._redone(planned.label, point, error.message))
        return point

    def _redone(self, label: str, point: Point, why: str) -> Redone:
        return Redone(label, point.from_round, sum(rounds_s(self._journal.lines, label)), why)

    def _rounds(self, planned: Planned, point: Point, anew: bool) -> None:
        """All rounds after a point, or those until the target accuracy is reached."""
        count, training, label = planned.rounds, self._topology.training, planned.label
        every, saves = training.every(count), self._saves_every(planned)
        course = Course(self._topology, planned, self._prepared.fits)
        step, clock_s = at(course, planned, point, self._journal.lines)
        members = self._members(planned, course, point)
        job = self._set_up(planned, step, point, anew, members)
        counters = self._counters(label)
        for number in range(point.from_round + 1, count + 1):
            self._faults(planned, number, members.lost())
            for one in members.returned(job):
                self._record("returned", planned, [{"round": number, **dataclasses.asdict(one)}])
            before, step = step, course.step(number, clock_s)
            if step.why:
                members.set_links(step.now.plan)
            job = self._changed(planned, job, number, (before, step))
            row, left = self._round(planned, job, number, step, members)
            course.degraded(left)
            clock_s += row.round_s
            if number == count or number % every == 0:
                last = number == count or training.target_accuracy is not None
                accuracies, mean = self._evaluate(left, last)
                found = {"round": number, "emulated_s": clock_s, "accuracies": accuracies, "mean": mean}
                self._record("evaluation", planned, [found])
                self._watcher(Evaluated(planned.label, number, clock_s, accuracy_of(found)))
                if training.target_accuracy and accuracy_of(found) >= training.target_accuracy:
                    break
            if saves and number % saves == 0 and number < count:
                counted = self._counted(label, point, counters)
                self._checkpoints.save(label, number, job.plan, self._session.state(), **counted)
                members.saved()
        self._nemesis.scheme_ends()
        self._record(
            "scheme_end", planned, [{**self._counted(label, point, counters), "weights": self._session.weights()}]
        )

    def _members(self, planned: Planned, course: Course, point: Point) -> Members:
        """The UEs that take part after a point. Who was away then is taken up as one that is back."""
        label, checkpoint = planned.label, self._checkpoints.checkpointed
        drawn = drawn_until(point, label, self._journal.lines)
        members = Members(self._engine, self._prepared, self._session, course, self._most_bytes, drawn, checkpoint)
        for loss in last_losses(point, label, self._journal.lines, course.away):
            self._session.leave(loss)
        return members

    def _set_up(self, planned: Planned, step: Step, point: Point, anew: bool, members: Members) -> Job:
        """Links and agents as they were after the round of a point; the job that agents then had."""
        members.set_links(step.now.plan)
        job = job_of(self._prepared, planned, self._deployment.addresses(AIR)[BS])
        if point.checkpoint is not None:
            plan = replace(step.now.plan, moving=None)  # what moved has moved
            job = job.changed(plan, costs_of(step.now.instance), deadline_s(step.now))
        with self._unlimited(self._prepared.quotas_us):  # building a model and its first passes are not emulated
            self._session.configure(job, self._most_bytes, anew)
            if point.checkpoint is not None:
                self._session.restore(self._checkpoints.states(planned.label, point.checkpoint, step.now.plan))
        return job

    def _saves_every(self, planned: Planned) -> int:
        round_s = self._prepared.fitted.takes.schemes_s[planned.label] / planned.rounds
        return checkpoints.every(self._topology, planned.rounds, round_s)

    def _counted(self, label: str, point: Point, before: tuple[float, float]) -> dict[str, float]:
        """What the BS's counters have grown by in a scheme: until a point, and since then."""
        idle_s, busy_s = (
            counted + after - b for counted, after, b in zip(point.counted, self._counters(label), before, strict=True)
        )
        return {"scraped_idle_s": idle_s, "scraped_busy_s": busy_s}

    def _changed(self, planned: Planned, job: Job, number: int, steps: tuple[Step, Step]) -> Job:
        """Links and agents brought from one round to the next; the job that they do in it."""
        before, now = (step.now for step in steps)
        if steps[1].gained_s is not None:
            self._record("plan", planned, [lines.made(number, steps[1])])
        if not steps[1].kept:
            self._watcher(Changed(planned.label, number, "plan"))
        found = list(changes(number, before, now))
        if not found and now.plan == before.plan:
            return job
        if not steps[1].why:
            self._tuner.follow(before.plan, now.plan, self._session.there)
        job = job.changed(now.plan, costs_of(now.instance), deadline_s(now))
        with self._unlimited(() if steps[1].kept else self._prepared.quotas_us):  # first passes are not emulated
            self._session.change(job)
        self._record("change", planned, map(dataclasses.asdict, found))
        if found:
            self._watcher(Changed(planned.label, number, "channel"))
        return job

    def _faults(self, planned: Planned, number: int, losses: Sequence[Loss], clock: Clock | None = None) -> list[Line]:
        """Records and tells of UEs that were lost; ``clock``: of the segment in which they were, if in any."""
        found = [lines.fault(number, loss, clock) for loss in losses]
        self._record("fault", planned, found)
        if found:
            self._watcher(Changed(planned.label, number, "fault"))
        return found

    def _round(self, planned: Planned, job: Job, number: int, step: Step, members: Members) -> tuple[Round, Schedule]:
        """One round, segment by segment, recorded; and what was left of it, where UEs were lost."""
        rows: list[Happened] = []
        host: list[Any] = []
        clock_s, train_loss = 0.0, 0.0
        plan = step.now.plan
        predicted = step.predicted
        begins = RoundBegins(planned.label, number, plan, **predicted, at=time.time())
        self._record("round_begins", planned, [{"round": number, **predicted, "at": begins.at}])
        self._watcher(begins)
        whole = job.schedule(number)
        self._session.begin_round(number, whole.ues)
        faults = self._faults(planned, number, losses := members.lost())
        self._nemesis.round_begins(planned.label, number, whole, step.now.timeline, plan.time_dilation)
        for index in range(whole.segments):
            self._nemesis.segment_begins(index)
            report = self._session.segment(index, self._patience_s(job, step, index), job.deadline_s)
            losses += (found := members.lost())
            faults += self._faults(planned, number, found, Clock(report.start_ns, clock_s, job.plan.time_dilation))
            rows += happened(number, report.events, report.start_ns, job.plan.time_dilation, clock_s)
            clock_s = max((row.end_s for row in rows), default=clock_s)
            train_loss = report.train_loss
            host.append(report.host)
        left = left_of(whole, losses)
        members.taken(shares := contributions(whole, left))
        ended = lines.ended(number, step, train_loss, host, shares, faults)
        row = round_of(ended, rows)
        self._session.end_round(row.round_s)
        self._record("task", planned, map(dataclasses.asdict, rows))
        over_at = time.time()
        ended["at"] = over_at
        if report.dropped:
            ended["dropped"] = report.dropped
        self._record("round", planned, [ended])
        idle, load = idle_shares(plan.ues, rows, row.round_s), host_load(host, [one for one in rows if one.computed])
        self._watcher(RoundEnded(planned.label, row, idle, over_at, load))
        return row, left

    def _patience_s(self, job: Job, step: Step, index: int) -> float:
        """Wall seconds after which a segment of a round is late."""
        predicted_s = step.now.timeline.segments_s[index : index + 1] or (step.now.timeline.round_s,)
        return patience_s(predicted_s[0], job.plan.time_dilation, job.paced)

    def _injected(self, event: str, line: Mapping[str, Any]) -> None:
        self._journal.append(event, [line])

    def _record(self, event: str, planned: Planned, found: Iterable[Mapping[str, Any]]) -> None:
        self._journal.append(event, ({"scheme": planned.label, **line} for line in found))

    def _evaluate(self, schedule: Schedule, last: bool) -> tuple[dict[str, float], float | None]:
        """Test accuracy of each UE's model; where weights are shared, of the one that all have, or that the BS has.

        Of many models each sees a share of the test images, but for the ``last``. Outside emulated time, so the BS may
        use the whole host.
        """
        asked = schedule.holders[:1] if schedule.shares_weights else schedule.ues
        asked = tuple(ue for ue in asked if ue not in self._session.away)
        images = images_each(max(1, len(asked)), data.info(self._topology.data).test, last)
        with self._unlimited([BS]):
            return self._session.evaluate(asked, not schedule.shares_weights and len(asked) > 1, images)

    @contextmanager
    def _unlimited(self, agents: Iterable[str]) -> Iterator[None]:
        """No CPU quota for these agents meanwhile."""
        away = self._session.away
        names = {agent: self._deployment.agents[agent].name for agent in agents if agent not in away}
        self._engine.parallel(lambda name: self._engine.limit_cpu(name, PERIOD_US, UNLIMITED), names.values())
        yield
        quotas_us, limited = self._prepared.quotas_us, [agent for agent in names if agent not in away]
        self._engine.parallel(lambda agent: self._engine.limit_cpu(names[agent], PERIOD_US, quotas_us[agent]), limited)

    def _counters(self, label: str) -> tuple[float, float]:
        """Idle and busy seconds that the BS's ``/metrics`` shows for a scheme (0 before its first round)."""
        samples = scrape(self._deployment.addresses(MGMT)[BS])
        labels = frozenset({"trial": self._topology.name, "scheme": label}.items())
        names = ("testbed_bs_idle_seconds_total", "testbed_bs_busy_seconds_total")
        idle_s, busy_s = (samples.get((name, labels), 0.0) for name in names)
        return idle_s, busy_s
