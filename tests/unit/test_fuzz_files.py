"""A few hundred files that went wrong; `python -m tests.bench fuzz-files` tries the many thousand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, seed, settings

from tests.bench.fuzz_files import QUIET
from tests.fuzzing.readers import Reader, checkpoints, journals, topologies


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    made = tmp_path_factory.mktemp("made")
    return {"topologies": topologies(), "journals": journals(made), "checkpoints": checkpoints(made)}


@pytest.mark.parametrize(("kind", "count"), [("topologies", 200), ("journals", 25), ("checkpoints", 200)])
def test_files_that_went_wrong_meet_no_traceback(
    kind: str, count: int, readers: dict[str, Reader], tmp_path: Path
) -> None:
    reader = readers[kind]

    @seed(count)
    @settings(QUIET, max_examples=count)
    @given(reader.files)
    def each(content: bytes) -> None:
        said = reader.read(content, tmp_path)
        assert not said, said

    each()
