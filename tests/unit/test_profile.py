"""Rows of a profile that stand for several units: planned, trained and held against what is built."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from agents.evaluation import Part
from agents.job import Job
from agents.models.build import build, split
from agents.models.catalog import DATASETS, UNITS, DatasetInfo
from agents.schedule.costs import Costs
from controller.cli import main
from controller.planners.planning import plan_all
from controller.predict.sizes import check_sizes, differences
from controller.predict.workload import measure, real_sizes, workload
from controller.trial import prepare as preparing
from controller.trial.fit import fit_if_calibrated
from controller.trial.job import job_of
from controller.trial.watch import Warned
from testbed.compute import Calibration, Transport, UnitSize, UnitSpeed
from testbed.errors import InputError
from testbed.loading import parse
from tests.unit.loopback import job, samples, world

GROUPS = (2, 2, 1)
CIFAR = DATASETS["cifar10"]
SMALL = DatasetInfo(channels=1, height=32, width=32, classes=10, train=1, test=1)
ROWS = (
    {"unit": "front", "covers": ["conv1", "conv2"], "forward_flops": 1e6, "output_bytes": 12544, "weight_bytes": 76032},
    {"unit": "middle", "covers": ["conv3", "fc1"], "forward_flops": 2e6, "output_bytes": 512},
    {"unit": "fc2", "forward_flops": 1e3, "output_bytes": 40},
)


def topology(*rows, **model):
    """A scene with these rows instead of the first ones that fit VGG-5 on digits."""
    profile = [*rows, *ROWS[len(rows) :]]
    text = {"name": "rows", "model": {"profile": profile, **model}, "training": {"batch": 8}, "ues": [{"name": "ue1"}]}
    return parse(json.dumps(text), "rows.yaml")


@pytest.mark.parametrize(("name", "sizes"), [("resnet18", (1, 2, 2, 2, 2, 1)), ("vgg5", (3, 2)), ("lenet12", (1, 11))])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_grouped_units_are_the_same_model(name, sizes, norm):
    plain, grouped = (build(name, SMALL, norm, 5, groups) for groups in ((), sizes))
    assert len(grouped) == len(sizes)
    weights = list(plain.state_dict().values())
    for ours, theirs in zip(grouped.state_dict().values(), weights, strict=True):
        assert torch.equal(ours, theirs)
    images = torch.randn(3, 1, 32, 32)
    assert torch.equal(grouped(images), plain(images))
    for cut in range(1, len(sizes)):
        for ours, theirs in zip(split(grouped, cut), split(plain, sum(sizes[:cut])), strict=True):
            assert len(ours.state_dict()) == len(theirs.state_dict())


def test_training_in_groups_is_training_in_units():
    """Cut after the first row of two units, or after the second unit: the same losses, weights and accuracy."""
    batches, weights, accuracies, losses = (5, 3), [], [], []
    rows = Costs((1.0,) * 3, (1.0,) * 3, (1.0,) * 3, 2.0, 1.0, {"ue1": 1e9, "ue2": 1e9}, 1e9)
    shards = {f"ue{i + 1}": samples(20, i) for i in range(2)}
    for asked in (job("c2p2sl", 2, 2, batches), job("c2p2sl", 1, 2, batches, group_sizes=GROUPS, costs=rows)):
        with world(shards) as agents:
            agents.configure(Job.from_json(json.loads(json.dumps(asked.to_json()))))
            for number in (1, 2):
                agents.round(number)
            halves = [agents.half(agent) for agent in ("ue1", "ue2", "bs")]
            weights.append([value for half in halves for value in half.weights()])
            losses.append(agents.bs.meter.loss_sum)
            parts = {name: [Part(*part) for part in ue.parts()] for name, ue in agents.ues.items()}
            accuracies.append(agents.bs.evaluate(parts, averaged=True))
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert losses[0] == losses[1]
    assert accuracies[0] == accuracies[1]


def test_rows_are_what_is_planned_with_and_weights_left_out_are_the_models():
    found, weights = workload(topology()), measure("vgg5", "group", DATASETS["mnist5k"])[2]
    assert found.units == ("front", "middle", "fc2")
    assert found.weight_bytes.tolist() == [76032, weights[2:4].sum(), weights[4]]
    (psl, c2p2sl) = plan_all(topology())
    assert psl.plan.cut in (1, 2) and c2p2sl.plan.cut in (1, 2)


def test_a_host_runs_a_group_as_long_as_its_units():
    units = tuple(UnitSpeed(unit, 1.0, 0.1 * i, 2.0, 0.2 * i) for i, unit in enumerate(UNITS["vgg5"]))
    sizes = tuple(UnitSize(10.0 * i, 1.0) for i in range(5))
    plain = Calibration(units, Transport(), sizes=sizes)
    grouped = plain.grouped(("a", "b", "c"), GROUPS)
    assert [unit.unit for unit in grouped.units] == ["a", "b", "c"]
    for first, last, ours in ((1, 2, 1), (3, 4, 2), (5, 5, 3)):
        assert grouped.forward_s(ours, ours, 7) == pytest.approx(plain.forward_s(first, last, 7))
        assert grouped.backward_s(ours, ours, 7) == pytest.approx(plain.backward_s(first, last, 7))
    assert grouped.sizes == (UnitSize(10.0, 2.0), UnitSize(30.0, 2.0), UnitSize(40.0, 1.0))


def test_rows_that_fit_the_model_differ_in_nothing():
    assert differences(topology(), real_sizes(topology())) == []


def test_an_output_of_another_size_is_planned_with_a_warning_and_not_run(capsys, tmp_path):
    wrong = topology({**ROWS[0], "output_bytes": 12543})
    (found,) = differences(wrong, real_sizes(wrong))
    with pytest.raises(InputError) as refused:
        check_sizes([found])
    assert refused.value.path == "model.profile.0.output_bytes"
    assert "12543 bytes" in refused.value.message and "12544" in refused.value.message
    assert "write 12544" in refused.value.hint
    file = tmp_path / "rows.yaml"
    file.write_text(wrong.model_dump_json(exclude_none=True, exclude_defaults=True))
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(file)])
    assert not ended.value.code
    assert f"warning: {found}\n" in capsys.readouterr().err


@pytest.mark.parametrize(("weights", "refused"), [(76000, False), (79800, False), (80000, True), (9, True)])
def test_weights_may_be_off_by_a_few_percent(weights, refused):
    wrong = topology({**ROWS[0], "weight_bytes": weights})
    (found,) = differences(wrong, real_sizes(wrong))
    assert found.path == "model.profile.0.weight_bytes" and found.bears_no_trial == refused


def prepared(monkeypatch, wrong):
    """A trial of this topology before anything is created, and what it is warned of."""
    told = []
    units = tuple(UnitSpeed(unit, 1e-4, 1e-6, 1e-4, 1e-6) for unit in wrong.units)
    found = Calibration(units, Transport(), sizes=real_sizes(wrong))
    monkeypatch.setattr(preparing, "calibrate", lambda engine, topology, threads: found)
    engine = SimpleNamespace(
        info=lambda: {"NCPU": 64, "MemTotal": 24 << 30}, has_gpu=lambda: False, containers=lambda **_: []
    )
    ready = preparing.prepare(engine, wrong, told.append)
    return ready, [event.text for event in told if isinstance(event, Warned)]


def test_a_trial_names_weights_and_refuses_outputs_of_another_size(monkeypatch):
    _, (warning,) = prepared(monkeypatch, topology({**ROWS[0], "weight_bytes": 76000}))
    assert warning.startswith("model.profile.0.weight_bytes: 76000 bytes")
    with pytest.raises(InputError, match=r"model\.profile\.0\.output_bytes: 8 bytes"):
        prepared(monkeypatch, topology({**ROWS[0], "output_bytes": 8}))


def test_the_job_of_a_scheme_names_its_rows_and_its_shards(monkeypatch):
    text = topology().model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    text["ues"] = [{"name": "ue1", "clock_ghz": 0.1}, {"name": "ue2"}]
    text["data"] = {"partition": {"kind": "proportional"}}
    text["schemes"] = ["psl", {"scheme": "c2p2sl", "planner": "makespan"}]
    ready, _ = prepared(monkeypatch, parse(json.dumps(text), "rows.yaml"))
    for number, planned in enumerate(ready.planned):
        job, batches = job_of(ready, planned, "10.0.0.1"), [ue.batch for ue in planned.plan.ues.values()]
        assert tuple(job.group_sizes) == GROUPS
        assert job.dealing == number
        assert list(job.shares.values()) == pytest.approx([batch / sum(batches) for batch in batches], abs=1e-3)
    assert ready.planned[0].plan.ues["ue1"].batch != ready.planned[1].plan.ues["ue1"].batch


def test_rows_without_units_are_planned_and_not_run(monkeypatch):
    rows = [{"unit": f"part{i}", "forward_flops": 1e6, "output_bytes": 64} for i in range(3)]
    only_planned = topology(*rows)
    assert len(plan_all(only_planned)) == 2 and real_sizes(only_planned) == ()
    assert fit_if_calibrated(only_planned, plan_all(only_planned)) is None
    with pytest.raises(
        InputError, match=r"model\.profile: has 3 rows for the 5 units of vgg5.*add covers: \[conv1, …\]"
    ):
        prepared(monkeypatch, only_planned)


def test_rows_of_the_papers_table_are_those_of_the_real_model():
    """Table II of the C²P²SL paper: outputs to the byte, weights within 8 %."""
    outputs, weights = measure("resnet18", "group", CIFAR)[1:]
    assert [outputs[i] for i in (0, 2, 4, 6, 8, 9)] == [262144, 262144, 131072, 65536, 32768, 40]
    assert weights.sum() == pytest.approx(44.7e6, rel=1e-3)
