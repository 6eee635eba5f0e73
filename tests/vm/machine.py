"""Boots a root in QEMU with a job, and brings back what the job leaves."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed.errors import EngineError
from testbed.images import ROOT
from tests.vm.root import Root

RESULTS_MB = 256
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROBE_S = 10.0  # with KVM a guest is done in five
CORES, MEMORY_MB = 2, 8192
KVM = ("-accel", "kvm", "-cpu", "host")
TCG = ("-accel", "tcg,thread=multi", "-cpu", "max")
MACHINE = ("-smp", str(CORES), "-m", str(MEMORY_MB), "-no-reboot", "-nic", "none")
MACHINE += ("-display", "none", "-monitor", "none", "-serial", "stdio")


def job_tar(path: Path) -> None:
    """The project's files as they are now, committed or not, as a tar that a disk can be."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    with tarfile.open(path, "w") as tar:
        for name in names:
            if (ROOT / name).is_file():
                tar.add(ROOT / name, name)


def boot(root: Root, accelerator: Sequence[str], job: str, patience_s: float, log: Path) -> Mapping[str, bytes]:
    """Runs a job in the VM, its console also in ``log``; the files it leaves, by name.

    What it changes on the root's disk is forgotten. EngineError when it does not end in ``patience_s``, or leaves
    nothing.
    """
    with tempfile.TemporaryDirectory(dir=root.folder) as folder:
        project, results = Path(folder) / "project.tar", Path(folder) / "results.tar"
        job_tar(project)
        with results.open("wb") as blank:
            blank.truncate(RESULTS_MB << 20)
        drives = [*_drive(root.disk, "on"), *_drive(project, "on"), *_drive(results, "off")]
        append = f"root=/dev/vda rw console=ttyS0 quiet panic=-1 init=/sbin/testbed-init testbed.job={job}"
        kernel = ["-kernel", str(root.kernel), "-initrd", str(root.initrd), "-append", append]
        _run(["qemu-system-x86_64", *accelerator, *MACHINE, *kernel, *drives], patience_s, log, folder)
        return _files(results)


def accelerator(root: Root, log: Path) -> tuple[str, ...]:
    """KVM where the root boots with it, else emulation: there are hosts whose /dev/kvm is there and guests hang.

    That they hang is remembered beside the root until the host boots anew.
    """
    hangs, this_boot = root.folder / "kvm-hangs", BOOT_ID.read_text()
    known = hangs.exists() and hangs.read_text() == this_boot
    if known or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    try:
        if boot(root, KVM, "probe", PROBE_S, log).get("status") == b"0\n":
            return KVM
    except EngineError:
        hangs.write_text(this_boot)
    return TCG


def _drive(path: Path, snapshot: str) -> list[str]:
    return ["-drive", f"file={path},if=virtio,format=raw,cache=unsafe,snapshot={snapshot}"]


def _run(command: list[str], patience_s: float, log: Path, folder: str) -> None:
    """QEMU's snapshots go beside the root: /tmp may be small. However this ends, QEMU ends with it."""
    with (
        log.open("wb") as console,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": folder}
        ) as process,
    ):
        late = threading.Timer(patience_s, process.kill)
        late.start()
        try:
            assert process.stdout
            while said := os.read(process.stdout.fileno(), 4096):
                console.write(said)
                sys.stdout.write(said.decode(errors="replace"))
                sys.stdout.flush()
        finally:
            in_time = late.is_alive()
            late.cancel()
            process.kill()
    if not in_time:
        raise EngineError(f"the VM did not end in {patience_s:.0f} s", f"see {log}")


def _files(results: Path) -> dict[str, bytes]:
    with results.open("rb") as stream:
        try:
            with tarfile.open(fileobj=io.BufferedReader(stream)) as tar:  # type: ignore[type-var]
                members = [member for member in tar if member.isfile()]
                return {member.name.removeprefix("./"): tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
        except tarfile.TarError as error:
            raise EngineError("the VM left no results", "its console says how far it came") from error
