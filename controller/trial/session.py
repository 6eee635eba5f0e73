"""The controller's conversation with the agents of one deployment."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.job import CONFIGURE_S, Job
from agents.ports import CONTROL_PORT
from agents.wire.frames import NOTHING, Sealed
from agents.wire.mgmt import AgentsFailed, AgentSilent, ControlClient, Failure, Report
from controller.judge.host_load import Counters
from controller.trial.memory import Memory
from testbed.deploy import BS, MGMT, Deployment, controller_keys
from testbed.engine import Engine, GoneError
from testbed.errors import TrialError
from testbed.events import ContainerEvent

READY_S = 180.0  # on an emulated processor an import of torch takes a minute
BETWEEN_S = 60.0  # for what is not emulated, between rounds
_UNKNOWN: Mapping[str, Memory] = {}
_SMALLER = "lower training.batch, or cut earlier"
ABANDONS_S = 5.0
"""Wall seconds that a UE has to say that it waits no longer in a round that is given up."""
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
    """Requests to all agents side by side; an agent that stopped, failed or fell silent is a TrialError."""

    def __init__(self, engine: Engine, deployment: Deployment, memory: Mapping[str, Memory] = _UNKNOWN) -> None:
        """``memory``: what each agent was given, for the words when it was too little."""
        self._engine, self._deployment, self._memory = engine, deployment, memory
        self._events = engine.watch(deployment.trial)
        self._client = self._connected()

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
        self._events.take()
        self._client.ask_those_there({ue: {"verb": "abandon"} for ue in deployment.ues}, ABANDONS_S)

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

    def restore(self, states: Mapping[str, Report]) -> None:
        """Every agent is from now on what it was then."""
        requests = {name: ({"verb": "restore", "state": header}, sealed) for name, (header, sealed) in states.items()}
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
        request = {"verb": "configure", "job": job.to_json(), "most_bytes": most_bytes, "anew": anew}
        self._request(request, CONFIGURE_S + 10.0)

    def change(self, job: Job) -> None:
        """Tells every agent by which plan, and at which speeds, the rounds that follow are done."""
        request = {"verb": "change", "plan": job.plan.to_json(), "costs": job.costs.to_json()}
        self._request({**request, "deadline_s": job.deadline_s}, CONFIGURE_S)

    def begin_round(self, number: int) -> None:
        """Every agent takes up a round: what it has to do, and what will arrive. No emulated time passes."""
        self._request({"verb": "begin_round", "round": number}, BETWEEN_S)

    def segment(self, index: int, deadline_s: float) -> SegmentReport:
        """Runs one segment of the round that has begun; all agents start it at the same instant."""
        start_ns = time.monotonic_ns() + LEAD_NS
        request = {"verb": "segment", "segment": index, "start_ns": start_ns}
        answers = {name: header for name, (header, _) in self._request(request, deadline_s + 10.0).items()}
        headers = answers.values()
        events = [event for header in headers for event in header["events"]]
        samples = sum(header["loss_samples"] for header in headers)
        loss = sum(header["loss_sum"] for header in headers) / max(1, samples)
        host = {name: header["host"] for name, header in answers.items()}
        dropped = {name: header["dropped"] for name, header in answers.items() if header["dropped"]}
        return SegmentReport(start_ns, events, loss, host, dropped)

    def end_round(self, round_s: float) -> None:
        """Tells every agent how long the round was, for its meters."""
        self._request({"verb": "end_round", "round_s": round_s}, BETWEEN_S)

    def evaluate(self, ues: Sequence[str], averaged: bool, images: int) -> tuple[dict[str, float], float | None]:
        """Accuracy of each of these UEs' parts with the BS's on so many images; ``averaged``: of their mean too."""
        held = self._request({"verb": "weights"}, BETWEEN_S, ues) if ues else {}
        tensors = sum((held[ue][1] for ue in ues), NOTHING)
        parts = {ue: held[ue][0]["parts"] for ue in ues}
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
        try:
            return self._client.ask(requests, timeout_s, self._check_alive)
        except AgentsFailed as error:
            self._check_alive(error.silent)
            raise _blamed(error) from error
        except AgentSilent as error:
            self._check_alive(error.names)
            raise self._silence(error.names[0], verb, timeout_s) from error

    def _silence(self, name: str, verb: str, timeout_s: float) -> TrialError:
        """What to say of an agent that gives no answer: what it was asked, and what it said last."""
        what = "did not get ready" if verb == "hello" else f"gave no answer to {verb}"
        lines = self._engine.logs(self._deployment.agents[name].name, tail=1).strip()
        said = f"its log ends: {lines}" if lines else "its log is empty"
        hint = "type: testbed doctor" if verb == "hello" else _log_hint(name)
        return TrialError(f"{name} {what} in {timeout_s:.0f} s; {said}", hint, (name,))

    def _check_alive(self, _: Sequence[str]) -> Sequence[str]:
        """TrialError when the engine has told of the end, or the pause, of an agent."""
        events = self._events.take()
        starved = {event.agent for event in events if event.action == "oom"}
        for event in events:
            if event.action in ("oom", "die"):
                raise self._ended(event, event.agent in starved)
            if event.action == "pause":
                hint = f"docker unpause it, or: testbed down {self._trial}"
                raise TrialError(f"{event.agent} was paused", hint, (event.agent,))
        return ()

    def _ended(self, event: ContainerEvent, starved: bool) -> TrialError:
        """Why an agent is no more: a kill for memory is told before its end, after it, or only by its container."""
        lost = (event.agent,)
        if not starved and not self._starved(event.container):
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
