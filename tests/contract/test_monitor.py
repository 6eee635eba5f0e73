"""Rules, configuration and expositions by Prometheus' own tools, and the monitor's containers on a real engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agents.exposition import Exposition, Families
from agents.meter import Meter, Metrics
from agents.pace import Span
from agents.schedule.task import BS
from controller.trial.exporter import ControllerMetrics
from controller.trial.watch import TrialEnded
from testbed.container import LABEL
from testbed.deploy import resource
from testbed.engine import Engine
from testbed.errors import EngineError, InputError
from testbed.monitor import monitor
from testbed.monitor.api import Prometheus
from testbed.monitor.status import status
from tests.monitored import NAME, ROOT, free_port, promtool
from tests.unit.test_exporter import BEGIN, SCHEME, began, ended
from tests.unit.test_measured import DOWNLINK, FORWARD, S, arrival

pytestmark = pytest.mark.docker

IMAGES = {ROOT / "images": "/images"}


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The engine that ``make test`` has started."""
    return Engine.connect()


def test_the_configuration_is_valid(engine: Engine) -> None:
    assert promtool(engine, "check config --lint=all --lint-fatal /images/prometheus/prometheus.yml", IMAGES) == ""


def test_rules_are_valid_and_do_what_they_say(engine: Engine) -> None:
    assert promtool(engine, "check rules --lint=all --lint-fatal /images/prometheus/rules/testbed.yml", IMAGES) == ""
    tests = {**IMAGES, Path(__file__).parent: "/tests"}
    assert promtool(engine, "test rules /tests/rules.test.yml", tests) == ""


def _of_an_agent(owner: str) -> Families:
    """All families of an agent, each with a sample."""
    meter = Meter(owner, Metrics())
    meter.begin_scheme("t", "psl", 1.0)
    meter.computed(FORWARD, Span(0, S, cpu_ns=S, overrun_ns=5))
    meter.received(DOWNLINK, "ue1", arrival(1, 3, 300, DOWNLINK))
    meter.counted({"monotonic_s": 1.0})
    meter.end_round(10.0)
    for gauge in (meter.metrics.accuracy, meter.metrics.plan_info):
        gauge.labels(*("x" for _ in gauge._labelnames)).set(1)
    return meter.metrics


def _of_the_controller() -> Families:
    metrics = ControllerMetrics("t")
    for event in (BEGIN, SCHEME, began(1, 1.5), ended(1, 1.6), began(2, 1.5), TrialEnded()):
        metrics(event)
    metrics.fidelity.labels("t", "psl").set(1)
    return metrics


def test_metrics_keep_to_the_conventions(engine: Engine, tmp_path: Path) -> None:
    exporters = {"bs": _of_an_agent(BS), "ue": _of_an_agent("ue1"), "controller": _of_the_controller()}
    of_all: set[str] = set()
    for name, families in exporters.items():
        text = Exposition(families.families).text()
        (tmp_path / name).write_text(text)
        of_all |= {line.partition("{")[0] for line in text.splitlines() if not line.startswith("#")}
        assert promtool(engine, f"check metrics </expositions/{name}", {tmp_path: "/expositions"}) == ""
    assert len(of_all) == len({family._name for one in exporters.values() for family in one.families})


