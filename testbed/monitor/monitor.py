"""Prometheus and Grafana as containers, found by label: up, status, down. What trials there are is not asked here."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from testbed import images
from testbed.container import ContainerSpec, ContainerState
from testbed.deploy import ROLE
from testbed.engine import Engine
from testbed.errors import EngineError, InputError, TestbedError
from testbed.monitor import targets
from testbed.monitor.api import answers
from testbed.monitor.files import CONFIGURED, TARGETS, grafana_files, prometheus_files

MONITOR, PART, PORT = (f"io.testbed.{key}" for key in ("monitor", "part", "port"))
NAME, HOST = "monitor", "127.0.0.1"
PROMETHEUS, GRAFANA = "prometheus", "grafana"
GRAFANA_IMAGE = "grafana/grafana:11.4.0"
KEPT_FOR = "30d"
READY_S = 60.0
HEALTH = {PROMETHEUS: "/-/ready", GRAFANA: "/api/health"}

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """One of the monitor's containers."""

    name: str
    port: int
    state: ContainerState

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.state.status == "running"

    @property
    def address(self) -> str:
        """host:port; only this host reaches it."""
        return f"{HOST}:{self.port}"


def up(engine: Engine, ports: Mapping[str, int], say: Say, name: str = NAME) -> str:
    """Starts Prometheus, and Grafana where its image can be had; what is up already stays as it is.

    ``ports``: of each part. Returns why there is no Grafana, or ''. InputError names a port that is in use.
    """
    if not engine.is_local:
        hint = "unset DOCKER_HOST, or: testbed monitor export DIR"
        raise EngineError("the monitor needs an engine on this machine", hint)
    there = parts(engine, name)
    for part in there.values():
        if not part.running:
            raise EngineError(f"{part.name} {part.state.condition}", "type: testbed monitor down")
    for missing in [part for part in (PROMETHEUS, GRAFANA) if part not in there]:
        check_free(ports[missing], f"--{missing}-port")
    if PROMETHEUS not in there:
        start_prometheus(engine, ports[PROMETHEUS], say, name)
    return "" if GRAFANA in there else start_grafana(engine, ports[GRAFANA], say, name)


def start_prometheus(engine: Engine, port: int, say: Say, name: str = NAME) -> None:
    """Starts Prometheus on this port; returns when it answers."""
    image = images.prometheus(engine.client, say)
    _start(engine, _prometheus(name, image, port), prometheus_files(), say)


def start_grafana(engine: Engine, port: int, say: Say, name: str = NAME) -> str:
    """Starts Grafana on this port, to show what Prometheus has; why that cannot be, or ''."""
    say(f"grafana: pulling {GRAFANA_IMAGE}")
    why = "" if engine.client.api.images(GRAFANA_IMAGE) else images.pull(engine.client, GRAFANA_IMAGE)
    if why:
        return f"cannot pull {GRAFANA_IMAGE}: {why}"
    url = f"http://{parts(engine, name)[PROMETHEUS].address}"
    _start(engine, _grafana(name, port), grafana_files(url), say)
    return ""


def parts(engine: Engine, name: str = NAME) -> dict[str, Part]:
    """The monitor's containers, running or not, by what they are."""
    found = [Part(s.labels[PART], int(s.labels[PORT]), s) for s in engine.containers(**{MONITOR: name})]
    return {part.name: part for part in found}


def down(engine: Engine, name: str = NAME) -> int:
    """Removes the containers and volumes of the monitor, and with them all that it gathered; how many there were."""
    return engine.remove(**{MONITOR: name})


def check_free(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(option, f"{HOST}:{port} cannot be had: {error.strerror}", "give another port") from error


def _prometheus(name: str, image: str, port: int) -> ContainerSpec:
    return ContainerSpec(
        name=_container(name, PROMETHEUS),
        image=image,
        labels=_labels(name, PROMETHEUS, port),
        command=[
            f"--config.file={CONFIGURED}/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            f"--storage.tsdb.retention.time={KEPT_FOR}",
            f"--web.listen-address={HOST}:{port}",
        ],
        volumes={f"{_container(name, PROMETHEUS)}-files": CONFIGURED, _container(name, PROMETHEUS): "/prometheus"},
        folders={str(targets.make_folder()): TARGETS},
        host_network=True,
        memory_bytes=1 << 30,
    )


def _grafana(name: str, port: int) -> ContainerSpec:
    """Nobody logs in: who reaches this host's port may look, and change nothing."""
    settings = {
        "SERVER_HTTP_ADDR": HOST,
        "SERVER_HTTP_PORT": str(port),
        "PATHS_PROVISIONING": f"{CONFIGURED}/provisioning",
        "DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": f"{CONFIGURED}/dashboards/overview.json",
        "AUTH_ANONYMOUS_ENABLED": "true",
        "AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "AUTH_DISABLE_LOGIN_FORM": "true",
        "SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
        "ANALYTICS_REPORTING_ENABLED": "false",
        "ANALYTICS_CHECK_FOR_UPDATES": "false",
        "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    }
    return ContainerSpec(
        name=_container(name, GRAFANA),
        image=GRAFANA_IMAGE,
        labels=_labels(name, GRAFANA, port),
        environment={f"GF_{key}": value for key, value in settings.items()},
        volumes={f"{_container(name, GRAFANA)}-files": CONFIGURED, _container(name, GRAFANA): "/var/lib/grafana"},
        tmpfs=("/tmp", "/var/log/grafana"),
        host_network=True,
        memory_bytes=1 << 30,
    )


def _start(engine: Engine, spec: ContainerSpec, files: Mapping[str, str], say: Say) -> None:
    """Creates, fills and starts a container, and waits until it answers; nothing of it stays if that fails."""
    say(f"{spec.labels[PART]}: starting")
    try:
        for volume in spec.volumes:
            engine.create_volume(volume, spec.labels)
        engine.create(spec)
        for name, text in files.items():
            engine.put_file(spec.name, CONFIGURED, name, text.encode())
        engine.start(spec.name)
        _await(engine, spec)
    except BaseException:
        engine.remove(**{MONITOR: spec.labels[MONITOR], PART: spec.labels[PART]})
        raise


def _await(engine: Engine, spec: ContainerSpec) -> None:
    address, end = f"{HOST}:{spec.labels[PORT]}", time.monotonic() + READY_S
    while not answers(f"http://{address}{HEALTH[spec.labels[PART]]}"):
        state = engine.inspect(spec.name)
        if state.status != "running" or time.monotonic() > end:
            last = engine.logs(spec.name, tail=1).strip()
            raise TestbedError(f"{spec.labels[PART]} {state.condition} and does not answer at {address}: {last}")
        time.sleep(0.1)


def _container(name: str, part: str) -> str:
    return f"testbed-{name}-{part}"


def _labels(name: str, part: str, port: int) -> dict[str, str]:
    return {ROLE: "monitor", MONITOR: name, PART: part, PORT: str(port)}
