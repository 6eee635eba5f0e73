"""An epoch is a pass over the samples that were dealt, and batches in flight count once."""

from __future__ import annotations

import pytest

from controller.planners.planning import plan_all
from testbed.errors import InputError
from testbed.loading import parse

SCENE = """
name: epochs
training: {{batch: {batch}}}
radio: {{access: dedicated, network: wifi}}
data: {{partition: {partition}}}
ues: {{count: 4, capacity_gflop: [{gflop}, {gflop}]}}
schemes: [{scheme}]
"""


def planned(scheme: str, *, batch: int = 40, partition: str = "{kind: iid}", gflop: float = 50.0):
    """The plan of one scheme."""
    return plan_all(parse(SCENE.format(batch=batch, partition=partition, scheme=scheme, gflop=gflop), "epochs"))[0]


@pytest.mark.parametrize(
    ("partition", "batches"),
    [
        ("{kind: iid}", 100),  # all 4 000 samples of mnist5k
        ("{kind: dirichlet, alpha: 1}", 100),
        ("{kind: classes, per_ue: 3, samples_per_ue: 50}", 5),  # 4 UEs hold 200
    ],
)
def test_an_epoch_is_as_many_batches_as_were_dealt(partition, batches):
    assert planned("{scheme: sfl, cut: 2, sync_every: epoch}", partition=partition).plan.steps == batches


def test_classes_that_no_ue_holds_are_no_part_of_an_epoch():
    steps = planned("{scheme: fl}", partition="{kind: classes, per_ue: 1}").plan.steps
    assert steps < 50, "four of ten classes at the most"


def test_batches_in_flight_count_once():
    one = planned("{scheme: pipar, planner: uniform, cut: 2, micro_batches: 4}").plan
    many = planned("{scheme: pipar, planner: uniform, cut: 2, micro_batches: 4, in_flight: true}").plan
    assert many.batch == 4 * one.batch
    assert many.steps * many.batch == one.steps * one.batch == 4000


def test_batches_in_flight_keep_what_a_ue_can_hold():
    with pytest.raises(InputError, match=r"schemes\.0\.in_flight: ue1 would hold 40 samples at cut 2, and C2"):
        planned("{scheme: pipar, planner: uniform, cut: 2, micro_batches: 4, in_flight: true}", gflop=0.5)
