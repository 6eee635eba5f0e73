"""Adds to pinned packages, on stdin, the SHA-256 of every wheel that pip may take for them; prints the lock.

What pip takes is asked of pip itself, without installing anything: once as this machine has pip set up (which may know
a build of torch for the CPU), then of the index alone for every Python and processor that the project supports. Pins
that stand in requirements.lock already keep the hashes that they have there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13")
PROCESSORS = ("x86_64", "aarch64")
GLIBC = range(39, 4, -1)  # minor versions of glibc 2 that wheels of the manylinux kind may ask for
LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


def taken(pins: Path, options: Sequence[str], env: dict[str, str]) -> dict[str, tuple[str, str]]:
    """What pip would install for these pins: name → version and SHA-256 of the wheel."""
    print(f"hashes: asking pip {' '.join([*options[:1], *options[-1:]])}", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    command = [*pip, "--only-binary=:all:", "--report=-", *options, "--requirement", str(pins)]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        sys.exit(f"hashes: {done.stderr.strip().splitlines()[-1]}")
    return {
        normal(item["metadata"]["name"]): (
            item["metadata"]["version"],
            item["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for item in json.loads(done.stdout)["install"]
    }


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def others(folder: str) -> list[list[str]]:
    """Options that make pip choose for another machine, one list for each Python and processor."""
    tags = [*(f"manylinux_2_{minor}" for minor in GLIBC), "manylinux2014", "linux"]
    return [
        [
            f"--python-version={python}",
            "--implementation=cp",
            f"--target={folder}/none",
            *(f"--platform={tag}_{processor}" for tag in tags),
        ]
        for python in PYTHONS
        for processor in PROCESSORS
    ]


def main() -> None:
    pins = [line for line in sys.stdin.read().splitlines() if line.strip()]
    hashes: defaultdict[str, set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pins.txt")
        file.write_text("".join(f"{pin}\n" for pin in pins))
        here = taken(file, [], dict(os.environ))
        # Where this machine has a build of its own, the index's is another thing of the same version (torch's is for
        # CUDA); and pip would take that one, since of two that fit it takes the one whose hash the index states.
        builds = {name for name, (version, _) in here.items() if "+" in version}
        for name, (_, digest) in here.items():
            hashes[name].add(digest)
        alone = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
        for options in others(folder):
            for name, (_, digest) in taken(file, options, alone).items():
                if name not in builds:
                    hashes[name].add(digest)
    for block in re.split(r"\n(?=\S)", LOCK.read_text()):
        pin, *rest = block.split(" \\\n")
        if pin in pins:
            hashes[normal(pin.partition("==")[0])] |= {line.strip().removeprefix("--hash=sha256:") for line in rest}
    for pin in pins:
        known = sorted(hashes[normal(pin.partition("==")[0])])
        print(pin, *(f"--hash=sha256:{digest}" for digest in known), sep=" \\\n    ")


main()
