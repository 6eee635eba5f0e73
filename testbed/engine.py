"""The few Docker calls that everything else needs; the only module that imports docker."""

from __future__ import annotations

import io
import json
import socket
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import docker
import docker.errors
import docker.types
import requests

from testbed.conversation import STDERR, STDOUT, Conversation, last_line, read_frame
from testbed.errors import EngineError, ImageError

T = TypeVar("T")
R = TypeVar("R")

THREADS = 8
LABEL = "io.testbed.trial"


@dataclass(frozen=True)
class ContainerSpec:
    """A container to create. ``volumes``: volume name → mount point. ``networks``: network → alias in it."""

    name: str
    image: str
    labels: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    capabilities: Sequence[str] = ()
    tmpfs: Sequence[str] = ("/tmp",)
    host_pid: bool = False
    gpu: bool = False
    memory_bytes: int = 2 << 30
    pids: int = 256


@dataclass(frozen=True)
class ContainerState:
    """What Docker says of a container: ``addresses`` by network name, ``pid`` on its host."""

    id: str
    name: str
    labels: Mapping[str, str]
    status: str
    exit_code: int
    pid: int
    addresses: Mapping[str, str]


class Engine:
    """One Docker engine, found as the ``docker`` command finds it (DOCKER_HOST and so on)."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client

    @staticmethod
    def connect() -> Engine:
        """The engine of the environment; EngineError says what to do when there is none."""
        try:
            client = docker.from_env(max_pool_size=2 * THREADS, timeout=120)
            client.ping()
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            if "Permission denied" in str(error):
                raise EngineError(
                    "no permission to use Docker", "add yourself to the docker group, or use sudo"
                ) from error
            raise EngineError("no Docker engine answers", "start dockerd, or type: make setup") from error
        return Engine(client)

    def info(self) -> dict[str, Any]:
        """``docker info``."""
        info: dict[str, Any] = _docker(self.client.info)
        return info

    def has_gpu(self) -> bool:
        """Whether this engine can give a GPU to a container."""
        return "nvidia" in self.info().get("Runtimes", {})

    def need_image(self, tag: str) -> str:
        """The id of an image; ImageError when it is missing."""
        try:
            return str(self.client.images.get(tag).id)
        except docker.errors.ImageNotFound:
            raise ImageError(f"image {tag} is missing", "type: testbed images build") from None

    def create_network(self, name: str, labels: Mapping[str, str], internal: bool) -> None:
        """A bridge network of this name."""
        _docker(self.client.networks.create, name, driver="bridge", internal=internal, labels=dict(labels))

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """An empty volume."""
        _docker(self.client.volumes.create, name, labels=dict(labels))

    def create(self, spec: ContainerSpec) -> None:
        """Creates a container: nothing but its capabilities, read-only root, bounded memory and processes."""
        api: Any = self.client.api
        host = api.create_host_config(
            cap_drop=["ALL"],
            cap_add=list(spec.capabilities),
            security_opt=["no-new-privileges"],
            read_only=True,
            tmpfs={path: "size=64m,mode=1777" for path in spec.tmpfs},
            mem_limit=spec.memory_bytes,
            pids_limit=spec.pids,
            pid_mode="host" if spec.host_pid else None,
            binds=[f"{volume}:{path}" for volume, path in spec.volumes.items()],
            sysctls=dict(spec.sysctls),
            log_config=docker.types.LogConfig(type="json-file", config={"max-size": "4m", "max-file": "1"}),
            device_requests=[docker.types.DeviceRequest(count=1, capabilities=[["gpu"]])] if spec.gpu else None,
            network_mode=next(iter(spec.networks), "none"),
        )
        endpoints = {net: api.create_endpoint_config(aliases=[alias]) for net, alias in spec.networks.items()}
        first = next(iter(endpoints), None)
        _docker(
            api.create_container,
            spec.image,
            command=list(spec.command) if spec.command is not None else None,
            name=spec.name,
            labels=dict(spec.labels),
            environment=dict(spec.environment),
            host_config=host,
            networking_config=api.create_networking_config({first: endpoints[first]}) if first else None,
        )
        for net, alias in list(spec.networks.items())[1:]:
            _docker(api.connect_container_to_network, spec.name, net, aliases=[alias])

    def put_file(self, container: str, folder: str, name: str, data: bytes) -> None:
        """Writes a world-readable file into a folder of a (created or running) container."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o444
            tar.addfile(entry, io.BytesIO(data))
        _docker(self.client.api.put_archive, container, folder, buffer.getvalue())

    def start(self, container: str) -> None:
        """Starts a created container."""
        _docker(self.client.api.start, container)

    def limit_cpu(self, container: str, period_us: int, quota_us: int) -> None:
        """Sets the CFS quota: at most ``quota_us`` of CPU time in every ``period_us``; −1 lifts it."""
        _docker(self.client.api.update_container, container, cpu_period=period_us, cpu_quota=quota_us)

    def containers(self, **labels: str) -> list[ContainerState]:
        """Containers, running or not, that carry these labels."""
        filters = {"label": [f"{key}={value}" if value else key for key, value in labels.items()]}
        listed = _docker(self.client.api.containers, all=True, filters=filters)
        return sorted(self.parallel(lambda c: self.inspect(c["Id"]), listed), key=lambda c: c.name)

    def inspect(self, container: str) -> ContainerState:
        """The state of one container."""
        data = _docker(self.client.api.inspect_container, container)
        networks = data["NetworkSettings"]["Networks"] or {}
        return ContainerState(
            id=data["Id"],
            name=data["Name"].lstrip("/"),
            labels=data["Config"]["Labels"] or {},
            status=data["State"]["Status"],
            exit_code=data["State"]["ExitCode"],
            pid=data["State"]["Pid"],
            addresses={net: end["IPAddress"] for net, end in networks.items() if end["IPAddress"]},
        )

    def logs(self, container: str, tail: int | str = "all") -> str:
        """What a container has printed."""
        raw: bytes = _docker(self.client.api.logs, container, tail=tail)
        return raw.decode(errors="replace")

    def exec_json(self, container: str, command: Sequence[str], document: Any) -> tuple[int, Any]:
        """Runs a command in a container with JSON on its stdin; its exit status and the JSON it printed."""
        api = self.client.api
        exec_id = _docker(api.exec_create, container, list(command), stdin=True, stdout=True, stderr=True)["Id"]
        stream = _docker(api.exec_start, exec_id, socket=True)
        raw = getattr(stream, "_sock", stream)
        try:
            raw.sendall(json.dumps(document).encode() + b"\n")
            raw.shutdown(1)
            output, errors = _output(raw)
        finally:
            stream.close()
        status = int(_docker(api.exec_inspect, exec_id)["ExitCode"] or 0)
        try:
            return status, json.loads(output)
        except ValueError:
            raise EngineError(f"{container}: {' '.join(command)} failed: {last_line(errors or output)}") from None

    def converse(self, container: str, command: Sequence[str]) -> Conversation:
        """Starts a command in a container that answers lines of JSON until its input ends."""
        api = self.client.api
        exec_id = _docker(api.exec_create, container, list(command), stdin=True, stdout=True, stderr=True)["Id"]
        return Conversation(_docker(api.exec_start, exec_id, socket=True), f"{' '.join(command)} in {container}")

    def run_once(self, spec: ContainerSpec) -> str:
        """What a container that runs its command and ends printed on stdout; it is removed again."""
        self.create(spec)
        try:
            self.start(spec.name)
            status = int(_docker(self.client.api.wait, spec.name)["StatusCode"])
            if status:
                command = " ".join(spec.command or ())
                raise EngineError(f"{command} failed in {spec.image}: {last_line(self.logs(spec.name))}")
            output: bytes = _docker(self.client.api.logs, spec.name, stdout=True, stderr=False)
            return output.decode()
        finally:
            _gone_is_fine(self.client.api.remove_container, spec.name, force=True)

    def remove(self, **labels: str) -> int:
        """Removes all containers, networks and volumes with these labels; how many there were."""
        filters = {"label": [f"{key}={value}" if value else key for key, value in labels.items()]}
        api = self.client.api
        containers = [c["Id"] for c in _docker(api.containers, all=True, filters=filters)]
        self.parallel(lambda c: _gone_is_fine(api.remove_container, c, force=True, v=True), containers)
        networks = [n["Id"] for n in _docker(api.networks, filters=filters)]
        self.parallel(lambda n: _gone_is_fine(api.remove_network, n), networks)
        volumes = [v["Name"] for v in _docker(api.volumes, filters=filters)["Volumes"] or []]
        self.parallel(lambda v: _gone_is_fine(api.remove_volume, v, force=True), volumes)
        return len(containers) + len(networks) + len(volumes)

    def parallel(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """``work`` on each item from a few threads; results in order, the first error raised."""
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(work, items))


def _docker(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A Docker call whose failure is an EngineError with Docker's own explanation."""
    try:
        return call(*args, **kwargs)
    except docker.errors.ImageNotFound as error:
        raise ImageError(error.explanation or str(error), "type: testbed images build") from error
    except docker.errors.APIError as error:
        raise EngineError(f"Docker: {error.explanation or error}") from error
    except requests.exceptions.RequestException as error:
        raise EngineError(
            "the Docker engine does not answer any more", "see its log, then: testbed down NAME"
        ) from error


def _gone_is_fine(call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    try:
        call(*args, **kwargs)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if error.status_code != 409 or "already in progress" not in str(error.explanation):
            raise EngineError(f"Docker: {error.explanation or error}") from error


def _output(source: socket.socket) -> tuple[bytes, bytes]:
    """All that a process prints until it ends: stdout and stderr."""
    streams: dict[int, bytearray] = {STDOUT: bytearray(), STDERR: bytearray()}
    while frame := read_frame(source):
        kind, data = frame
        streams.setdefault(kind, bytearray()).extend(data)
    return bytes(streams[STDOUT]), bytes(streams[STDERR])
