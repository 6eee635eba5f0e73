"""The generated reference is what the code says today."""

from __future__ import annotations

import pytest

from controller.report.reference import DOCS, pages


@pytest.mark.parametrize("name", pages())
def test_the_reference_is_up_to_date(name):
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name], "run: python -m controller.report.reference"
