"""Builds the images that the containers of a trial run (``testbed images build``).

Three layers: a *base* with Python 3.11, for each role its *packages*, and the *code* on top. Every image carries a
digest of what it was made from, so a build repeats only what has changed; and no build step needs a network: base
image, Debian packages and wheels are fetched before, by Docker, apt's mirror and pip as this machine has them set up.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import urllib3

from testbed import debian
from testbed.errors import ImageError
from testbed.pins import complaint, pinned

Say = Callable[[str], None]
Files = Mapping[str, Path]

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "images"
BUILD = ROOT / "build"
BILLS = BUILD / "sbom"
LOCK = ROOT / "requirements.lock"
LABEL = "io.testbed.image"
INPUTS = "io.testbed.inputs"
BASE = "testbed-base:latest"
PROMETHEUS = "testbed-prometheus:latest"
PATIENCE_S = 20.0
PACKAGES = {"Dockerfile": "packages.Dockerfile", "install.sh": "install.sh"}
PINS = "pins.txt"  # beside the wheels: what the image's pip checks them by, too
PYTHON = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]  # the image's, whatever runs here
# What a builder says of itself, and colours.
NARRATION = re.compile(r"\W*$|Step |Removing intermediate container|\s*--->")
# What the docker package raises derives from these; so does a file that cannot be read or written.
FAILURES = (OSError, urllib3.exceptions.HTTPError)

# What each role runs, under PYTHONPATH.
CODE = {"agent": ["agents"], "shaper": ["testbed/__init__.py", "testbed/errors.py", "testbed/shaping"]}


def build(client: Any, say: Say) -> dict[str, str]:
    """Brings every image up to date on the engine of this ``docker.DockerClient``; role → tag."""
    try:
        base = _base(client, say)
        tags = {role: _role(client, role, base, say) for role in CODE}
    except FAILURES as error:
        raise ImageError(f"the images cannot be built: {error}", "testbed doctor tells what is missing") from error
    _prune(client)
    return tags


def sources(role: str, root: Path = ROOT) -> dict[str, Path]:
    """The files of a role's code: path in the build context → path here."""
    found: dict[str, Path] = {}
    for entry in CODE[role]:
        for path in sorted((root / entry).rglob("*")) or [root / entry]:
            if path.is_file() and "__pycache__" not in path.parts:
                found[f"code/{path.relative_to(root)}"] = path
    return found


def digest(files: Files, *more: str) -> str:
    """What an image is made from, in one word: the files' names and contents, and whatever else counts."""
    total = hashlib.sha256(repr(more).encode())
    for name, path in sorted(files.items()):
        total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def pinned_image(dockerfile: Path) -> str:
    """What a Dockerfile is built from: a name, a tag, and the digest, which is what counts."""
    return dockerfile.read_text().rpartition("FROM ")[2].split()[0]


def _has(client: Any, image: str) -> bool:
    """Whether the engine has an image of this digest; the tag says nothing."""
    name, _, digest = image.partition("@")
    wanted = f"{name.partition(':')[0]}@{digest}"
    return any(wanted in (one["RepoDigests"] or ()) for one in client.api.images())


def pull(client: Any, image: str, patience_s: float = PATIENCE_S) -> str:
    """Pulls an image; returns why that failed, or ''. A registry silent for ``patience_s`` counts as none."""
    events: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        try:
            for event in client.api.pull(image, stream=True, decode=True):
                events.put(event)
            events.put({"done": True})
        except FAILURES as error:
            events.put({"error": getattr(error, "explanation", None) or str(error)})  # an APIError's own words

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            event = events.get(timeout=patience_s)
        except queue.Empty:
            return f"no answer for {patience_s:g} s"
        if "error" in event:
            return str(event["error"])
        if "done" in event:
            return ""


def _prune(client: Any) -> None:
    """Removes what the new images have replaced, and the stage that the wheels were unpacked in."""
    for label in (f"{LABEL}=1", "io.testbed.stage=install"):
        # Tidying only: another build may be doing the same.
        with contextlib.suppress(*FAILURES):
            client.api.prune_images(filters={"dangling": True, "label": [label]})


def _base(client: Any, say: Say) -> str:
    """The id of the base image, made when it is missing."""
    dockerfile = {"Dockerfile": IMAGES / "base/pull.Dockerfile"}
    inputs = digest({**dockerfile, "debian.lock": debian.LOCK}, debian.SUITE, debian.INCLUDE, *debian.LEFT_OUT)
    found = _current(client, BASE, inputs)
    if found:
        return found
    image = pinned_image(dockerfile["Dockerfile"])
    if not _has(client, image):
        say(f"base: pulling {image}")
        why = pull(client, image)
        if why:
            say(f"base: cannot pull {image}: {why}")
            return _import_debian(client, inputs, say)
    return _make(client, BASE, dockerfile, inputs)


def _import_debian(client: Any, inputs: str, say: Say) -> str:
    archive = BUILD / "base.tar"
    debian.make_root(archive, say)
    repository, tag = BASE.split(":")
    changes = [f"LABEL {LABEL}=1 {INPUTS}={inputs}", 'CMD ["python3"]']
    client.api.import_image_from_file(str(archive), repository, tag, changes=changes)
    archive.unlink()
    return str(_current(client, BASE, inputs))