@pytest.fixture
def port(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port for a Prometheus of the test's own, which is gone afterwards."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield free_port()
    monitor.down(engine, NAME)


def test_down_removes_what_up_made_and_nothing_else(engine: Engine, port: int) -> None:
    others = resource("monitor-witness", "data")
    engine.create_volume(others, {LABEL: "monitor-witness"})
    monitor.start_prometheus(engine, port, print, NAME)
    assert Prometheus(f"127.0.0.1:{port}").query("1 + 1")[0].values[0][1] == 2
    (row,) = status(engine, NAME)["containers"]
    assert (row["part"], row["status"], row["url"]) == ("prometheus", "running", f"http://127.0.0.1:{port}")
    assert monitor.down(engine, NAME) == 3
    assert monitor.down(engine, NAME) == 0
    assert engine.remove(**{LABEL: "monitor-witness"}) == 1
    assert status(engine, NAME) == {"containers": [], "trials": [], "alerts": []}


def test_prometheus_may_do_nothing_and_be_reached_from_here_only(engine: Engine, port: int) -> None:
    monitor.start_prometheus(engine, port, print, NAME)
    told = engine.client.api.inspect_container(f"testbed-{NAME}-prometheus")
    host = told["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert told["Config"]["User"] not in ("", "0", "root")
    assert f"--web.listen-address=127.0.0.1:{port}" in told["Args"]


def test_a_port_in_use_is_named_and_nothing_stays(engine: Engine, port: int) -> None:
    monitor.start_prometheus(engine, port, print, f"{NAME}-other")
    try:
        with pytest.raises(InputError, match=rf"^--prometheus-port: 127\.0\.0\.1:{port} cannot be had"):
            monitor.up(engine, {monitor.PROMETHEUS: port, monitor.GRAFANA: free_port()}, print, NAME)
        assert monitor.parts(engine, NAME) == {}
    finally:
        monitor.down(engine, f"{NAME}-other")


def test_a_monitor_that_has_stopped_is_told_of(engine: Engine, port: int) -> None:
    monitor.start_prometheus(engine, port, print, NAME)
    engine.client.api.stop(f"testbed-{NAME}-prometheus")
    with pytest.raises(EngineError, match=r"^prometheus stopped with exit status 0 \(hint: type: testbed monitor down"):
        monitor.up(engine, {monitor.PROMETHEUS: port, monitor.GRAFANA: free_port()}, print, NAME)


STAND_IN = """
FROM testbed-base
WORKDIR /healthy
RUN mkdir api && touch api/health
USER 10001:10001
CMD ["python3", "-c", "import http.server as h, os; a = os.environ; \\
    h.test(h.SimpleHTTPRequestHandler, port=int(a['GF_SERVER_HTTP_PORT']), bind=a['GF_SERVER_HTTP_ADDR'])"]
"""
"""What listens where a Grafana would, and is well: none can be had everywhere."""


def test_grafana_finds_what_it_provisions(
    engine: Engine, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Dockerfile").write_text(STAND_IN)
    image = "testbed-stand-in:latest"
    engine.client.images.build(path=str(tmp_path), tag=image, rm=True)
    monkeypatch.setattr(monitor, "GRAFANA_IMAGE", image)
    ports = {monitor.PROMETHEUS: port, monitor.GRAFANA: free_port()}
    try:
        assert monitor.up(engine, ports, print, NAME) == ""
        grafana = monitor.parts(engine, NAME)[monitor.GRAFANA]
        environment = engine.client.api.inspect_container(grafana.state.name)["Config"]["Env"]
        (provisioning,) = (e.partition("=")[2] for e in environment if e.startswith("GF_PATHS_PROVISIONING="))
        source = _content(engine, grafana.state.name, f"{provisioning}/datasources/testbed.yaml")
        assert f"url: http://127.0.0.1:{port}\n" in source
        provider = yaml.safe_load(_content(engine, grafana.state.name, f"{provisioning}/dashboards/testbed.yaml"))
        shown = provider["providers"][0]["options"]["path"]
        assert json.loads(_content(engine, grafana.state.name, f"{shown}/overview.json"))["uid"] == "testbed-overview"
        assert monitor.up(engine, ports, print, NAME) == "", "what is up stays as it is"
    finally:
        monitor.down(engine, NAME)
        engine.client.images.remove(image)


def _content(engine: Engine, container: str, path: str) -> str:
    """A file in a running container."""
    exit_code, output = engine.client.containers.get(container).exec_run(["cat", path])
    assert exit_code == 0, output
    return str(output.decode())
