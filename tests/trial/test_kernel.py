"""A topology that asks of the links what this kernel may not have."""

from __future__ import annotations

import pytest

from testbed.engine import Engine
from testbed.links import NETEM, kernel_backends
from tests.trial.conftest import call

pytestmark = pytest.mark.docker
TOPOLOGY = "name: small\nradio: {{{key}}}\nues: [{{name: ue1}}]\nschemes: [{{scheme: psl, cut: 2}}]\n"


@pytest.mark.parametrize("key", ["slots: gated", "delay_ms: 5", "loss: 0.01"])
def test_without_netem_it_is_planned_but_not_run(engine: Engine, tmp_path, leftovers, key: str) -> None:
    if kernel_backends(engine)[NETEM]:
        pytest.skip("this kernel has netem")
    file, out = tmp_path / "small.yaml", tmp_path / "out"
    file.write_text(TOPOLOGY.format(key=key))
    assert call("validate", str(file)).returncode == 0
    for verb in (["up", str(file)], ["run", str(file), "--out", str(out)]):
        done = call(*verb)
        assert done.returncode == 2
        assert f"radio.{key.split(':')[0]}: takes the netem qdisc (sch_netem)" in done.stderr
        assert "make test-vm" in done.stderr and done.stderr.count("\n") == 1
    assert leftovers() == [] and not out.exists()


def test_doctor_says_which_backend_and_why(engine: Engine) -> None:
    done = call("doctor")
    expected = "netem: this kernel has it" if kernel_backends(engine)[NETEM] else "htb: this kernel has no netem"
    assert done.returncode == 0
    for text in (expected, "cgroup version", "cores", "memory free bytes", "kvm", "gpu", "docker"):
        assert text in done.stdout