def prometheus(client: Any, say: Say) -> str:
    """The tag of an image that runs Prometheus, and has promtool; made when it is missing. ImageError."""
    folder = IMAGES / "prometheus"
    pulled, unpacked = {"Dockerfile": folder / "pull.Dockerfile"}, {"Dockerfile": folder / "Dockerfile"}
    inputs = digest({**pulled, "unpacked": folder / "Dockerfile"})
    try:
        if _current(client, PROMETHEUS, inputs):
            return PROMETHEUS
        image = pinned_image(pulled["Dockerfile"])
        say(f"prometheus: pulling {image}")
        why = "" if _has(client, image) else pull(client, image)
        if not why:
            _make(client, PROMETHEUS, pulled, inputs)
            return PROMETHEUS
        say(f"prometheus: cannot pull {image}: {why}; taking Debian's package")
        _base(client, say)
        with tempfile.TemporaryDirectory() as packages:
            debian.fetch(debian.PROMETHEUS, debian.ITS_PAGES, Path(packages))
            debian.verify(Path(packages))
            debs = {f"packages/{path.name}": path for path in Path(packages).glob("*.deb")}
            _make(client, PROMETHEUS, {**unpacked, **debs}, inputs)
    except FAILURES as error:
        raise ImageError(
            f"no image of Prometheus can be made: {error}", "testbed doctor tells what is missing"
        ) from error
    _prune(client)
    return PROMETHEUS


def _role(client: Any, role: str, base: str, say: Say) -> str:
    """Brings a role's packages and code up to date; returns the tag."""
    packages = _packages(client, role, base, say)
    tag = f"testbed-{role}:latest"
    files = {"Dockerfile": IMAGES / role / "Dockerfile", **sources(role)}
    inputs = digest(files, packages)
    if not _current(client, tag, inputs):
        say(f"{role}: adding the code")
        _make(client, tag, files, inputs)
    return tag


def _packages(client: Any, role: str, base: str, say: Say) -> str:
    """The id of the image with a role's Python packages, made when they have changed."""
    pins = pinned((IMAGES / role / "requirements.txt").read_text(), LOCK.read_text())
    files = {name: IMAGES / "base" / path for name, path in PACKAGES.items()}
    inputs = digest(files, base, *pins)
    tag = f"testbed-{role}-packages:latest"
    found = _current(client, tag, inputs)
    if found:
        return found
    pip = pinned("pip", LOCK.read_text())
    fetched = {f"wheels/{path.name}": path for path in wheels(role, [*pins, *pip], say).iterdir()}
    say(f"{role}: installing {len(pins)} Python packages")
    return _make(client, tag, {**files, **fetched}, inputs)


def wheels(role: str, pins: Sequence[str], say: Say) -> Path:
    """A folder with the wheels of these pins for the image's Python, and the pins. ImageError where one is another."""
    kept = BUILD / "wheels" / f"{role}-{digest({}, *pins)[:12]}"
    if kept.is_dir():
        return kept
    say(f"{role}: fetching {len(pins)} wheels")
    for old in kept.parent.glob(f"{role}-*"):
        shutil.rmtree(old)
    # Under another name until complete: an interrupted download must not pass for a finished one.
    partial = kept.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    (partial / PINS).write_text("".join(f"{pin}\n" for pin in pins))
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    checked = ["--require-hashes", f"--requirement={partial / PINS}"]
    done = subprocess.run([*pip, *PYTHON, f"--dest={partial}", *checked], capture_output=True, text=True)
    if done.returncode:
        why = complaint(done.stderr)
        raise ImageError(f"pip could not fetch the wheels: {why}", "is a package index reachable?")
    partial.rename(kept)
    return kept


def _current(client: Any, tag: str, inputs: str) -> str:
    """The id of the image of this tag if it was made from ``inputs``, else ''."""
    for image in client.api.images(tag):
        if (image["Labels"] or {}).get(INPUTS) == inputs:
            return str(image["Id"])
    return ""


def _make(client: Any, tag: str, files: Files, inputs: str) -> str:
    """Builds an image from a context of these files, and labels it with what it was made from; returns its id."""
    last: deque[str] = deque(["no output"], maxlen=1)
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as tar:
            for name, path in sorted(files.items()):
                tar.add(path, name, filter=_plain)
        context.seek(0)
        events = client.api.build(
            fileobj=context,
            custom_context=True,
            tag=tag,
            labels={LABEL: "1", INPUTS: inputs},
            network_mode="none",
            rm=True,
            forcerm=True,
            timeout=1800,
            decode=True,
        )
        for event in events:
            if "error" in event:
                raise ImageError(f"{tag}: {last[0]} ({event['error'].strip()})", "see the engine's log")
            last.extend(line for line in event.get("stream", "").splitlines() if not NARRATION.match(line))
    return _current(client, tag, inputs)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Readable by everybody and free of this checkout's owners and umask."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry
