"""Boots a root in QEMU with a job, and brings back what the job leaves."""

from __future__ import annotations

import functools
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from testbed.errors import EngineError
from testbed.images import ROOT
from tests.vm.root import Root

RESULTS_MB = 256
PROBE_S = 30.0
CORES, MEMORY_MB = 2, 8192


def job_tar(path: Path) -> None:
    """The project's files as they are now, committed or not, as a tar that a disk can be."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    with tarfile.open(path, "w") as tar:
        for name in names:
            if (ROOT / name).is_file():
                tar.add(ROOT / name, name)


def boot(root: Root, job: str, keep: bool, patience_s: float, more: tuple[Path, ...] = ()) -> Mapping[str, bytes]:
    """Runs a job in the VM, its console on stdout; the files it leaves, by name.

    ``keep``: what the job changes on the root's disk stays. ``more``: further disks, from the fourth on.
    EngineError when it does not end in ``patience_s``, or leaves nothing.
    """
    with tempfile.TemporaryDirectory(dir=root.folder) as folder:
        project, results = Path(folder) / "project.tar", Path(folder) / "results.tar"
        job_tar(project)
        with results.open("wb") as blank:
            blank.truncate(RESULTS_MB << 20)
        drives = [_drive(root.disk, "off" if keep else "on")]
        drives += [_drive(path, "off") for path in (project, results)] + [_drive(path, "on") for path in more]
        append = f"root=/dev/vda rw console=ttyS0 quiet panic=-1 init=/sbin/testbed-init testbed.job={job}"
        command = [*_machine(), "-kernel", str(root.kernel), "-initrd", str(root.initrd), "-append", append]
        _run([*command, *(word for drive in drives for word in drive)], patience_s, folder)
        return _files(results)


def _drive(path: Path, snapshot: str) -> list[str]:
    return ["-drive", f"file={path},if=virtio,format=raw,cache=unsafe,snapshot={snapshot}"]


def _machine() -> list[str]:
    quiet = ["-nographic", "-no-reboot", "-nic", "none", "-monitor", "none", "-serial", "stdio", "-display", "none"]
    return [*accelerated(), "-smp", str(CORES), "-m", str(MEMORY_MB), *quiet]


@functools.cache
def accelerated() -> tuple[str, ...]:
    """How to start QEMU: with KVM where a guest gets as far as its firmware with it, else by emulation.

    There are hosts on which /dev/kvm is there and guests hang on it.
    """
    qemu = "qemu-system-x86_64"
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        # The firmware writes to its debug port long before it looks for a disk.
        probe = [qemu, "-accel", "kvm", "-cpu", "host", "-m", "64", "-nic", "none", "-display", "none"]
        debug = ["-chardev", "stdio,id=log", "-device", "isa-debugcon,iobase=0x402,chardev=log"]
        with subprocess.Popen(
            [*probe, *debug], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as started:
            works = _says(started, b"No bootable device", PROBE_S)
        if works:
            return (qemu, "-accel", "kvm", "-cpu", "host")
    return (qemu, "-accel", "tcg,thread=multi", "-cpu", "max")


def _says(process: subprocess.Popen[bytes], wanted: bytes, patience_s: float) -> bool:
    try:
        said, _ = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
    return wanted in said


def _run(command: list[str], patience_s: float, folder: str) -> None:
    """QEMU's snapshots go beside the root: /tmp may be small."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": folder})
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"the VM did not end in {patience_s:.0f} s", "its console says how far it came") from error
    finally:
        process.kill()
        process.wait()
    sys.stdout.flush()


def _files(results: Path) -> dict[str, bytes]:
    with results.open("rb") as stream:
        try:
            with tarfile.open(fileobj=io.BufferedReader(stream)) as tar:  # type: ignore[type-var]
                members = [member for member in tar if member.isfile()]
                return {member.name.removeprefix("./"): tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
        except tarfile.TarError as error:
            raise EngineError("the VM left no results", "its console says how far it came") from error
