"""The controller's conversation with the agents of one deployment."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agents.job import CONFIGURE_S, Job
from agents.ports import CONTROL_PORT
from agents.schedule.task import Key
from agents.wire.frames import NOTHING, Sealed
from agents.wire.mgmt import AgentsFailed, AgentSilent, ControlClient, Failure, Report
from controller.judge.host_load import Counters
from controller.trial.losses import LOOK_S, PATIENCE_S, Lookout, Loss, LossKind
from controller.trial.memory import Memory
from testbed.container import ContainerState
from testbed.deploy import BS, MGMT, Deployment, controller_keys
from testbed.engine import Engine
from testbed.errors import GoneError, TrialError
from testbed.events import ContainerEvent

READY_S = 180.0  # on an emulated processor an import of torch takes a minute
BETWEEN_S = 60.0  # for what is not emulated, between rounds
_UNKNOWN: Mapping[str, Memory] = {}
_SMALLER = "lower training.batch, or cut earlier"
EVENTS_S = 10.0
"""Wall seconds within which an engine tells what it has done."""
ABANDONS_S = 5.0
"""Wall seconds that a UE has to say that it waits no longer in a round that is given up."""
GREET_S = 3.0
"""Wall seconds that a UE has to reach the BS again over the air; else it is looked for before the next round."""
LEAD_NS = 30_000_000
"""How far ahead a segment's start is set, so that every agent knows of it in time."""


@dataclass(frozen=True)
class SegmentReport:
    """What the agents answered about a segment: its start (monotonic ns), raw events, the loss of the round so far.

    ``host``: what each counted on its host meanwhile (``agents.host_counters``); ``dropped``: what each has dropped
    of what came over the air since the trial began, by reason.
    """

    start_ns: int
    events: list[dict[str, Any]]
    train_loss: float
    host: Counters
    dropped: Mapping[str, Mapping[str, int]]


