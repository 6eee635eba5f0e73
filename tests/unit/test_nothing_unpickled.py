"""Nothing that is read, over a network or from a file, can be code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [path for room in ("agents", "controller", "testbed") for path in sorted((ROOT / room).rglob("*.py"))]
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {"torch.load", "torch.jit.load", "torch.hub.load", "yaml.unsafe_load", "pandas.read_pickle", "eval", "exec"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled(path: Path) -> None:
    assert list(_wrong(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("import pickle", "pickle"),
        ("from torch import load", "torch.load"),
        ("import torch\ntorch.load(file)", "torch.load"),
        ("np.load(file)", "np.load"),
        ("np.load(file, allow_pickle=True)", "np.load"),
        ("from os import path\neval(text)", "eval"),
    ],
)
def test_what_unpickles_would_be_seen(text: str, wrong: str) -> None:
    assert list(_wrong(ast.parse(text))) == [wrong]


def _wrong(tree: ast.AST):
    """Modules that are imported, and functions that are called or imported, though they run what they read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield from (module for _ in [0] if module.partition(".")[0] in MODULES)
            yield from (f"{module}.{name.name}" for name in node.names if f"{module}.{name.name}" in CALLS)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            safe = any(word.arg == "allow_pickle" and ast.unparse(word.value) == "False" for word in node.keywords)
            if name in CALLS or (name in ("np.load", "numpy.load") and not safe):
                yield name
