"""The disk that the VM boots from: Debian 12 with its own kernel, Docker and the images, and the project's packages.

Made once and kept, under a name that is a digest of everything it is made from. The project's code is not on it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import debian
from testbed.errors import ImageError
from testbed.images import LOCK, PYTHON, ROOT

HERE = Path(__file__).parent
CACHE = ROOT / "build/vm"
# The VM lane's own are the kernel, and Vagrant to try the Vagrantfile with, which newer systems have no package of;
# all else comes from the script that a Vagrant box runs too.
OWN = ("linux-image-cloud-amd64", "initramfs-tools", "zstd", "vagrant")
SIZE = "12G"  # sparse: what is not used takes no room
SCRIPTS = tuple(f"images/host/{name}.sh" for name in ("provision", "venv", "docker", "with-docker"))
SETUP = (*SCRIPTS, "pyproject.toml", "requirements.lock")
MADE_FROM = (*SETUP, "tests/vm/init.sh", "tests/vm/root.py", "testbed/debian.py")
IMAGES = ("testbed-base", "testbed-agent-packages", "testbed-shaper-packages")
# Debian's drivers for all hardware would double the time to boot.
INITRAMFS = "MODULES=list\nCOMPRESS=lz4\n"
DRIVERS = "virtio_pci\nvirtio_blk\next4\n"
# Compiles what the tests import, which takes a minute where the processor is emulated.
WARM_UP = "import pytest, torch, cvxpy, controller.cli, controller.trial.field_trial, controller.report.table"


@dataclass(frozen=True)
class Root:
    """A kept root: the disk image, kernel and initial RAM disk."""

    folder: Path

    @property
    def disk(self) -> Path:
        """A raw ext4 file system."""
        return self.folder / "root.img"

    @property
    def kernel(self) -> Path:
        """Debian's kernel."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """What finds the disk."""
        return self.folder / "initrd.img"


def digest(image_ids: Sequence[str]) -> str:
    """The name of a root: its recipe, the scripts and pins it is made from, and the images on it."""
    total = hashlib.sha256(repr(sorted(image_ids)).encode())
    for name in MADE_FROM:
        total.update(f"{name}\0{hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def make(folder: Path) -> Root:
    """A root in this folder, with this machine's images. Raises ImageError; takes root, apt, pip and Docker."""
    folder.mkdir(parents=True, exist_ok=True)
    root = Root(folder)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        tree = Path(name) / "tree"
        _step("debootstrap")
        _configure(tree, debian.bootstrap(tree, "python3"))
        _step("packages")
        _chroot(tree, "images/host/provision.sh")
        _chroot(tree, f"apt-get install -y -qq --no-install-recommends {' '.join(OWN)}")
        _step("wheels")
        _wheels(tree / "wheels")
        _chroot(tree, "PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels images/host/venv.sh")
        _chroot(tree, f".venv/bin/python -c '{WARM_UP}'")
        _step("images")
        _run(["docker", "save", f"--output={tree}/images.tar", *IMAGES])
        _chroot(tree, "images/host/with-docker.sh docker load --input /images.tar")
        _step("disk")
        _tidy(tree)
        for pattern, target in (("boot/vmlinuz-*", root.kernel), ("boot/initrd.img-*", root.initrd)):
            shutil.copy(next(tree.glob(pattern)), target)
        root.disk.unlink(missing_ok=True)
        _run(["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1", "-d", str(tree), str(root.disk), SIZE])
    return root


def _configure(tree: Path, mirror: debian.Mirror) -> None:
    """What must be there before packages are: sources, names, and no services that start."""
    options = "[trusted=yes] " if mirror.trusted else ""
    (tree / "etc/apt/sources.list").write_text(f"deb {options}{mirror.uri} {debian.SUITE} main\n")
    shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")
    no_services = tree / "usr/sbin/policy-rc.d"
    no_services.write_text("#!/bin/sh\nexit 101\n")
    no_services.chmod(0o755)
    for path, text in (("conf.d/testbed", INITRAMFS), ("modules", DRIVERS)):
        target = tree / "etc/initramfs-tools" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    shutil.copy(HERE / "init.sh", tree / "sbin/testbed-init")
    for name in SETUP:
        (tree / "testbed" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / "testbed" / name)
    for package in ("agents", "controller", "testbed"):
        shutil.copytree(ROOT / package, tree / "testbed" / package)


def _wheels(target: Path) -> None:
    """Fetched by this machine's pip, which knows where from; the root's own pip has no configuration."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    _run([*pip, *PYTHON, f"--dest={target}", f"--requirement={LOCK}"])


def _tidy(tree: Path) -> None:
    """Nothing of this machine stays, and nothing that only the making needed."""
    shutil.rmtree(tree / "wheels")
    (tree / "images.tar").unlink()
    _chroot(tree, "apt-get clean; rm -rf /var/lib/apt/lists/* /usr/sbin/policy-rc.d /etc/apt/sources.list")
    for package in ("agents", "controller", "testbed"):
        shutil.rmtree(tree / "testbed" / package)
    (tree / "etc/resolv.conf").write_text("")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost vm\n")


def _chroot(tree: Path, command: str) -> None:
    """Runs a command in the project's folder of the tree; its mounts and processes end with it."""
    inside = 'cd /testbed; export LANG=C.UTF-8; exec 2>&1; eval "$COMMAND"'
    # Docker wants its root to be a mount of its own.
    mounts = ["--bind '{0}' '{0}'", "-t proc proc '{0}/proc'", "--rbind /sys '{0}/sys'"]
    script = f"{' && '.join('mount ' + m.format(tree) for m in mounts)} && exec chroot '{tree}' bash -ec '{inside}'"
    private = ["unshare", "--mount", "--pid", "--fork"]
    if command.startswith("images/host/with-docker.sh"):
        private.append("--net")  # an engine makes itself at home on its network
    _run([*private, "bash", "-c", script], COMMAND=command)


def _run(command: list[str], **more: str) -> None:
    done = subprocess.run(
        command, env={**debian.environment(), **more}, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-3:]
        raise ImageError(f"making the VM's root: {command[0]} failed: {' / '.join(last)}", "is the mirror reachable?")


def _step(what: str) -> None:
    print(f"vm: root: {what}", flush=True)
