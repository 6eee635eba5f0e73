"""What a UE's rate is under each radio access, and how the uniform planner deals the air."""

from __future__ import annotations

import numpy as np
import pytest

from agents.schemes import SCHEMES
from controller.planners import PLANNERS, Request
from controller.planners.uniform import equal_clusters, equal_slots
from controller.predict.instance import Instance, instance, link_rates
from controller.predict.workload import workload
from testbed.loading import parse
from tests.unit.problems import problem

FDMA = "name: a\nradio: {access: fdma, bandwidth_mhz: 10, subcarrier_mhz: 1.5}\n"


def read(text: str) -> Instance:
    topology = parse(text, "a.yaml")
    return instance(topology, workload(topology))


def test_the_band_is_as_many_whole_subcarriers_as_fit():
    found = read(FDMA + "ues: [{name: ue1, snr_db: 10}]\n")
    assert found.subcarriers == 6
    assert found.rate_up[0] == found.rate_down[0] == pytest.approx(9e6 * np.log2(11))


def test_without_an_snr_power_and_distance_count():
    found = read(FDMA + "ues: [{name: ue1, distance_m: 100}, {name: ue2, distance_m: 100, snr_db: 0}]\n")
    assert found.rate_up[0] > found.rate_up[1] == pytest.approx(9e6)
    assert found.tx_power_w is not None and found.tx_power_w[0] == pytest.approx(0.1) and np.isnan(found.tx_power_w[1])


@pytest.mark.parametrize(("network", "up", "down"), [("4g", 10, 25), ("4g+", 20, 40), ("wifi", 50, 50)])
def test_a_network_names_the_rates_of_dedicated_links(network, up, down):
    found = read(
        f"name: a\nradio: {{access: dedicated, network: {network}}}\nues: [{{name: a}}, {{name: b, uplink_mbps: 3}}]"
    )
    assert (found.rate_up / 1e6).tolist() == [up, 3]
    assert (found.rate_down / 1e6).tolist() == [down, down]
    assert not found.shared_air


def test_uniform_deals_whole_subcarriers_and_the_rest_to_the_slowest():
    shared = problem(n=3, subcarriers=8, rate_up=np.array([3e6, 1e6, 2e6]))
    decision = PLANNERS["uniform"](Request(shared, SCHEMES["psl"])).decision
    assert np.round(decision.slot_up_s / 0.01 * 8).tolist() == [2, 3, 3]
    assert link_rates(shared, decision)[0].tolist() == pytest.approx([3e6 * 2 / 8, 1e6 * 3 / 8, 2e6 * 3 / 8])


def test_clusters_share_the_air_among_themselves_only():
    request = Request(problem(n=5, subcarriers=7), SCHEMES["cpsl"], cluster_size=2)
    assert equal_clusters(request).tolist() == [0, 0, 1, 1, 2]
    assert np.round(equal_slots(request) / 0.01 * 7).tolist() == [4, 3, 4, 3, 7]


@pytest.mark.parametrize("planner", ["ao", "makespan"])
def test_planners_of_slots_deal_whole_subcarriers_too(planner):
    shared = problem(n=3, subcarriers=8, rate_up=np.array([3e6, 1e6, 2e6]))
    decision = PLANNERS[planner](Request(shared, SCHEMES["c2p2sl"])).decision
    for slots in (decision.slot_up_s, decision.slot_down_s):
        dealt = slots / 0.01 * 8
        assert dealt == pytest.approx(np.round(dealt))
        assert dealt.min() >= 0.999 and dealt.sum() <= 8.001