class Session:
    """Requests to all agents side by side; an agent that failed, or a BS that stopped or fell silent, is a TrialError.

    A UE that stops or falls silent once a scheme was configured is ``away`` from then on: nobody waits for it, and it
    is asked nothing, until it is ``back``.
    """

    def __init__(self, engine: Engine, deployment: Deployment, memory: Mapping[str, Memory] = _UNKNOWN) -> None:
        """``memory``: what each agent was given, for the words when it was too little."""
        self._engine, self._deployment, self._memory = engine, deployment, memory
        self._events = engine.watch(deployment.trial)
        self._client = self._connected()
        self.away: dict[str, Loss] = {}
        self._new: list[Loss] = []
        self._stopped: set[str] = set()
        self._gone: set[str] = set()
        self._going = self._open = self._in_round = False
        self._lookout = Lookout(PATIENCE_S)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._events.close()

    def await_ready(self, timeout_s: float = READY_S) -> dict[str, Any]:
        """Waits until every agent answers; what each said of itself."""
        return {name: header for name, (header, _) in self._request({"verb": "hello"}, timeout_s).items()}

    def rejoin(self, deployment: Deployment) -> None:
        """Talks to the agents of the deployment as it now is; they give up what was asked of them before."""
        self._client.close()
        self._deployment = deployment
        self._client = self._connected()
        self._open = self._in_round = False
        self._await_restart()
        self._client.ask_those_there({ue: {"verb": "abandon"} for ue in self.there}, ABANDONS_S)

    def _await_restart(self) -> None:
        """Takes note of what the engine tells until the BS was started again, so that no older end is met later."""
        late = time.monotonic() + EVENTS_S
        while not self._notice(but=BS) and time.monotonic() < late:
            time.sleep(0.02)

    def _connected(self) -> ControlClient:
        deployment = self._deployment
        return ControlClient(controller_keys(self._engine, deployment.trial), deployment.addresses(MGMT), CONTROL_PORT)

    def answers(self, name: str, timeout_s: float) -> bool:
        """Whether an agent that is asked for nothing else gives an answer in time."""
        try:
            self._client.ask({name: ({"verb": "hello"}, NOTHING)}, timeout_s)
        except AgentSilent:
            return False
        return True

    def state(self) -> dict[str, Report]:
        """What every agent is between two rounds."""
        return self._request({"verb": "state"}, BETWEEN_S)

    def restore(self, states: Mapping[str, Report], skipped: int = 0) -> None:
        """Every agent is from now on what it was then; UEs have drawn so many samples more, and ``skipped`` them."""
        more = {"verb": "restore", "skipped": skipped}
        requests = {name: ({**more, "state": header}, sealed) for name, (header, sealed) in states.items()}
        self._ask(requests, "restore", BETWEEN_S)

    def weights(self) -> str:
        """SHA-256 of the weights and statistics of all agents: of a JSON object of each one's own digest, by name."""
        found = {name: header["weights"] for name, (header, _) in self._request({"verb": "digest"}, BETWEEN_S).items()}
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()

    def configure(self, job: Job, most_bytes: int, anew: bool = False) -> None:
        """Gives every agent the job of a scheme; returns when all UEs reached the BS over the air.

        ``most_bytes``: no tensor that the air carries is larger. ``anew``: UEs drop what they had not sent yet.
        """
        listen = {"verb": "open", "label": job.label, "ues": list(job.plan.ues), "most_bytes": most_bytes}
        self._request(listen, BETWEEN_S, [BS])
        self._going = self._open = True
        self._in_round = False
        for ue in self.away:
            self._beside([BS], {"verb": "lose", "ue": ue})
        request = {"verb": "configure", "job": job.to_json(), "most_bytes": most_bytes, "anew": anew}
        self._request(request, CONFIGURE_S + 10.0)

    def change(self, job: Job) -> None:
        """Tells every agent by which plan, and at which speeds, the rounds that follow are done."""
        request = {"verb": "change", "plan": job.plan.to_json(), "costs": job.costs.to_json()}
        self._request({**request, "deadline_s": job.deadline_s}, CONFIGURE_S)

    def begin_round(self, number: int, taking_part: Sequence[str]) -> None:
        """Every agent takes up a round: what it has to do, and what will arrive. No emulated time passes.

        Those who should take part and are away are left out of it at once.
        """
        self._request({"verb": "begin_round", "round": number}, BETWEEN_S)
        self._in_round = True
        for ue in taking_part:
            if ue in self.away:
                self._prune(ue, ())

    def segment(self, index: int, patience_s: float, deadline_s: float) -> SegmentReport:
        """Runs one segment of the round that has begun; all agents start it at the same instant.

        UEs that keep the others waiting for longer than ``patience_s`` are lost, and all are given that time again.
        """
        self._lookout = Lookout(patience_s, in_segment=True)
        start_ns = time.monotonic_ns() + LEAD_NS
        request = {"verb": "segment", "segment": index, "start_ns": start_ns}
        answers = {name: header for name, (header, _) in self._request(request, deadline_s + 10.0).items()}
        self._lookout = Lookout(PATIENCE_S)
        headers = answers.values()
        events = [event for header in headers for event in header["events"]]
        samples = sum(header["loss_samples"] for header in headers)
        loss = sum(header["loss_sum"] for header in headers) / max(1, samples)
        host = {name: header["host"] for name, header in answers.items()}
        dropped = {name: header["dropped"] for name, header in answers.items() if header["dropped"]}
        return SegmentReport(start_ns, events, loss, host, dropped)

    def end_round(self, round_s: float) -> None:
        """Tells every agent how long the round was, for its meters."""
        self._in_round = False
        self._request({"verb": "end_round", "round_s": round_s}, BETWEEN_S)

    def evaluate(self, ues: Sequence[str], averaged: bool, images: int) -> tuple[dict[str, float], float | None]:
        """Accuracy of each of these UEs' parts with the BS's on so many images; ``averaged``: of their mean too."""
        held = self._request({"verb": "weights"}, BETWEEN_S, ues) if ues else {}
        tensors = sum((weights for _, weights in held.values()), NOTHING)
        parts = {ue: header["parts"] for ue, (header, _) in held.items()}
        request = {"verb": "evaluate", "parts": parts, "averaged": averaged, "images": images}
        answer = self._request(request, 2 * BETWEEN_S, [BS], tensors)[BS][0]
        return answer["accuracies"], answer["mean"]

    def _request(
        self,
        header: Mapping[str, Any],
        timeout_s: float,
        names: Sequence[str] | None = None,
        tensors: Sealed = NOTHING,
    ) -> dict[str, Report]:
        requests = {name: (header, tensors) for name in (names or self._deployment.agents)}
        return self._ask(requests, header["verb"], timeout_s)

    def _ask(
        self, requests: Mapping[str, tuple[Mapping[str, Any], Sealed]], verb: str, timeout_s: float
    ) -> dict[str, Report]:
        requests = {name: request for name, request in requests.items() if name not in self.away}
        self._lookout.wait_anew()
        try:
            return self._client.ask(requests, timeout_s, self._look_after)
        except AgentsFailed as error:
            self._notice()
            raise _blamed(error) from error
        except AgentSilent as error:
            self._notice()
            raise self._silence(error.names[0], verb, timeout_s) from error

    def _silence(self, name: str, verb: str, timeout_s: float) -> TrialError:
        """What to say of an agent that gives no answer: what it was asked, and what it said last."""
        what = "did not get ready" if verb == "hello" else f"gave no answer to {verb}"
        lines = self._engine.logs(self._deployment.agents[name].name, tail=1).strip()
        said = f"its log ends: {lines}" if lines else "its log is empty"
        hint = "type: testbed doctor" if verb == "hello" else _log_hint(name)
        return TrialError(f"{name} {what} in {timeout_s:.0f} s; {said}", hint, (name,))

    def leave(self, loss: Loss) -> None:
        """A UE is away, though its agent may be there again: it was in the round from which the others go on."""
        self.away.setdefault(loss.ue, loss)

    def take_losses(self) -> list[Loss]:
        """The UEs that were lost since this was asked last, in order."""
        taken, self._new = self._new, []
        return taken

    @property
    def deployment(self) -> Deployment:
        """The containers, as they were when each agent was there last."""
        return self._deployment

    @property
    def there(self) -> list[str]:
        """The UEs that are not away."""
        return [ue for ue in self._deployment.ues if ue not in self.away]

    @property
    def linked(self) -> Deployment:
        """The containers that have the links that they had when their agent was there last: all that have not ended."""
        self._notice()
        return self._deployment.only([ue for ue in self._deployment.ues if ue not in self._gone])

    def answers_again(self, ue: str) -> bool:
        """Whether the agent of a UE that is away runs and says so; what it was doing is then over.

        The ``deployment`` has its container as it is now.
        """
        self._notice()
        name = self._deployment.agents[ue].name
        if ue in self._stopped or not (state := self._running(name)):
            return False
        if state.pid != self._deployment.agents[ue].pid:
            self._deployment = replace(self._deployment, agents={**self._deployment.agents, ue: state})
            self._client.reconnect(ue, self._deployment.addresses(MGMT)[ue])
        self._gone.discard(ue)
        return bool(self._beside([ue], {"verb": "abandon"}))

    def back(self, ue: str, job: Job, most_bytes: int, drawn: int) -> bool | None:
        """Has a UE that is away take part again, by a job in which it has no samples; whether it still has its weights.

        None when it does not reach the BS over the air. ``drawn``: how many samples it had drawn until it was lost.
        """
        self._beside([BS], {"verb": "join", "ue": ue})
        request = {"verb": "rejoin", "job": job.to_json(), "most_bytes": most_bytes, "drawn": drawn}
        try:
            found = self._client.ask({ue: (request, NOTHING)}, CONFIGURE_S, self._stopped_again)
            if ue in found:
                greeted = {"verb": "greeted", "ues": [ue], "timeout_s": GREET_S}
                self._client.ask({BS: (greeted, NOTHING)}, GREET_S + BETWEEN_S, self._stopped_again)
                del self.away[ue]
                return bool(found[ue][0]["kept"])
        except (AgentsFailed, AgentSilent):
            pass
        self._beside([BS], {"verb": "lose", "ue": ue})
        return None

    def _stopped_again(self, waiting: Sequence[str]) -> Sequence[str]:
        self._notice()
        return [name for name in waiting if name in self._stopped]

    def _running(self, container: str) -> ContainerState | None:
        try:
            state = self._engine.inspect(container)
        except GoneError:
            return None
        return state if state.status == "running" else None

    def _look_after(self, waiting: Sequence[str]) -> Sequence[str]:
        """Who of those who owe an answer is not waited for any more, since it is lost. TrialError for the BS."""
        self._notice()
        asked = [name for name in waiting if name not in self.away]
        if self._open and self._lookout.due:
            looks = self._beside(asked, {"verb": "look"})
            for name, (kind, why) in self._lookout.lost(asked, looks).items():
                self._lose(name, kind, TrialError(f"{name} {why}", _log_hint(name), (name,)))
        return [name for name in waiting if name in self.away]

    def _notice(self, but: str = "") -> bool:
        """Takes note of what the engine has told; ``but`` of one only whether it was started again, which is returned.

        TrialError for the end, or the pause, of the BS.
        """
        told = self._events.take()
        events = [event for event in told if event.agent != but]
        starved = {event.agent for event in events if event.action == "oom"}
        for event in events:
            if event.action in ("start", "unpause"):
                self._stopped.discard(event.agent)
            elif event.action in ("die", "pause"):
                self._stopped.add(event.agent)
                self._gone.update([event.agent] if event.action == "die" else [])
            if event.agent in self.away:
                continue
            if event.action in ("oom", "die"):
                out_of_memory = event.agent in starved or self._starved(event.container)
                error = self._ended(event, out_of_memory)
                self._lose(event.agent, "oom" if out_of_memory else "killed", error, event.at)
            elif event.action == "pause":
                hint = f"docker unpause it, or: testbed down {self._trial}"
                error = TrialError(f"{event.agent} was paused", hint, (event.agent,))
                self._lose(event.agent, "frozen", error, event.at)
        return any(event.agent == but and event.action == "restart" for event in told)

    def _lose(self, name: str, kind: LossKind, error: TrialError, at: float | None = None) -> None:
        """A UE is away from now on, and the others go on without it; the error itself where nobody can."""
        if not self._going or name not in self._deployment.ues or name in self.away:
            raise error
        now_ns = time.monotonic_ns()
        began_ns = None if at is None else min(now_ns, now_ns - round((time.time() - at) * 1e9))
        self.away[name] = loss = Loss(name, kind, error.message, now_ns, began_ns)
        if not self.there:
            raise TrialError(f"no UE is left: {error.message}", error.hint, tuple(self.away)) from error
        came: list[Key] = []
        if self._open:
            came = [Key.of(key) for key in self._beside([BS], {"verb": "lose", "ue": name})[BS]["came"]]
        if self._in_round:
            loss = replace(loss, came=tuple(came), late=tuple(self._prune(name, came)))
        self._new.append(loss)
        self._lookout.wait_anew()

    def _prune(self, ue: str, came: Sequence[Key]) -> list[Key]:
        """Has all go on with the round without a UE, the BS last: it knows what came, and sends what others wait for.

        The optimiser steps that had been made before.
        """
        request = {"verb": "prune", "ue": ue, "came": [list(key) for key in came]}
        answers = {**self._beside(self.there, request), **self._beside([BS], request)}
        return [Key.of(key) for answer in answers.values() for key in answer["late"]]

    def _beside(self, names: Sequence[str], request: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Answers to what agents are asked beside what they are doing, of those who give one. The BS must, but to a
        look."""
        answers = self._client.ask_those_there({name: request for name in names}, LOOK_S)
        if BS in names and BS not in answers and request["verb"] != "look":
            raise TrialError(f"{BS} gave no answer to {request['verb']} in {LOOK_S:.0f} s", _log_hint(BS), (BS,))
        return answers

    def _ended(self, event: ContainerEvent, starved: bool) -> TrialError:
        """Why an agent is no more: a kill for memory is told before its end, after it, or only by its container."""
        lost = (event.agent,)
        if not starved:
            return TrialError(f"{event.agent} stopped with exit status {event.exit_code}", _log_hint(event.agent), lost)
        memory, numbers = self._memory.get(event.agent), ""
        if memory is not None:
            limit, peak = memory.limit_bytes / 1e6, memory.peak_bytes / 1e6
            numbers = f" (limit {limit:.0f} MB, predicted {peak:.0f} MB)"
        hint = memory.keys if memory else _SMALLER
        return TrialError(f"{event.agent} ran out of its memory{numbers}", hint, lost)

    def _starved(self, container: str) -> bool:
        try:
            return self._engine.inspect(container).oom_killed
        except GoneError:
            return False

    @property
    def _trial(self) -> str:
        return self._deployment.trial


def _blamed(error: AgentsFailed) -> TrialError:
    """The error that names the culprit: whoever is waited for and waits for nobody, else the first that failed."""
    waiting = {name for name, failure in error.failures.items() if failure.waited_for}
    owing = {peer for failure in error.failures.values() for peer in failure.waited_for}
    culprits = sorted(owing - waiting) or sorted(set(error.failures) - waiting) or sorted(error.failures)
    name = culprits[0]
    failure = error.failures.get(name) or _whoever_waited_for(error, name)
    said = failure.text if name in error.failures else f"fell silent ({failure.text})"
    return TrialError(f"{name}: {said}", _log_hint(name), (name,))


def _whoever_waited_for(error: AgentsFailed, name: str) -> Failure:
    return next(failure for failure in error.failures.values() if name in failure.waited_for)


def _log_hint(name: str) -> str:
    return f"see logs/{name}.log in the run directory"
