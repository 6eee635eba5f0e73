"""The BS on a device of its own: what a pass takes is moved there, what leaves is moved back, and it is waited for."""

from __future__ import annotations

import pytest
import torch

from agents import calibrate, device, trainer
from agents.bs import Bs
from agents.evaluation import Part
from agents.models.catalog import DATASETS
from agents.schedule.task import at_the_bs
from agents.wire import frames
from tests.gpu import __main__ as gpu_lane
from tests.unit.loopback import job, samples, world
from tests.unit.other_device import OTHER, WrongDeviceError, other_device

BATCHES = (7, 4, 9)
CASES = [
    ("sl", 1, "group", {}),
    ("sfl", 1, "batch", {}),
    ("sfl-v2", 1, "group", {}),
    ("c2p2sl", 3, "group", {}),
    ("c2p2sl", 3, "batch", {}),
    ("ushape", 2, "group", {"head_cut": 4}),
    ("epsl", 1, "group", {"phi": 1.0}),
    *(("epsl", 1, "group", {"phi": 0.5, "aggregate": way}) for way in ("virtual", "own", "cut")),
]


@pytest.fixture
def elsewhere(monkeypatch):
    """The other device, and a BS that computes on it."""
    with other_device(monkeypatch) as other:

        class Elsewhere(Bs):
            def configure(self, job):
                with other:
                    super().configure(job)

            def segment(self, index, start_ns):
                with other:
                    super().segment(index, start_ns)

            def evaluate(self, parts, averaged):
                with other:
                    return super().evaluate(parts, averaged)

        yield other, Elsewhere


def losses_and_accuracy(asked, **where) -> tuple[list[float], list[float]]:
    """Of two rounds each agent's loss, and the accuracies after them."""
    shards = {f"ue{i + 1}": samples(20, i) for i in range(len(BATCHES))}
    with world(shards, **where) as agents:
        agents.configure(asked)
        losses = []
        for number in (1, 2):
            agents.round(number)
            losses += [agent.meter.loss_sum for agent in (agents.bs, *agents.ues.values())]
        parts = {name: [Part(*part) for part in ue.parts()] for name, ue in agents.ues.items()}
        each, mean = agents.bs.evaluate({name: own for name, own in parts.items() if own}, averaged=True)
        return losses, [*each.values(), *([] if mean is None else [mean])]


@pytest.mark.parametrize(("scheme", "k", "norm", "plan"), CASES, ids=str)
def test_everything_is_moved_to_the_device_and_back(scheme, k, norm, plan, elsewhere, monkeypatch):
    other, station = elsewhere
    asked = job(scheme, 2, k, BATCHES, plan, norm=norm)
    expected = losses_and_accuracy(asked)
    settled = []
    monkeypatch.setattr(trainer, "settle", settled.append)
    found = losses_and_accuracy(asked, device=OTHER, station=station)
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    assert found[1] == expected[1]
    assert other.moved_here, "nothing that was sent came from there"
    passes = sum(task.computes and at_the_bs(task.place) for task in asked.schedule(1).tasks)
    assert settled.count(OTHER) >= 2 * passes


def test_batches_of_the_bs_itself_are_moved_too(elsewhere):
    _, station = elsewhere
    asked = job("centralised", 0, 1, (0, 0, 0), {"bs_batch": 20})
    with world({f"ue{i + 1}": samples(20, i) for i in range(3)}, device=OTHER, station=station) as agents:
        agents.configure(asked)
        agents.round(1)
        assert agents.bs.meter.loss_samples == 20
        assert set(agents.bs.evaluate({}, averaged=False)[0]) == {"bs"}


def test_the_other_device_notices_what_was_not_moved(elsewhere):
    other, _ = elsewhere
    with other:
        there = torch.ones(3).to(OTHER)
        with pytest.raises(WrongDeviceError, match="add"):
            there + torch.ones(3)
        with pytest.raises(WrongDeviceError, match="numpy"):
            there.numpy()
        assert frames.unseal(frames.seal([there + 1]))[0].tolist() == [2.0] * 3


def test_units_are_calibrated_on_the_device_with_the_way_there_and_back(elsewhere, monkeypatch):
    other, _ = elsewhere
    monkeypatch.setattr(calibrate, "SAMPLES", (2,))
    monkeypatch.setattr(calibrate, "FEWEST", 1)
    monkeypatch.setattr(calibrate, "REPEATS", 1)
    waited = []
    monkeypatch.setattr(calibrate, "settle", waited.append)
    with other:
        rows = calibrate.measure("vgg5", "group", DATASETS["mnist5k"], OTHER)
    assert len(rows) == 5 and set(waited) == {OTHER}


@pytest.mark.parametrize("there", [True, False])
def test_auto_takes_a_gpu_where_there_is_one(there, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device.pick_device("auto") == ("cuda" if there else "cpu")
    assert device.pick_device("cpu") == "cpu"
    assert device.pick_device("cuda") == "cuda", "who insists is told by torch that there is none"


def test_a_gpu_computes_as_exactly_as_a_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    device.compute_exactly("cpu")
    assert torch.backends.cudnn.allow_tf32
    device.compute_exactly("cuda")
    assert not torch.backends.cudnn.allow_tf32


def test_without_a_gpu_its_tests_say_that_they_are_skipped_and_why(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_lane.main() == 0
    said = capsys.readouterr().out
    assert said.startswith("skipped, no CUDA device: torch.cuda.is_available() is False (torch ")
    assert said.count("\n") == 1 and torch.__version__ in said
