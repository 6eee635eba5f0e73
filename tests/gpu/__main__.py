"""``make test-gpu``: what needs a GPU, or in one line why it is skipped (exit status 0)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch


def why_not() -> str:
    """Why nothing can run on a GPU here; empty where it can."""
    if torch.cuda.is_available():
        return ""
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"no CUDA device: torch.cuda.is_available() is False (torch {torch.__version__}, {build})"


def main() -> int:
    """The tests, or that they are skipped."""
    if reason := why_not():
        print(f"skipped, {reason}")
        return 0
    return int(pytest.main(["-rA", str(Path(__file__).parent)]))


if __name__ == "__main__":
    sys.exit(main())
