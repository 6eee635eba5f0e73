"""The controller's conversation with the agents of one deployment."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.plan import CONFIGURE_S, CONTROL_PORT, Job
from agents.wire.frames import NOTHING, Sealed
from agents.wire.mgmt import AgentError, AgentSilent, ControlClient, Report
from testbed.deploy import BS, MGMT, Deployment
from testbed.engine import Engine
from testbed.errors import TrialError

READY_S = 180.0  # on an emulated processor an import of torch takes a minute
BETWEEN_S = 60.0  # for what is not emulated, between rounds
LEAD_NS = 30_000_000
"""How far ahead a round's start is set, so that every agent knows of it in time."""


@dataclass(frozen=True)
class PhaseReport:
    """What the agents answered about a phase: its start (monotonic ns), raw events, the loss of the round so far.

    ``seen``: what each saw of its host meanwhile (``agents.host_counters``).
    """

    start_ns: int
    events: list[dict[str, Any]]
    train_loss: float
    seen: dict[str, dict[str, float | str]]


class Session:
    """Requests to all agents side by side; an agent that stopped, failed or fell silent is a TrialError."""

    def __init__(self, engine: Engine, deployment: Deployment) -> None:
        self._engine, self._deployment = engine, deployment
        self._client = ControlClient(deployment.addresses(MGMT), CONTROL_PORT)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def await_ready(self, timeout_s: float = READY_S) -> dict[str, Any]:
        """Waits until every agent answers; what each said of itself."""
        return {name: header for name, (header, _) in self._request({"verb": "hello"}, timeout_s).items()}

    def configure(self, job: Job) -> None:
        """Gives every agent the job of a scheme; returns when all UEs reached the BS over the air."""
        self._request({"verb": "configure", "job": job.to_json()}, CONFIGURE_S + 10.0)

    def retune(self, job: Job) -> None:
        """Tells every agent the tempo of the rounds that follow."""
        self._request({"verb": "retune", "tempo": job.tempo()}, BETWEEN_S)

    def phase(self, number: int, index: int, deadline_s: float) -> PhaseReport:
        """Runs one phase of a round; all agents start it at the same instant."""
        start_ns = time.monotonic_ns() + LEAD_NS
        request = {"verb": "phase", "round": number, "phase": index, "start_ns": start_ns}
        answers = {name: header for name, (header, _) in self._request(request, deadline_s + 10.0).items()}
        headers = answers.values()
        events = [event for header in headers for event in header["events"]]
        samples = sum(header["loss_samples"] for header in headers)
        loss = sum(header["loss_sum"] for header in headers) / max(1, samples)
        return PhaseReport(start_ns, events, loss, {name: header["seen"] for name, header in answers.items()})

    def end_round(self, round_s: float) -> None:
        """Tells every agent how long the round was, for its meters."""
        self._request({"verb": "end_round", "round_s": round_s}, BETWEEN_S)

    def evaluate(self, ues: Sequence[str]) -> dict[str, float]:
        """Test accuracy of each of these UEs' halves with the BS's half, and what else the BS finds (by name)."""
        halves = self._request({"verb": "weights"}, BETWEEN_S, ues) if ues else {}
        tensors = sum((halves[ue][1] for ue in ues), NOTHING)
        request = {"verb": "evaluate", "counts": {ue: len(halves[ue][1]) for ue in ues}}
        found: dict[str, float] = self._request(request, 2 * BETWEEN_S, [BS], tensors)[BS][0]["accuracies"]
        return found

    def _request(
        self,
        header: Mapping[str, Any],
        timeout_s: float,
        names: Sequence[str] | None = None,
        tensors: Sealed = NOTHING,
    ) -> dict[str, Report]:
        requests = {name: (header, tensors) for name in (names or self._deployment.agents)}
        try:
            return self._client.ask(requests, timeout_s, self._check_alive)
        except AgentError as error:
            raise TrialError(str(error), "the log of each agent is in the run directory") from error
        except AgentSilent as error:
            raise self._silence(error.names[0], header["verb"], timeout_s) from error

    def _silence(self, name: str, verb: str, timeout_s: float) -> TrialError:
        """What to say of an agent that gives no answer: what it was asked, and what it said last."""
        what = "did not get ready" if verb == "hello" else f"gave no answer to {verb}"
        lines = self._engine.logs(self._deployment.agents[name].name, tail=1).strip()
        said = f"its log ends: {lines}" if lines else "its log is empty"
        hint = "type: testbed doctor" if verb == "hello" else self._log_hint(name)
        return TrialError(f"{name} {what} in {timeout_s:.0f} s; {said}", hint)

    def _check_alive(self, names: Sequence[str]) -> None:
        for name in self._deployment.agents:
            state = self._engine.inspect(self._deployment.agents[name].name)
            if state.status != "running":
                raise TrialError(f"{name} stopped with exit status {state.exit_code}", self._log_hint(name))

    def _log_hint(self, name: str) -> str:
        return f"see logs/{name}.log in the run directory"
