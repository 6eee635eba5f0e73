"""Packages that are fetched by this machine's apt."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from testbed import debian, images
from testbed.errors import ImageError

APT_CACHE = """#!/bin/sh
echo "apt-cache $*" >>"$TOLD"
[ "$1" = depends ] || [ -e "$LISTS" ] || exit 100
printf 'prometheus\\n  Depends: libc6\\nlibc6\\nlibjs-d3\\n  Depends: libjs-none\\nfonts-g\\n'
"""
APT_GET = """#!/bin/sh
echo "apt-get $*" >>"$TOLD"
if [ "$1" = update ]; then touch "$LISTS"; else touch prometheus.deb; fi
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an apt without lists was told, line by line."""
    for name, script in (("apt-cache", APT_CACHE), ("apt-get", APT_GET)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    monkeypatch.setenv("LISTS", str(tmp_path / "lists"))
    return tmp_path / "told"


def test_a_package_comes_with_its_pages_and_no_libraries(told: Path, tmp_path: Path) -> None:
    (tmp_path / "debs").mkdir()
    for _ in range(2):
        debian.fetch("prometheus", "libjs-|fonts-", tmp_path / "debs")
    done = [line for line in told.read_text().splitlines() if line.startswith("apt-get")]
    assert done == ["apt-get update -qq", *["apt-get download -q prometheus libjs-d3 fonts-g"] * 2]
    assert (tmp_path / "debs/prometheus.deb").exists()


def test_without_apt_the_cause_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match=r"no apt-get to fetch Debian's prometheus with"):
        debian.fetch("prometheus", "libjs-", tmp_path)


@pytest.mark.parametrize(
    ("debs", "complaint"),
    [
        ({"dash_1_amd64.deb": "right"}, ""),
        ({"dash_1_amd64.deb": "right", "doc_1_all.deb": "another"}, "doc_1_all.deb are not those of images/base"),
        ({"dash_1_amd64.deb": "another", "doc_1_all.deb": "right"}, "dash_1_amd64.deb are not those"),
        ({"dash_1_riscv64.deb": "another"}, ""),
    ],
    ids=["right", "page", "program", "another-processor"],
)
def test_packages_that_the_lock_does_not_know_are_refused_before_anything_of_them_runs(
    debs: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    known = hashlib.sha256(b"right").hexdigest()
    (tmp_path / "lock").write_text(f"{known}  dash_1_amd64.deb\n{known}  doc_1_all.deb\n")
    for name, content in debs.items():
        (tmp_path / name).write_text(content)
    if complaint:
        with pytest.raises(ImageError, match=complaint) as caught:
            debian.verify(tmp_path, tmp_path / "lock")
        assert "lock.sh debian" in caught.value.hint
    else:
        debian.verify(tmp_path, tmp_path / "lock")


def test_images_of_registries_are_named_by_digest() -> None:
    for dockerfile in images.IMAGES.rglob("pull.Dockerfile"):
        assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", images.pinned_image(dockerfile)), dockerfile
