"""Files that are there whole, or as they were."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.errors import InputError, StorageError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that it is there whole, or as it was."""
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing(option: str, path: Path, hint: str = "name a file in a folder that you can write") -> Iterator[None]:
    """Meanwhile what an option of the user's names is written: InputError where that cannot be."""
    try:
        yield
    except OSError as error:
        raise InputError(option, f"{path}: {error.strerror}", hint) from error


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Meanwhile a trial writes a file of its run directory: StorageError where the disk does not take it."""
    try:
        yield
    except OSError as error:
        hint = "make room there, then go on: testbed run --resume DIR; what was finished before is whole"
        raise StorageError(f"{path}: {error.strerror or error}", hint) from error
