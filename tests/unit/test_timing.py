"""Task durations worked by hand from eqs 7–12."""

from __future__ import annotations

import numpy as np
import pytest

from agents.plan import micro_batch_sizes
from agents.schemes import SCHEMES
from controller.predict.instance import Decision, Instance, link_rates
from controller.predict.prediction import costs_of, plan_of
from controller.predict.timing import decision_per_sample, split_batches
from tests.unit.problems import problem

HALF = np.array([0.005, 0.005])


def decision(k: int = 1, batch: tuple[int, ...] = (10, 10), up: np.ndarray = HALF, down: np.ndarray = HALF) -> Decision:
    return Decision(1, k, np.array(batch, dtype=np.int64), up, down)


def test_slots_share_the_rate():
    up, down = link_rates(problem(), decision(up=np.array([0.002, 0.008])))
    assert up == pytest.approx([0.32e6, 1.28e6])
    assert down == pytest.approx([1.6e6, 1.6e6])


def test_dedicated_links_do_not_depend_on_slots():
    up, _ = link_rates(problem(shared_air=False), decision(up=np.array([0.002, 0.008])))
    assert up == pytest.approx([1.6e6, 1.6e6])


def test_durations_of_one_sample():
    per = decision_per_sample(problem(), decision())
    assert per.ue_forward == pytest.approx([1e-3, 1e-3])  # 1 MFLOP at 1 GFLOP/s
    assert per.ue_backward == pytest.approx([2e-3, 2e-3])
    assert per.uplink == pytest.approx([0.01, 0.01])  # (999 + 1) bytes at 0.8 Mbit/s
    assert per.downlink == pytest.approx([999 * 8 / 1.6e6] * 2)  # the gradient carries no label
    assert per.bs_forward == pytest.approx(3e-4)
    assert per.bs_backward == pytest.approx(6e-4)


def durations(instance: Instance, name: str, decision: Decision) -> dict[tuple[str, str], list[float]]:
    """Seconds of the tasks of a round, by kind and UE, as agents and prediction reckon them."""
    scheme, costs = SCHEMES[name], costs_of(instance)
    plan = plan_of(instance, scheme, decision)
    found: dict[tuple[str, str], list[float]] = {}
    for task in scheme.schedule(plan, len(instance.workload.units), instance.duplex).tasks:
        if task.computes or task.transfers:
            found.setdefault((task.key.kind, task.key.ue), []).append(costs.seconds(task, plan))
    return found


def test_weights_cross_the_air_at_the_links_rates():
    found = durations(problem(), "sfl", decision())
    assert [found["weights_up", ue] for ue in ("ue1", "ue2")] == [[pytest.approx(0.01)]] * 2
    assert [found["weights_down", ue] for ue in ("ue1", "ue2")] == [[pytest.approx(0.005)]] * 2


def test_fl_moves_the_weights_of_all_units():
    found = durations(problem(), "fl", Decision(2, 1, np.array([10, 10]), HALF, HALF))
    assert found["weights_up", "ue1"] == [pytest.approx(1500 * 8 / 0.8e6)]
    assert "uplink" not in {kind for kind, _ in found}


def test_agents_and_planners_reckon_alike():
    costly = problem(message_bytes=130)
    per = decision_per_sample(costly, decision())
    found = durations(costly, "psl", decision(batch=(10, 7)))
    for i, (ue, batch) in enumerate((("ue1", 10), ("ue2", 7))):
        assert found["ue_forward", ue] == [pytest.approx(batch * per.ue_forward[i])]
        assert found["ue_backward", ue] == [pytest.approx(batch * per.ue_backward[i])]
        assert found["uplink", ue] == [pytest.approx(batch * per.uplink[i] + per.message_up[i])]
        assert found["downlink", ue] == [pytest.approx(batch * per.downlink[i] + per.message_down[i])]
    assert found["bs_forward", "bs"] == [pytest.approx(17 * per.bs_forward)]
    assert found["bs_backward", "bs"] == [pytest.approx(17 * per.bs_backward)]


def test_a_link_without_a_rate_takes_forever():
    found = durations(problem(), "psl", decision(up=np.array([0.01, 0.0])))
    assert np.isfinite(found["uplink", "ue1"][0]) and found["uplink", "ue2"] == [np.inf]


@pytest.mark.parametrize(("batch", "k"), [(10, 3), (2, 5), (7, 7), (1, 1), (0, 4), (128, 9)])
def test_batches_split_as_array_split_does(batch, k):
    expected = [len(part) for part in np.array_split(np.arange(batch), k)]
    assert list(micro_batch_sizes(batch, k)) == expected
    assert split_batches(np.array([batch]), k)[0].tolist() == expected


@pytest.mark.parametrize(
    ("batch", "k", "first", "expected"),
    [(1, 4, 2, [0, 0, 1, 0]), (2, 4, 1, [0, 1, 1, 0]), (3, 4, 2, [0, 1, 1, 1]), (4, 4, 2, [1] * 4), (0, 3, 1, [0] * 3)],
)
def test_a_ue_of_few_samples_begins_at_the_first_micro_batch_of_the_plan_or_as_late_as_it_can(
    batch, k, first, expected
):
    assert list(micro_batch_sizes(batch, k, first)) == expected
    assert split_batches(np.array([batch]), k, first)[0].tolist() == expected


def test_micro_batches_add_up_to_the_whole():
    whole, parts = (durations(problem(), "c2p2sl", decision(k, (10, 7))) for k in (1, 4))
    for kind in ("ue_forward", "uplink", "bs_forward", "bs_backward", "downlink", "ue_backward"):
        total = [sum(sum(s) for (task, _), s in found.items() if task == kind) for found in (whole, parts)]
        assert total[0] == pytest.approx(total[1]) and total[0] > 0
    assert len(parts["uplink", "ue1"]) == 4
