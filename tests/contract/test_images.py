"""The images, built by a real engine and run as a trial runs them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from testbed import images, sbom
from testbed.errors import ImageError

pytestmark = pytest.mark.docker

TRAIN = """
import json, os, sys
import msgpack, numpy, prometheus_client, safetensors.torch, torch, zmq
from torch.utils.flop_counter import FlopCounterMode
from torch import nn
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(288, 10))
with FlopCounterMode(display=False) as counter:
    model(torch.randn(4, 3, 8, 8)).sum().backward()
torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9).step()
print(json.dumps({"uid": os.getuid(), "flops": counter.get_total_flops(), "python": sys.version_info[:2]}))
"""

SHAPE = """
import importlib.util, json, os, pyroute2, testbed.shaping
print(json.dumps({"uid": os.getuid(), "torch": importlib.util.find_spec("torch") is not None}))
"""


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    client = docker.from_env(timeout=300)
    yield client
    client.close()


@pytest.fixture(scope="module")
def tags(client: docker.DockerClient) -> dict[str, str]:
    return images.build(client, print)


def run(client: docker.DockerClient, image: str, program: str) -> Any:
    """What a program prints in a container as closed as an agent's."""
    output = client.containers.run(
        image,
        ["python3", "-c", program],
        remove=True,
        read_only=True,
        network_mode="none",
        cap_drop=["ALL"],
        tmpfs={"/tmp": "size=16m"},
    )
    return json.loads(output)


def test_agent_trains_as_a_plain_user(client: docker.DockerClient, tags: dict[str, str]) -> None:
    said = run(client, tags["agent"], TRAIN)
    assert said["uid"] == 10001
    assert said["python"] == [3, 11]
    assert said["flops"] > 0


def test_agent_image_holds_the_agents_and_not_the_controller(client: docker.DockerClient, tags: dict[str, str]) -> None:
    program = "import json, os; print(json.dumps(os.listdir('/opt/testbed')))"
    assert run(client, tags["agent"], program) == ["agents"]


def test_shaper_is_root_without_torch(client: docker.DockerClient, tags: dict[str, str]) -> None:
    assert run(client, tags["shaper"], SHAPE) == {"uid": 0, "torch": False}


def test_packages_are_compiled(client: docker.DockerClient, tags: dict[str, str]) -> None:
    """The root is read-only, so what is not compiled in the image is compiled at every start."""
    program = "import json, pathlib, torch; print(json.dumps(pathlib.Path(torch.__cached__).exists()))"
    assert run(client, tags["agent"], program) is True


def test_shaper_ends_at_once(client: docker.DockerClient, tags: dict[str, str]) -> None:
    container = client.containers.run(tags["shaper"], detach=True, network_mode="none")
    try:
        time.sleep(1)
        container.reload()
        assert container.status == "running", container.logs()
        begin = time.monotonic()
        container.stop(timeout=10)
        assert time.monotonic() - begin < 5, "it does not hear SIGTERM"
    finally:
        container.remove(force=True)


def test_all_images_together_are_small(client: docker.DockerClient, tags: dict[str, str]) -> None:
    """Even with the base, which they share, counted for each."""
    assert sum(client.images.get(tag).attrs["Size"] for tag in tags.values()) <= 1.5e9


def test_nothing_changed_means_nothing_done(
    client: docker.DockerClient, tags: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is asked what it has, and to tidy up; nothing is pulled, built, imported or tagged."""
    asked: list[tuple[str, str]] = []
    send = client.api.send

    def note(request: Any, **how: Any) -> Any:
        asked.append((request.method, request.path_url.partition("?")[0].rpartition("/")[2]))
        return send(request, **how)

    monkeypatch.setattr(client.api, "send", note)
    said: list[str] = []
    before = {tag: client.images.get(tag).id for tag in tags.values()}
    assert images.build(client, said.append) == tags
    assert said == []
    assert before == {tag: client.images.get(tag).id for tag in tags.values()}
    assert {what for method, what in asked if method != "GET"} == {"prune"}


def test_every_image_is_labelled(client: docker.DockerClient, tags: dict[str, str]) -> None:
    for tag in (images.BASE, *tags.values()):
        assert client.images.get(tag).labels[images.LABEL] == "1"


def test_a_failing_build_says_what_failed(client: docker.DockerClient, tmp_path: Any) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM {images.BASE}\nRUN echo the reason; exit 3\n")
    with pytest.raises(ImageError, match="the reason"):
        images._make(client, "testbed-broken:latest", {"Dockerfile": dockerfile}, "none")


def test_every_image_has_a_bill_of_what_is_in_it(
    client: docker.DockerClient, tags: dict[str, str], tmp_path: Any
) -> None:
    files = sbom.written(client, tags, tmp_path)
    bill = sbom.read(files["agent"])
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(files["agent"].read_text()) is None
    parts = {part["name"]: part for part in bill["components"]}
    assert {"torch", "pyzmq", "libc6", "dash"} <= set(parts)
    python = [part for part in parts.values() if part["purl"].startswith("pkg:pypi/")]
    assert all("hashes" in part for part in python), "each came as a wheel that the lock knows"
    locked = images.LOCK.read_text()
    assert all(part["hashes"][0]["content"] in locked for part in python)
    unsaid = [row["package"] for row in sbom.licences(bill) if row["licence"] == "not said"]
    assert not unsaid
