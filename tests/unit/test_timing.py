"""Task durations worked by hand from eqs 7–12."""

from __future__ import annotations

import numpy as np
import pytest

from agents.plan import micro_batch_sizes
from controller.predict.instance import Decision, link_rates
from controller.predict.timing import decision_per_sample, handover_times, split_batches, task_times
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


def test_weights_cross_the_air_at_the_links_rates():
    up, down = handover_times(problem(), decision())
    assert up == pytest.approx([0.01, 0.01])
    assert down == pytest.approx([0.005, 0.005])


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
    per = decision_per_sample(problem(), decision())
    whole = task_times(per, split_batches(np.array([10, 7]), 1))
    parts = task_times(per, split_batches(np.array([10, 7]), 4))
    for task in ("ue_forward", "uplink", "bs_forward", "bs_backward", "downlink", "ue_backward"):
        assert getattr(parts, task).sum() == pytest.approx(getattr(whole, task).sum())
