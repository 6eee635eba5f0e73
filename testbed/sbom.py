"""What is in an image, as a bill of materials (CycloneDX 1.5): packages, versions, hashes, licences."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from testbed import debian
from testbed.errors import ImageError
from testbed.files import write_atomically
from testbed.pins import normal

Bill = dict[str, Any]

CONTENTS = Path(__file__).resolve().parent.parent / "images/base/contents.py"
_NAMESPACE = uuid.UUID("9b1d3c9a-4f0e-5c39-a6f7-0b7a54a3f2d1")


def written(client: Any, tags: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Brings the bill of each image up to date; role → file. Nothing is run for an image whose bill is there."""
    found: dict[str, Path] = {}
    for role, tag in tags.items():
        image = client.api.inspect_image(tag)["Id"]
        found[role] = folder / f"{role}.cdx.json"
        if _image_of(found[role]) != image:
            folder.mkdir(parents=True, exist_ok=True)
            bill = bill_of(tag, image, contents(client, image), debian.LOCK.read_text().splitlines())
            write_atomically(found[role], json.dumps(bill, indent=1) + "\n")
    return found


def contents(client: Any, image: str) -> Mapping[str, Any]:
    """What an image says that it holds, in a container as closed as an agent's."""
    command = ["python3", "-c", CONTENTS.read_text()]
    closed = {"network_mode": "none", "read_only": True, "cap_drop": ["ALL"], "user": "10001:10001"}
    told: Mapping[str, Any] = json.loads(client.containers.run(image, command, remove=True, **closed))
    return told


def bill_of(tag: str, image: str, held: Mapping[str, Any], lock: Sequence[str]) -> Bill:
    """The bill of an image; ``lock``: the hashes of Debian's packages, as sha256sum writes them."""
    wheels = {_wheel(name): digest for digest, name in map(_split, held["wheels"])}
    packages = {name: digest for digest, name in map(_split, lock)}
    parts = [*_of_debian(held["debian"], packages), *_of_python(held["python"], wheels)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, image)}",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": image, "name": tag, "version": image}},
        "components": sorted(parts, key=lambda one: str(one["bom-ref"])),
    }


def licences(bill: Bill) -> list[dict[str, str]]:
    """One row for each package of a bill."""
    return [
        {"package": one["name"], "version": one["version"], "licence": "; ".join(_named(one)) or "not said"}
        for one in bill["components"]
    ]


def read(path: Path) -> Bill:
    """A bill that was written. ImageError where there is none."""
    try:
        found: Bill = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: there is no bill of materials", "type: testbed images build") from error
    return found


def _of_debian(held: Sequence[Mapping[str, Any]], packages: Mapping[str, str]) -> Iterator[Bill]:
    for one in held:
        name, version, architecture = one["name"], one["version"], one["architecture"]
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}&distro={debian.SUITE}"
        digest = packages.get(f"{name}_{version.replace(':', '%3a')}_{architecture}.deb")
        yield _part(name, version, purl, digest, one["licences"])


def _of_python(held: Sequence[Mapping[str, Any]], wheels: Mapping[tuple[str, str], str]) -> Iterator[Bill]:
    for one in held:
        name, version = normal(one["name"]), one["version"]
        purl = f"pkg:pypi/{name}@{quote(version, safe='')}"
        yield _part(name, version, purl, wheels.get((name, version)), one["licences"], one["expression"])


def _part(
    name: str, version: str, purl: str, digest: str | None, named: Sequence[str], expression: str | None = None
) -> Bill:
    part: Bill = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if digest:
        part["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if expression:
        part["licenses"] = [{"expression": expression}]
    elif named:
        part["licenses"] = [{"license": {"name": one}} for one in named]
    return part


def _named(part: Bill) -> list[str]:
    return [one.get("expression") or one["license"]["name"] for one in part.get("licenses", ())]


def _split(line: str) -> tuple[str, str]:
    digest, _, name = line.partition("  ")
    return digest, name


def _wheel(name: str) -> tuple[str, str]:
    """Name and version of the package in a wheel."""
    package, version, *_ = name.split("-")
    return normal(package), version


def _image_of(path: Path) -> str:
    """The image that a bill is of, or ''."""
    try:
        found = json.loads(path.read_text())["metadata"]["component"]["version"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return found if isinstance(found, str) and re.fullmatch(r"sha256:[0-9a-f]+", found) else ""
