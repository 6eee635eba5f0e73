"""What a user brings in files of their own: schemes, models and data loaders, as ``file.py:name``.

They lie beside the topology, and in a volume inside the containers. They are the user's code and are trusted.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER_VARIABLE = "TESTBED_OWN"
"""Names the folder in which the files lie, in an agent's environment; elsewhere ``set_folder`` does."""
_SUFFIX = ".py"


class OwnError(Exception):
    """A file of the user's is missing, does not import, or holds something else; ``hint`` says what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def is_own(name: str) -> bool:
    """Whether this names something in a file of the user's."""
    return f"{_SUFFIX}:" in name


def file_of(name: str) -> str:
    """The file of ``file.py:name``."""
    return name.partition(":")[0]


def set_folder(folder: Path) -> None:
    """From now on files are looked for here."""
    os.environ[FOLDER_VARIABLE] = str(folder)


def path_of(name: str) -> Path:
    """Where the file of ``file.py:name`` lies. OwnError when it is not there."""
    path = Path(os.environ.get(FOLDER_VARIABLE, ".")) / file_of(name)
    if not path.is_file():
        raise OwnError(f"there is no file {file_of(name)} beside the topology", f"write it, with {name.split(':')[1]}")
    return path


def attribute(name: str) -> Any:
    """What ``file.py:name`` names. OwnError with file and line when the file does not import."""
    module = _module(path_of(name).resolve())
    wanted = name.partition(":")[2]
    if not hasattr(module, wanted):
        raise OwnError(f"{file_of(name)} has no {wanted}", f"define {wanted} there, or name another: {file_of(name)}:…")
    return getattr(module, wanted)


def place_of(error: BaseException, file: str) -> str:
    """File and line, inside a file of the user's, at which an error came up."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == Path(file).name]
    if isinstance(error, SyntaxError):
        return f"{file}:{error.lineno}"
    return f"{file}:{frames[-1].lineno}" if frames else file


@cache
def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"testbed_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise OwnError(f"{path.name} is no Python file", "end its name in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code does
        where = place_of(error, path.name)
        raise OwnError(f"{where}: {type(error).__name__}: {error}", "the file must import by itself") from error
    return module
