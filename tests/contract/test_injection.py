"""What a fault is to a real engine: a container that is gone, frozen or out of memory, and there again afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from testbed.container import LABEL, ContainerSpec
from testbed.deploy import SHAPER_IMAGE, Deployment
from testbed.engine import Engine
from testbed.errors import EngineError
from testbed.events import AGENT
from testbed.faults import Kind
from testbed.injection import Injector

pytestmark = pytest.mark.docker
SLEEP = ("python3", "-c", "import time; time.sleep(600)")


@pytest.fixture
def engine() -> Engine:
    return Engine.connect()


@pytest.fixture
def deployment(engine: Engine) -> Iterator[Deployment]:
    """A UE that sleeps."""
    trial = f"injection-{uuid.uuid4().hex[:8]}"
    spec = ContainerSpec(
        f"testbed-{trial}-ue1", SHAPER_IMAGE, {LABEL: trial, AGENT: "ue1"}, command=SLEEP, memory_bytes=64 << 20
    )
    try:
        engine.create(spec)
        engine.start(spec.name)
        state = engine.inspect(spec.name)
        yield Deployment(trial, "", "run", {"ue1": state}, state)
    finally:
        engine.remove(**{LABEL: trial})


def status(engine: Engine, deployment: Deployment) -> str:
    return engine.inspect(deployment.agents["ue1"].name).status


@pytest.mark.parametrize(("kind", "meanwhile"), [("kill", "exited"), ("freeze", "paused")])
def test_what_is_broken_is_mended(engine, deployment, kind: Kind, meanwhile: str):
    injector = Injector(engine, deployment)
    injector.break_("ue1", kind)
    assert status(engine, deployment) == meanwhile
    injector.mend("ue1", kind)
    assert status(engine, deployment) == "running"


def test_memory_runs_out_as_the_kernel_does_it(engine, deployment):
    name = deployment.agents["ue1"].name
    injector = Injector(engine, deployment)
    injector.break_("ue1", "oom")
    assert engine.inspect(name).oom_killed
    injector.mend("ue1", "oom")
    assert status(engine, deployment) == "running"


def test_a_restart_is_another_process(engine, deployment):
    before = engine.inspect(deployment.agents["ue1"].name).pid
    injector = Injector(engine, deployment)
    injector.break_("ue1", "restart")
    injector.mend("ue1", "restart")
    after = engine.inspect(deployment.agents["ue1"].name)
    assert after.status == "running" and after.pid != before


def test_what_is_gone_cannot_be_broken(engine, deployment):
    engine.remove(**{LABEL: deployment.trial})
    with pytest.raises(EngineError):
        Injector(engine, deployment).break_("ue1", "freeze")
