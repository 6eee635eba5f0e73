"""Measurements are taken once for what they depend on, and never believed when they are broken."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from agents.models.catalog import DATASETS, UNITS
from controller.predict import workload
from testbed.built import identity
from testbed.calibration import calibrate
from testbed.kept import cache_folder, kept
from testbed.loading import parse

TOPOLOGY = "name: small\nues: [{name: ue1}]\n"
UNIT = {"samples": 2, "forward_s": 1.0, "backward_s": 2.0, "output_bytes": 8, "weight_bytes": 4}
CALIBRATED = json.dumps({"units": [{"unit": unit, **UNIT} for unit in UNITS["vgg5"]], "transport": {}, "noise_s": 1e-8})
ON_GPU = json.dumps({"units": [{"unit": unit, **UNIT, "forward_s": 0.1} for unit in UNITS["vgg5"]]})


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class Counter:
    """Measures how often it was asked."""

    def __init__(self, found=1.0):
        self.asked, self.found = 0, found

    def __call__(self):
        self.asked += 1
        return self.found


def test_what_is_measured_once_is_read_again():
    measure = Counter()
    assert [kept("speed", {"host": "a"}, measure, float) for _ in range(3)] == [1.0] * 3
    assert measure.asked == 1


@pytest.mark.parametrize("of", [{"host": "b"}, {"host": "a", "image": "new"}, {}])
def test_another_cause_is_measured_anew(of):
    measure = Counter()
    kept("speed", {"host": "a"}, measure, float)
    kept("speed", of, measure, float)
    assert measure.asked == 2


def test_a_fresh_one_replaces_the_one_that_is_kept():
    kept("speed", {}, Counter(1.0), float)
    kept("speed", {}, Counter(2.0), float, fresh=True)
    assert kept("speed", {}, Counter(3.0), float) == 2.0


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b'{"of": {}}', b'{"of": {}, "found": "x"}', b'{"of": {"a": 1}, "found": 9}', b"\xff"],
)
def test_a_broken_or_foreign_file_is_measured_anew(content):
    kept("speed", {}, Counter(), float)
    (path,) = cache_folder().glob("*.json")
    path.write_bytes(content)
    assert kept("speed", {}, Counter(2.0), float) == 2.0
    assert kept("speed", {}, Counter(3.0), float) == 2.0
    assert list(cache_folder().iterdir()) == [path]


def test_where_nothing_can_be_written_it_is_measured_every_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    measure = Counter()
    assert [kept("speed", {}, measure, float) for _ in range(2)] == [1.0, 1.0]
    assert measure.asked == 2


def test_a_model_of_ones_own_is_known_by_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TESTBED_OWN", str(tmp_path))
    found = []
    for text in ("a = 1", "a = 1", "a = 2"):
        (tmp_path / "mine.py").write_text(text)
        found.append(identity("mine.py:build", "group", DATASETS["mnist5k"]))
    assert found[0] == found[1] != found[2]
    assert identity("vgg5", "group", DATASETS["mnist5k"]) != identity("vgg5", "group", DATASETS["cifar10"])


def test_a_profile_that_is_kept_is_the_one_that_was_measured():
    measured = workload.measure.__wrapped__("vgg5", "group", DATASETS["mnist5k"])
    again = workload.measure.__wrapped__("vgg5", "group", DATASETS["mnist5k"])
    assert [column.tolist() for column in measured] == [column.tolist() for column in again]


class HostThatCalibrates:
    """An engine of this image, on which a calibration can be run; it remembers how often it was.

    With a ``gpu``, on which units are ten times as fast, unless its torch finds none.
    """

    id = "host"

    def __init__(self, image, gpu=False, found=True):
        self.image, self.gpu, self.found, self.runs = image, gpu, found, 0

    def has_gpu(self):
        return self.gpu

    def info(self):
        return {"NCPU": 2}

    def need_image(self, name):
        return self.image

    def run_once(self, spec):
        self.runs += 1
        if "TESTBED_DEVICE" in spec.environment:
            assert spec.gpu
            return ON_GPU if self.found else '{"units": []}'
        assert not spec.gpu
        return CALIBRATED


def test_a_host_is_calibrated_once_per_image():
    topology, engine = parse(TOPOLOGY, "small.yaml"), HostThatCalibrates("sha256:1")
    first, second = (calibrate(engine, topology) for _ in range(2))
    assert first == second
    assert engine.runs == 1
    calibrate(engine, topology, fresh=True)
    engine.image = "sha256:2"
    calibrate(engine, topology)
    assert engine.runs == 3


def test_the_bs_is_calibrated_on_the_gpu_that_it_gets():
    topology, engine = parse(TOPOLOGY, "small.yaml"), HostThatCalibrates("sha256:1", gpu=True)
    found = [calibrate(engine, topology) for _ in range(2)][1]
    assert engine.runs == 2, "everybody once on a core, the BS once on the GPU"
    assert found.forward_s(1, 1, 2) == 1.0 and found.forward_s(1, 1, 2, bs=True) == 0.1
    assert found.bs_threads == 1 and found.noise_s > 0
    on_cpu = parse(f"{TOPOLOGY}base_station: {{device: cpu}}\n", "small.yaml")
    assert calibrate(engine, on_cpu).bs_units == ()
    assert engine.runs == 2


def test_a_bs_whose_torch_finds_no_gpu_is_as_fast_as_a_core():
    topology, engine = parse(TOPOLOGY, "small.yaml"), HostThatCalibrates("sha256:1", gpu=True, found=False)
    assert calibrate(engine, topology).bs_units == ()


def test_rows_that_cover_several_units_share_the_calibration_of_the_model():
    engine = HostThatCalibrates("sha256:1")
    rows = "{unit: all, covers: [conv1, conv2, conv3, fc1], forward_flops: 1, output_bytes: 512}"
    more = f"model: {{profile: [{rows}, {{unit: fc2, forward_flops: 1, output_bytes: 40}}]}}\n"
    units, in_rows = (calibrate(engine, parse(TOPOLOGY + text, "a.yaml")) for text in ("", more))
    assert engine.runs == 1
    assert [unit.unit for unit in in_rows.units] == ["all", "fc2"]
    assert in_rows.forward_s(1, 1, 2) == pytest.approx(units.forward_s(1, 4, 2))


OWN = """
from torch import nn

def build(info):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.Linear(16, info.classes))
"""


@pytest.fixture(params=["one that ships", "one's own", "in rows"])
def planned_file(request, tmp_path):
    """A topology whose planning needs a measurement of its model."""
    if request.param == "one that ships":
        return "topologies/quickstart.yaml"
    (tmp_path / "mine.py").write_text(OWN)
    row = "{unit: all, covers: [conv1, conv2, conv3], forward_flops: 1, output_bytes: 12544}"
    rest = "{unit: fc1, forward_flops: 1, output_bytes: 512}, {unit: fc2, forward_flops: 1, output_bytes: 40}"
    model = '{name: "mine.py:build"}' if request.param == "one's own" else f"{{profile: [{row}, {rest}]}}"
    (tmp_path / "plan.yaml").write_text(f"{TOPOLOGY}model: {model}\n")
    return str(tmp_path / "plan.yaml")


def test_planning_again_needs_no_torch(planned_file):
    code = f"import sys; from controller.cli import main; sys.argv = ['testbed', 'plan', {planned_file!r}]\n"
    code += "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules, file=sys.stderr)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(2)]
    assert [run.stderr.splitlines()[-1] for run in runs] == ["True", "False"]
    assert runs[0].stdout == runs[1].stdout != ""
