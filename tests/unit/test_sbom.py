"""Bills of materials, from what images say that they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from controller.cli import main
from testbed import images, sbom
from testbed.errors import ImageError

IMAGE = "sha256:" + "a" * 64
HELD = {
    "debian": [
        {"name": "bsdutils", "version": "1:2.38", "architecture": "amd64", "licences": ["GPL-2+", "MIT"]},
        {"name": "new", "version": "2", "architecture": "all", "licences": []},
    ],
    "python": [
        {"name": "torch", "version": "2.13.0+cpu", "expression": "BSD-3-Clause AND MIT", "licences": []},
        {"name": "prometheus_client", "version": "0.26.0", "expression": None, "licences": ["Apache Software License"]},
    ],
    "wheels": [f"{'1' * 64}  torch-2.13.0+cpu-cp311-cp311-linux.whl", f"{'2' * 64}  prometheus_client-0.26.0-py3.whl"],
}
LOCK = [f"{'3' * 64}  bsdutils_1%3a2.38_amd64.deb"]


def test_a_bill_names_every_package_with_version_hash_and_licence() -> None:
    bill = sbom.bill_of("testbed-agent:latest", IMAGE, HELD, LOCK)
    parts = {part["name"]: part for part in bill["components"]}
    assert parts["bsdutils"]["purl"] == "pkg:deb/debian/bsdutils@1%3A2.38?arch=amd64&distro=bookworm"
    assert parts["torch"]["purl"] == "pkg:pypi/torch@2.13.0%2Bcpu"
    found = {name: part["hashes"][0]["content"][0] for name, part in parts.items() if "hashes" in part}
    assert found == {"torch": "1", "prometheus-client": "2", "bsdutils": "3"}
    assert {row["package"]: row["licence"] for row in sbom.licences(bill)} == {
        "bsdutils": "GPL-2+; MIT",
        "new": "not said",
        "torch": "BSD-3-Clause AND MIT",
        "prometheus-client": "Apache Software License",
    }


class Client:
    """The few calls of a docker client that a bill takes."""

    def __init__(self) -> None:
        self.api = self.containers = self
        self.image, self.ran = IMAGE, 0

    def inspect_image(self, tag: str) -> dict[str, str]:
        return {"Id": self.image}

    def run(self, image: str, command: list[str], **how: Any) -> bytes:
        assert how["network_mode"] == "none" and how["remove"]
        self.ran += 1
        return json.dumps(HELD).encode()


def test_a_bill_is_made_anew_when_the_image_is_another(tmp_path: Path) -> None:
    client = Client()
    for image, ran in ((IMAGE, 1), (IMAGE, 1), ("sha256:" + "b" * 64, 2)):
        client.image = image
        files = sbom.written(client, {"agent": "testbed-agent:latest"}, tmp_path)
        assert client.ran == ran
        assert sbom.read(files["agent"])["metadata"]["component"]["version"] == image


def test_where_there_is_no_bill_the_verb_that_writes_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        sbom.read(tmp_path / "agent.cdx.json")
    assert "testbed images build" in caught.value.hint


def test_a_bill_is_what_the_schema_of_cyclonedx_says() -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_5)
    bill = sbom.bill_of("testbed-agent:latest", IMAGE, HELD, LOCK)
    assert validator.validate_str(json.dumps(bill)) is None
    assert validator.validate_str(json.dumps({**bill, "components": [{"name": "no type"}]})) is not None


def test_the_verb_lists_each_package_of_all_images_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(images, "BILLS", tmp_path)
    sbom.written(Client(), {role: f"testbed-{role}:latest" for role in images.CODE}, tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["images", "licences", "--json"])
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["package"] for row in rows] == ["bsdutils", "new", "prometheus-client", "torch"]
    assert rows[0] == {"package": "bsdutils", "version": "1:2.38", "licence": "GPL-2+; MIT"}
