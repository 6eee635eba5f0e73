"""A Debian root file system with Python, for machines where no image registry answers.

The packages come from wherever this machine's own apt takes them; before one is unpacked, its signature counts (that of
the suite, by apt's keyring) and its hash, which images/base/debian.lock must have. ``python -m testbed.debian`` prints
that file anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import ImageError

SUITE = "bookworm"  # its Python is 3.11
INCLUDE = "python3"
PROMETHEUS, ITS_PAGES = "prometheus", "libjs-|fonts-"
LOCK = Path(__file__).resolve().parent.parent / "images/base/debian.lock"
CACHE = "var/cache/apt/archives"

# Nothing at run time reads these, or the engine puts its own in their place; the last three tell of this machine.
LEFT_OUT = [
    *(f"./{folder}/*" for folder in ("dev", "proc", "sys", "run", "tmp", "var/log", "var/cache", "var/lib/apt/lists")),
    *(f"./usr/share/{folder}/*" for folder in ("man", "info", "locale", "lintian")),
    *("./etc/apt/sources.list", "./etc/hostname", "./etc/resolv.conf"),
]


@dataclass(frozen=True)
class Mirror:
    """Where apt takes a suite from, and how it trusts what it finds there."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    keyring: str | None = None
    trusted: bool = False


def parse_list(text: str) -> Iterator[Mirror]:
    """The ``deb`` lines of a one-line-style ``sources.list``."""
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if found:
            options, uri, suite, components = found.groups()
            given = dict(word.partition("=")[::2] for word in (options or "").split())
            keyring = _keyring(given.get("signed-by", ""))
            yield Mirror(uri, (suite,), tuple(components.split()), keyring, given.get("trusted") == "yes")


def parse_deb822(text: str) -> Iterator[Mirror]:
    """The enabled binary sources of a deb822-style ``*.sources`` file."""
    text = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        pairs = re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", paragraph, flags=re.MULTILINE)
        fields = {key.lower(): value.strip() for key, value in pairs}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        suites, components = (tuple(fields.get(key, "").split()) for key in ("suites", "components"))
        for uri in fields.get("uris", "").split():
            yield Mirror(uri, suites, components, _keyring(fields.get("signed-by", "")), fields.get("trusted") == "yes")


def find_mirror(apt: Path = Path("/etc/apt")) -> Mirror:
    """The first mirror of ``SUITE`` in apt's configuration that debootstrap can use."""
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        parse = {".list": parse_list, ".sources": parse_deb822}.get(path.suffix)
        if parse and path.is_file():
            for mirror in parse(path.read_text()):
                if SUITE in mirror.suites and "main" in mirror.components and re.match("https?:|file:", mirror.uri):
                    return mirror
    raise ImageError(
        f"no image registry answers, and apt knows no mirror of Debian {SUITE} to make an image from",
        "load python:3.11-slim into Docker (docker load), then again",
    )


def make_root(archive: Path, say: Callable[[str], None]) -> None:
    """Writes a tar of a minimal ``SUITE`` with Python."""
    say(f"base: making Debian {SUITE} from this machine's apt mirror (half a minute)")
    archive.parent.mkdir(parents=True, exist_ok=True)
    # Not under /tmp, which may be mounted so that nothing runs from it.
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        root = Path(folder)
        bootstrap(root, INCLUDE, "--download-only")
        verify(root / CACHE)
        bootstrap(root, INCLUDE)
        _drop_docs(root / "usr/share/doc")
        excluded = [f"--exclude={glob}" for glob in LEFT_OUT]
        _run(["tar", "-C", folder, "--numeric-owner", *excluded, "-cf", str(archive), "."])


def verify(folder: Path, lock: Path = LOCK) -> None:
    """ImageError unless the lock has the hash of every package in a folder.

    A lock that has none for this processor is no lock for it: there the suite's signature is all.
    """
    known = set(lock.read_text().splitlines())
    packages = sorted(folder.glob("*.deb"))
    processors = {_architecture(package.name) for package in packages} - {"all"}
    if processors and not processors & {_architecture(line) for line in known}:
        return
    strange = [package.name for package in packages if f"{_sha256(package)}  {package.name}" not in known]
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        message = f"of Debian's packages {', '.join(strange[:3])}{more} are not those of images/base/debian.lock"
        raise ImageError(message, "images/host/lock.sh debian renews it, where apt's mirror is to be trusted")


def lines() -> Iterator[str]:
    """The lock as it would be with what the mirror has now, in the format of sha256sum."""
    with tempfile.TemporaryDirectory() as folder:
        root, pages = Path(folder, "root"), Path(folder, "pages")
        pages.mkdir()
        bootstrap(root, INCLUDE, "--download-only")
        fetch(PROMETHEUS, ITS_PAGES, pages)
        for package in sorted([*(root / CACHE).glob("*.deb"), *pages.glob("*.deb")], key=lambda path: path.name):
            yield f"{_sha256(package)}  {package.name}"


def bootstrap(root: Path, include: str, *options: str) -> Mirror:
    """Fills a folder with a minimal ``SUITE`` and the packages named; where they came from. Raises ImageError."""
    mirror = find_mirror()
    if not shutil.which("debootstrap"):
        raise ImageError("no image registry answers, and there is no debootstrap", "apt-get install debootstrap")
    if os.geteuid() != 0:
        raise ImageError("making the base image takes root, once", "make images, as root")
    trust = ["--no-check-gpg"] if mirror.trusted else [f"--keyring={mirror.keyring}"] if mirror.keyring else []
    # In a mount namespace of its own: what debootstrap mounts is gone with it, however it ends.
    command = ["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={include}", *options]
    _run([*command, *trust, SUITE, str(root), mirror.uri])
    return mirror


def fetch(package: str, pages: str, folder: Path) -> None:
    """Downloads a package and what it depends on whose name matches ``pages``, by this machine's apt. ImageError."""
    if not shutil.which("apt-get"):
        raise ImageError(f"no image registry answers, and there is no apt-get to fetch Debian's {package} with")
    no_list = subprocess.run(["apt-cache", "show", package], capture_output=True).returncode
    if no_list:
        _run(["apt-get", "update", "-qq"])
    of_no_use = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    told = _run(["apt-cache", "depends", "--recurse", *of_no_use, package]).splitlines()
    _run(["apt-get", "download", "-q", package, *(name for name in told if re.match(pages, name))], folder)


def _drop_docs(folder: Path) -> None:
    """Leaves of the documentation what says under which licence a package is."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.name != "copyright" and not path.is_symlink():
            path.unlink()


def _architecture(name: str) -> str:
    return name.removesuffix(".deb").rpartition("_")[2]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _keyring(value: str) -> str | None:
    """A keyring that debootstrap can be given; else (a key in the text, an armoured file) it uses Debian's own."""
    return value if re.fullmatch(r"/\S+\.(gpg|pgp|kbx)", value) else None


def environment() -> dict[str, str]:
    """This process's environment, with apt's proxy for those who do not read apt's configuration."""
    proxy = _apt_proxy()
    return {"http_proxy": proxy, **os.environ} if proxy else dict(os.environ)


def _run(command: list[str], folder: Path | None = None) -> str:
    """Runs a command, in a folder if one is given; what it printed. ImageError."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, errors="replace", cwd=folder)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise ImageError(f"{command[0]} failed: {last}", "is the mirror in apt's configuration reachable?")
    return done.stdout


def _apt_proxy() -> str:
    if not shutil.which("apt-config"):
        return ""
    command = ["apt-config", "dump", "--format", "%v", "Acquire::http::Proxy"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    print(*lines(), sep="\n")
