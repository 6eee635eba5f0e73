"""axe-core, from npm: fetched once into build/, at a version that is written here."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

VERSION = "4.14.1"
CACHE = Path(__file__).resolve().parents[2] / "build" / f"axe-core-{VERSION}.js"


def source() -> str | None:
    """The script; None where there is no npm, or it cannot fetch it."""
    if not CACHE.exists():
        if shutil.which("npm") is None:
            return None
        CACHE.parent.mkdir(exist_ok=True)
        command = ["npm", "pack", f"axe-core@{VERSION}", "--silent", "--pack-destination", str(CACHE.parent)]
        if subprocess.run(command, cwd=CACHE.parent, capture_output=True).returncode:
            return None
        packed = CACHE.parent / f"axe-core-{VERSION}.tgz"
        with tarfile.open(packed) as archive:
            script = archive.extractfile("package/axe.min.js")
            assert script is not None
            CACHE.write_bytes(script.read())
        packed.unlink()
    return CACHE.read_text(encoding="utf-8")
