"""``make test-vm``: the tests that need Debian's own kernel, in a VM that is made for it and kept.

Exit status 0 only when they passed inside, on netem. Results and the console's log are under ``build/vm/results``.
``make bench-vm`` measures links there instead, and its status is that of the benchmark; ``make vm-root`` only makes the
disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from testbed.engine import Engine
from testbed.errors import TestbedError
from tests.vm import machine
from tests.vm.root import CACHE, IMAGES, Root, digest, make

RESULTS = CACHE / "results"
PATIENCE_S = 1800.0
"""An emulated processor of a host that has its cores to itself takes 1 080 s."""
PACKAGES = {"qemu-system-x86_64": "qemu-system-x86", "debootstrap": "debootstrap", "mke2fs": "e2fsprogs"}
MUST_PASS = ("test_a_whole_trial_with_gated_slots_on_real_containers", "[netem-", "test_vagrant_accepts_it")


def main(job: str = "test") -> int:
    """Root, boot, verdict."""
    begin = time.monotonic()
    try:
        if os.geteuid() != 0:
            raise TestbedError("the VM's disk takes root to make", "type: make test-vm, as root")
        _install_missing()
        root = kept_root()
        _say(f"root ready after {time.monotonic() - begin:.0f} s")
        if job == "root":
            return 0
        shutil.rmtree(RESULTS, ignore_errors=True)
        RESULTS.mkdir(parents=True)
        how = machine.accelerator(root, RESULTS / "probe.log")
        _say(f"booting with {' '.join(how)}")
        files = machine.boot(root, how, job, PATIENCE_S, RESULTS / "serial.log")
    except TestbedError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    _keep(files)
    wrong = JOBS[job](files)
    _say(f"{'FAILED: ' + wrong if wrong else 'passed'} after {time.monotonic() - begin:.0f} s; results: {RESULTS}")
    return int(bool(wrong))


def kept_root() -> Root:
    """The root for what the project is made of now, made where it is not there; older ones are removed."""
    engine = Engine.connect()
    name = digest([engine.need_image(tag) for tag in IMAGES])
    folder = CACHE / f"root-{name}"
    if not folder.is_dir():
        for old in CACHE.glob("root-*"):
            shutil.rmtree(old)
        # Under another name until complete: an interrupted one must not pass for a finished one.
        partial = CACHE / f"root-{name}.partial"
        make(partial)
        partial.rename(folder)
    return Root(folder)


def verdict(files: Mapping[str, bytes]) -> str:
    """What is wrong with the results of the VM; '' when all passed inside, netem included."""
    if wrong := _ended_well(files):
        return wrong
    reports = [ET.fromstring(files[name]) for name in ("junit.xml", "again.xml") if name in files]
    passed = [case.get("name", "") for report in reports for case in report.iter("testcase") if not list(case)]
    missing = [wanted for wanted in MUST_PASS if not any(wanted in name for name in passed)]
    return f"no test of {', '.join(missing)} has passed inside" if missing else ""


def _ended_well(files: Mapping[str, bytes]) -> str:
    status = files.get("status", b"?").decode().strip()
    return "" if status == "0" else f"the job inside ended with status {status}"


JOBS = {"test": verdict, "bench": _ended_well}


def _install_missing() -> None:
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if not missing:
        return
    _say(f"installing {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]):
        more = missing if "install" in command else []
        done = subprocess.run([*command, *more], env=environment, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or "no output").splitlines()[-1]
            raise TestbedError(f"apt-get cannot install {' '.join(missing)}: {last}", "install them as root")


def _keep(files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = RESULTS / Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _say(text: str) -> None:
    print(f"vm: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
