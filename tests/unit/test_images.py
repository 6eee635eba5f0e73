"""What goes into the images, without an engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from testbed import debian, images
from testbed.errors import ImageError

ONE_LINE = """
# deb http://commented.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb http://security.example/debian-security bookworm-security main
deb [signed-by=/usr/share/keyrings/ours.gpg trusted=yes] https://one.example/debian bookworm main contrib # us
"""

DEB822 = """\
# a comment
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb deb-src
URIs: http://two.example/debian
 http://three.example/debian
Suites: bookworm bookworm-updates
# in between
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_one_line_sources() -> None:
    found = list(debian.parse_list(ONE_LINE))
    assert [mirror.uri for mirror in found][-2:] == [
        "http://security.example/debian-security",
        "https://one.example/debian",
    ]
    assert found[-1] == debian.Mirror(
        "https://one.example/debian", ("bookworm",), ("main", "contrib"), "/usr/share/keyrings/ours.gpg", trusted=True
    )


def test_deb822_sources() -> None:
    found = list(debian.parse_deb822(DEB822))
    assert [mirror.uri for mirror in found] == ["http://two.example/debian", "http://three.example/debian"]
    assert found[0].suites == ("bookworm", "bookworm-updates")
    assert found[0].components == ("main",)
    assert found[0].keyring is None, "a key inside the file is nothing that debootstrap takes"


@pytest.mark.parametrize(
    ("name", "text", "uri"),
    [
        ("sources.list", ONE_LINE, "https://one.example/debian"),
        ("sources.list.d/a.sources", DEB822, "http://two.example/debian"),
    ],
)
def test_mirror_is_apts_own(tmp_path: Path, name: str, text: str, uri: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/another.list").write_text("deb https://other.example/apt stable main\n")
    (tmp_path / name).write_text(text)
    assert debian.find_mirror(tmp_path).uri == uri


def test_no_mirror_is_said_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="bookworm") as caught:
        debian.find_mirror(tmp_path)
    assert "docker load" in caught.value.hint


def test_sources_are_code_and_nothing_else(tmp_path: Path) -> None:
    for path in (
        "agents/__init__.py",
        "agents/wire/air.py",
        "agents/__pycache__/air.cpython-311.pyc",
        "controller/cli.py",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    assert list(images.sources("agent", tmp_path)) == ["code/agents/__init__.py", "code/agents/wire/air.py"]


def test_shaper_carries_no_more_of_the_testbed_than_it_needs() -> None:
    names = set(images.sources("shaper"))
    assert {"code/testbed/__init__.py", "code/testbed/shaping/__init__.py"} <= names
    assert "code/testbed/topology.py" not in names


def test_digest_sees_names_contents_and_the_rest(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    base = images.digest({"a": one, "b": two}, "parent")
    assert base == images.digest({"b": two, "a": one}, "parent"), "order is nothing"
    others = [
        images.digest({"a": two, "b": one}, "parent"),
        images.digest({"a": one}, "parent"),
        images.digest({"a": one, "b": two}, "other"),
        images.digest({"a": one, "b": two}),
    ]
    one.write_text("1!")
    others.append(images.digest({"a": one, "b": two}, "parent"))
    assert len({base, *others}) == 6


class Registry:
    """The ``pull`` of a docker client: these events, then silence or the end."""

    def __init__(self, events: list[dict[str, str]], silent: bool = False, error: Exception | None = None) -> None:
        self.api = self
        self.events, self.silent, self.error = events, silent, error
        self.over = threading.Event()

    def pull(self, image: str, **_: Any) -> Iterator[dict[str, str]]:
        if self.error:
            raise self.error
        yield from self.events
        if self.silent:
            self.over.wait(10)


def test_pull() -> None:
    assert images.pull(Registry([{"status": "Pulling"}, {"status": "Done"}]), "python") == ""
    assert "denied" in images.pull(Registry([{"status": "Pulling"}, {"error": "denied"}]), "python")
    assert "no such host" in images.pull(Registry([], error=requests.ConnectionError("no such host")), "python")


def test_pull_does_not_wait_for_a_silent_registry() -> None:
    registry = Registry([{"status": "Pulling"}], silent=True)
    assert images.pull(registry, "python", patience_s=0.05) == "no answer for 0.05 s"
    registry.over.set()
