"""One Docker engine: the few calls that everything else needs."""

from __future__ import annotations

import io
import json
import socket
import tarfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import docker
import docker.errors
import docker.types
import requests

from testbed.container import DEPLOYMENT, LABEL, ContainerSpec, ContainerState, Thing
from testbed.conversation import STDERR, STDOUT, Conversation, last_line, read_frame
from testbed.engine.errors import ANSWERS_S, fault, in_words
from testbed.engine.removal import remove_each, removing
from testbed.errors import AwayError, EngineError, GoneError, ImageError, NameTakenError
from testbed.events import ACTIONS, AGENT, ContainerEvent, EventStream
from testbed.patience import Patience

T = TypeVar("T")
R = TypeVar("R")

THREADS = 8
HOLDER = "io.testbed.holder"
"""Label, different each time, of a container that only holds a volume."""
RUN_S = 600
REMOVAL_PAUSES_S = (0.1, 0.3, 1.0, 2.0, 4.0)
"""Before what is still there is removed again."""
ONE_SHARE = 1024
"""Docker's CPU shares of a container unless it is told otherwise."""


class Engine:
    """One Docker engine, found as the ``docker`` command finds it (DOCKER_HOST and so on).

    What it refuses, drops or fails is asked again for a while (``testbed.patience``): each call can be done twice, or
    looks whether it was done when no answer came.
    """

    def __init__(self, client: docker.DockerClient) -> None:
        self.client = client
        self._patience = Patience(fault)

    def _ask(self, call: Callable[..., Any], *args: Any, done: Callable[[], bool] | None = None, **kwargs: Any) -> Any:
        """What a call of the docker package gives. Its failure is an EngineError with Docker's own explanation."""
        try:
            return self._patience(partial(call, *args, **kwargs), done)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            raise in_words(error) from error

    def _make(self, call: Callable[..., Any], *args: Any, mine: Callable[[], bool], **kwargs: Any) -> None:
        """Makes something of which there is one of a name. NameTakenError, unless it is ``mine``."""
        try:
            self._ask(call, *args, done=mine, **kwargs)
        except NameTakenError:
            if not mine():
                raise

    @staticmethod
    def connect() -> Engine:
        """The engine of the environment; EngineError says what to do when there is none."""
        try:
            client = docker.from_env(max_pool_size=2 * THREADS, timeout=ANSWERS_S)
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
        info: dict[str, Any] = self._ask(self.client.info)
        return info

    @property
    def id(self) -> str:
        """What tells this engine from any other; it stays when the engine is restarted."""
        return str(self.info()["ID"])

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine: its folders and localhost are ours."""
        return str(self.client.api.base_url).startswith("http+docker://localhost")

    def has_gpu(self) -> bool:
        """Whether this engine can give a GPU to a container."""
        return "nvidia" in self.info().get("Runtimes", {})

    def need_image(self, tag: str) -> str:
        """The id of an image; ImageError when it is missing."""
        try:
            return str(self._ask(self.client.images.get, tag).id)
        except ImageError:
            raise ImageError(f"image {tag} is missing", "type: testbed images build") from None

    def create_network(self, name: str, labels: Mapping[str, str], internal: bool) -> None:
        """A bridge network of this name; NameTakenError when there is one already."""
        api: Any = self.client.api
        options = {"driver": "bridge", "internal": internal, "labels": dict(labels), "check_duplicate": True}
        self._make(api.create_network, name, **options, mine=lambda: self._has("network", name, labels))

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """An empty volume."""
        self._ask(self.client.volumes.create, name, labels=dict(labels))

    def create(self, spec: ContainerSpec) -> None:
        """Creates a container: nothing but its capabilities, read-only root, bounded memory and processes.

        The engine creates one of a name only; NameTakenError when it is there already.
        """
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
            binds=[
                *(f"{volume}:{path}" for volume, path in spec.volumes.items()),
                *(f"{source}:{path}:ro" for source, path in {**spec.inputs, **spec.folders}.items()),
            ],
            sysctls=dict(spec.sysctls),
            log_config=docker.types.LogConfig(type="json-file", config={"max-size": "4m", "max-file": "1"}),
            device_requests=[docker.types.DeviceRequest(count=1, capabilities=[["gpu"]])] if spec.gpu else None,
            network_mode="host" if spec.host_network else next(iter(spec.networks), "none"),
        )
        endpoints = {net: api.create_endpoint_config(aliases=[alias]) for net, alias in spec.networks.items()}
        first = next(iter(endpoints), None)
        self._make(
            api.create_container,
            spec.image,
            mine=lambda: self._has("container", spec.name, spec.labels),
            command=list(spec.command) if spec.command is not None else None,
            name=spec.name,
            labels=dict(spec.labels),
            environment=dict(spec.environment),
            host_config=host,
            networking_config=api.create_networking_config({first: endpoints[first]}) if first else None,
        )
        for net, alias in list(spec.networks.items())[1:]:
            connected = partial(self._is_connected, spec.name, net)
            self._ask(api.connect_container_to_network, spec.name, net, aliases=[alias], done=connected)

    def _has(self, kind: str, name: str, labels: Mapping[str, str]) -> bool:
        """Whether something was made by the deployment of these labels."""
        mine = labels.get(DEPLOYMENT)
        return mine is not None and any((t.kind, t.name) == (kind, name) for t in self.labelled(**{DEPLOYMENT: mine}))

    def _is_connected(self, container: str, network: str) -> bool:
        data = self._ask(self.client.api.inspect_container, container)
        return network in (data["NetworkSettings"]["Networks"] or {})

    def put_file(self, container: str, folder: str, name: str, data: bytes, only_for: int | None = None) -> None:
        """Writes a file into a folder of a (created or running) container, readable by all or by one user alone."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o444
            if only_for is not None:
                entry.uid, entry.gid, entry.mode = only_for, only_for, 0o400
            tar.addfile(entry, io.BytesIO(data))
        self._ask(self.client.api.put_archive, container, folder, buffer.getvalue())

    def put_into_volume(self, volume: str, image: str, files: Mapping[str, bytes], only_for: int | None = None) -> None:
        """Writes files into a volume that no container need be able to write to; see ``put_file``."""
        with self._holder(volume, image) as (container, folder):
            for name, data in files.items():
                self.put_file(container, folder, name, data, only_for)

    def read_from_volume(self, volume: str, image: str, name: str) -> bytes:
        """A file of a volume, whoever may read it there. GoneError where there is none."""
        with self._holder(volume, image) as (container, folder):
            archive = self._ask(lambda: b"".join(self.client.api.get_archive(container, f"{folder}/{name}")[0]))
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                found = tar.extractfile(name)
                assert found is not None
                return found.read()

    @contextmanager
    def _holder(self, volume: str, image: str) -> Iterator[tuple[str, str]]:
        """A container that is never started, through which the engine reaches into a volume, and where that is."""
        labels = self._ask(self.client.api.inspect_volume, volume)["Labels"] or {}
        mine, folder = uuid.uuid4().hex, "/volume"
        name = f"{volume}-{mine[:8]}"
        try:
            self.create(ContainerSpec(name, image, {**labels, HOLDER: mine}, volumes={volume: folder}))
            yield name, folder
        finally:
            self.remove(**{HOLDER: mine})

    def start(self, container: str) -> None:
        """Starts a container that was created or has ended; once, though it may end before its start is answered."""
        before = self.inspect(container).started_at
        self._ask(self.client.api.start, container, done=lambda: self.inspect(container).started_at != before)

    def kill(self, container: str) -> None:
        """Ends a container at once (SIGKILL)."""
        self._ask(self.client.api.kill, container, done=lambda: self.inspect(container).status == "exited")

    def restart(self, container: str) -> None:
        """Ends a container at once, frozen or not, and starts it again; one that has ended is started."""
        if self.inspect(container).status == "paused":
            self.unpause(container)
        self._ask(self.client.api.restart, container, timeout=0)

    def pause(self, container: str) -> None:
        """Freezes all processes of a container."""
        self._ask(self.client.api.pause, container, done=lambda: self.inspect(container).status == "paused")

    def unpause(self, container: str) -> None:
        """Lets a frozen container go on."""
        self._ask(self.client.api.unpause, container, done=lambda: self.inspect(container).status == "running")

    def await_end(self, container: str, timeout_s: float) -> None:
        """Returns when a container has ended. EngineError after so many seconds."""
        self._ask(self.client.api.wait, container, timeout=timeout_s)

    def launch(self, container: str, command: Sequence[str]) -> None:
        """Starts a command in a running container, and does not wait for it."""
        api = self.client.api
        exec_id = self._ask(api.exec_create, container, list(command), stdout=False, stderr=False)["Id"]
        self._ask(api.exec_start, exec_id, detach=True)

    def limit_cpu(self, container: str, period_us: int, quota_us: int) -> None:
        """Sets the CFS quota: at most ``quota_us`` of CPU time in every ``period_us``; −1 lifts it."""
        self._ask(self.client.api.update_container, container, cpu_period=period_us, cpu_quota=quota_us)

    def weigh_cpu(self, container: str, weight: int) -> None:
        """Where cores are scarce the container gets so many times as much as one of weight 1."""
        self._ask(self.client.api.update_container, container, cpu_shares=weight * ONE_SHARE)

    def containers(self, **labels: str) -> list[ContainerState]:
        """Containers, running or not, that carry these labels."""
        listed = self._ask(self.client.api.containers, all=True, filters=_with_labels(labels))
        found = self.parallel(lambda c: self._inspect_if_there(c["Id"]), listed)
        return sorted(filter(None, found), key=lambda c: c.name)

    def _inspect_if_there(self, container: str) -> ContainerState | None:
        """A container that was listed may be gone by now."""
        try:
            return self.inspect(container)
        except GoneError:
            return None

    def inspect(self, container: str) -> ContainerState:
        """The state of one container."""
        data = self._ask(self.client.api.inspect_container, container)
        networks = data["NetworkSettings"]["Networks"] or {}
        return ContainerState(
            id=data["Id"],
            name=data["Name"].lstrip("/"),
            labels=data["Config"]["Labels"] or {},
            status=data["State"]["Status"],
            exit_code=data["State"]["ExitCode"],
            oom_killed=data["State"]["OOMKilled"],
            pid=data["State"]["Pid"],
            started_at=data["State"]["StartedAt"],
            addresses={net: end["IPAddress"] for net, end in networks.items() if end["IPAddress"]},
        )

    def logs(self, container: str, tail: int | str = "all") -> str:
        """What a container has printed."""
        raw: bytes = self._ask(self.client.api.logs, container, tail=tail)
        return raw.decode(errors="replace")

    def exec_json(self, container: str, command: Sequence[str], document: Any) -> tuple[int, Any]:
        """Runs a command in a container with JSON on its stdin; its exit status and the JSON it printed."""
        api = self.client.api
        exec_id = self._ask(api.exec_create, container, list(command), stdin=True, stdout=True, stderr=True)["Id"]
        with closing(self._ask(api.exec_start, exec_id, socket=True)) as stream:
            raw = getattr(stream, "_sock", stream)
            try:
                raw.sendall(json.dumps(document).encode() + b"\n")
                raw.shutdown(socket.SHUT_WR)
                output, errors = _output(raw)
            except OSError as error:
                raise AwayError(f"{container}: {' '.join(command)} broke off: {error}", "see Docker's log") from error
        status = int(self._ask(api.exec_inspect, exec_id)["ExitCode"] or 0)
        try:
            return status, json.loads(output)
        except ValueError:
            raise EngineError(f"{container}: {' '.join(command)} failed: {last_line(errors or output)}") from None

    def converse(self, container: str, command: Sequence[str]) -> Conversation:
        """Starts a command in a container that answers lines of JSON until its input ends."""
        api = self.client.api
        exec_id = self._ask(api.exec_create, container, list(command), stdin=True, stdout=True, stderr=True)["Id"]
        return Conversation(self._ask(api.exec_start, exec_id, socket=True), f"{' '.join(command)} in {container}")

    def run_once(self, spec: ContainerSpec, timeout_s: int = RUN_S) -> str:
        """What a container that runs its command and ends printed on stdout; it is removed again.

        EngineError when its command fails, or has not ended after ``timeout_s``.
        """
        mine = uuid.uuid4().hex
        try:
            self.parallel(self.create, [replace(spec, labels={**spec.labels, DEPLOYMENT: mine})])
            self.start(spec.name)
            return self._outcome(spec, timeout_s)
        finally:
            self.remove(**{DEPLOYMENT: mine})

    def _outcome(self, spec: ContainerSpec, timeout_s: int) -> str:
        command, end = " ".join(spec.command or ()), time.monotonic() + timeout_s

        def wait() -> int:
            left_s = max(0.1, end - time.monotonic())
            return int(self.client.api.wait(spec.name, timeout=left_s)["StatusCode"])  # type: ignore[arg-type]

        try:
            status = self._ask(wait)
        except AwayError as error:
            if time.monotonic() < end:
                raise
            message = f"{command} did not end in {spec.image} within {timeout_s} s"
            raise EngineError(message, "is the host very busy? type: testbed doctor") from error
        if status:
            raise EngineError(f"{command} failed in {spec.image}: {last_line(self.logs(spec.name))}")
        output: bytes = self._ask(self.client.api.logs, spec.name, stdout=True, stderr=False)
        return output.decode()

    def watch(self, trial: str) -> EventStream:
        """What happens from now on to the containers of a trial."""
        # By the engine's clock; it answers before it listens, and would leave out what happens in between.
        now = datetime.fromisoformat(self.info()["SystemTime"]).timestamp()
        filters = {"type": "container", "label": f"{LABEL}={trial}", "event": list(ACTIONS)}

        def told(since_s: float) -> Any:
            return self._ask(self.client.api.events, decode=True, since=f"{since_s:.6f}", filters=filters)

        return EventStream(told, now, partial(self._ended, trial), _hang_up)

    def _ended(self, trial: str) -> list[ContainerEvent]:
        """The containers of a trial that do not run, as events: a restarted engine does not tell of what it ended."""
        now = datetime.fromisoformat(self.info()["SystemTime"]).timestamp()
        return [
            ContainerEvent(state.name, state.labels.get(AGENT, ""), "die", state.exit_code, now)
            for state in self.containers(**{LABEL: trial})
            if state.status in ("exited", "dead")
        ]

    def labelled(self, **labels: str) -> list[Thing]:
        """All containers, networks and volumes that carry these labels; an empty value stands for any."""
        found: list[Thing] = self._ask(self._labelled, _with_labels(labels))
        return found

    def remove(self, **labels: str) -> int:
        """Removes all containers, networks and volumes with these labels; how many there were.

        What cannot be removed does not keep the rest, and is tried again for some seconds: Docker may still be making
        it, or at its own removal. EngineError names all that is left, and the commands that remove it.
        """
        found: dict[str, Thing] = {}
        left: dict[Thing, str] = {}
        for pause_s in (0.0, *REMOVAL_PAUSES_S):
            time.sleep(pause_s)
            there = self.labelled(**labels)
            if not there:
                return len(found)
            found.update({thing.id: thing for thing in there})
            left = remove_each(self.client.api, there, self.parallel)
        if left:
            reasons = ", ".join(f"{thing} ({why})" for thing, why in left.items())
            commands = "; ".join(removing(self.client.api, thing) for thing in left)
            trial = next(iter(left)).trial or "NAME"
            raise EngineError(f"cannot remove {reasons}", f"type: {commands}; then: testbed down {trial}")
        return len(found)

    def _labelled(self, filters: Mapping[str, list[str]]) -> list[Thing]:
        api: Any = self.client.api
        containers, networks = api.containers(all=True, filters=filters), api.networks(filters=filters)
        volumes = api.volumes(filters=filters)["Volumes"] or []
        return [
            *(Thing("container", c["Id"], c["Names"][0].lstrip("/"), _trial(c)) for c in containers),
            *(Thing("network", n["Id"], n["Name"], _trial(n)) for n in networks),
            *(Thing("volume", v["Name"], v["Name"], _trial(v)) for v in volumes),
        ]

    def parallel(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """``work`` on each item from a few threads; results in order, the first error raised.

        An interrupt waits until what has begun is done, so that it knows of all that there is to remove.
        """
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(work, items))


def _hang_up(stream: Any) -> None:
    """Ends a stream of events under whoever reads it, which docker-py refuses to do over ssh."""
    with suppress(OSError):  # the engine was faster
        try:
            stream.close()
        except docker.errors.DockerException:
            stream._response.raw._fp.fp.channel.close()


def _with_labels(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Docker's filter for things that carry these labels; an empty value stands for any."""
    return {"label": [f"{key}={value}" if value else key for key, value in labels.items()]}


def _trial(listed: Mapping[str, Any]) -> str:
    return str((listed["Labels"] or {}).get(LABEL, ""))


def _output(source: socket.socket) -> tuple[bytes, bytes]:
    """All that a process prints until it ends: stdout and stderr."""
    streams: dict[int, bytearray] = {STDOUT: bytearray(), STDERR: bytearray()}
    while frame := read_frame(source):
        kind, data = frame
        streams.setdefault(kind, bytearray()).extend(data)
    return bytes(streams[STDOUT]), bytes(streams[STDERR])
