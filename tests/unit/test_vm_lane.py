"""The VM lane passes only when what it is there for has passed inside."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.vm.__main__ import verdict
from tests.vm.machine import job_tar

TRIAL = "test_a_whole_trial_with_gated_slots_on_real_containers"
LINK, BOX = "test_goodput[netem-1]", "test_vagrant_accepts_it"


def _files(*cases: str, status: str = "0") -> dict[str, bytes]:
    return {"status": f"{status}\n".encode(), "junit.xml": f"<s>{''.join(cases)}</s>".encode()}


def _case(name: str, inside: str = "") -> str:
    return f'<testcase name="{name}">{inside}</testcase>'


def test_all_passed() -> None:
    assert verdict(_files(_case(TRIAL), _case(LINK), _case(BOX))) == ""


def test_what_failed_may_pass_when_tried_again() -> None:
    first = _files(_case(TRIAL, "<failure/>"), _case(LINK), _case(BOX))
    assert verdict({**first, "again.xml": f"<s>{_case(TRIAL)}</s>".encode()}) == ""


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "status ?"),
        (_files(_case(TRIAL), _case(LINK), _case(BOX), status="1"), "status 1"),
        (_files(_case(TRIAL), _case(LINK, "<skipped/>"), _case("test_goodput[htb-1]"), _case(BOX)), "netem"),
        (_files(_case(TRIAL, "<skipped/>"), _case(LINK), _case(BOX)), TRIAL),
        (_files(_case(TRIAL), _case(LINK), _case(BOX, "<skipped/>")), BOX),
    ],
)
def test_what_is_missing_fails_and_is_named(files: dict[str, bytes], why: str) -> None:
    assert why in verdict(files)


def test_the_code_goes_in_as_it_is(tmp_path: Path) -> None:
    job_tar(tmp_path / "job.tar")
    with tarfile.open(tmp_path / "job.tar") as tar:
        names = tar.getnames()
    assert {"tests/vm/guest.sh", "testbed/shaping/netem.py", "Makefile"} <= set(names)
    assert not any(name.startswith(("build/", ".venv/")) for name in names)
