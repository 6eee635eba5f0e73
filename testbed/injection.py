"""Faults done to the containers of a deployment, and undone: by engine calls, and on links by the shaper."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from testbed.compute import PERIOD_US, UNLIMITED
from testbed.deploy import Deployment
from testbed.engine import Engine
from testbed.faults import Kind
from testbed.links import UP, shaper

_GREEDY = "echo 1000 > /proc/1/oom_score_adj && exec tail /dev/zero"
"""Takes all the memory that is left, beside an agent that the kernel ends first."""

STARVED_S = 60
"""Wall seconds within which the kernel must have ended an agent whose memory is taken."""


class Injector:
    """What can be broken of a deployment. ``break_`` and ``mend`` raise EngineError or LinkError.

    A container that is started again has no CPU limit: it has to get ready, which is not emulated.
    """

    def __init__(self, engine: Engine, deployment: Deployment) -> None:
        self._engine = engine
        self._deployment = deployment
        self._names = {agent: state.name for agent, state in deployment.agents.items()}
        self._cut: list[str] = []
        self._break: Mapping[Kind, Callable[[str], None]] = {
            "kill": engine.kill,
            "freeze": engine.pause,
            "oom": self._starve,
            "restart": engine.kill,
        }
        self._mend: Mapping[Kind, Callable[[str], None]] = {
            "kill": self._start,
            "freeze": engine.unpause,
            "oom": self._start,
            "restart": self._start,
        }

    def break_(self, agent: str, kind: Kind) -> None:
        """Does this to an agent; returns when it is done."""
        if kind == "cut":
            self._set_cut([*self._cut, agent])
        else:
            self._break[kind](self._names[agent])

    def mend(self, agent: str, kind: Kind) -> None:
        """Undoes it: starts its container, lets it go on, or opens its link."""
        if kind == "cut":
            self._set_cut([one for one in self._cut if one != agent])
        else:
            self._mend[kind](self._names[agent])

    def open_links(self) -> None:
        """Every link carries again, whoever cut it."""
        self._set_cut([])

    def _set_cut(self, agents: list[str]) -> None:
        self._cut = agents
        shaper(self._engine, self._deployment, "cut", {"flows": [f"{agent}/{UP}" for agent in agents]})

    def _start(self, container: str) -> None:
        if self._engine.inspect(container).status == "running":  # whoever noticed has started it
            return
        self._engine.limit_cpu(container, PERIOD_US, UNLIMITED)
        self._engine.start(container)

    def _starve(self, container: str) -> None:
        self._engine.limit_cpu(container, PERIOD_US, UNLIMITED)  # so that it does not take minutes
        self._engine.launch(container, ["sh", "-c", _GREEDY])
        self._engine.await_end(container, STARVED_S)
