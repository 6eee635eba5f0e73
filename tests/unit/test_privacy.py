"""Noise is as large as (ε, δ) asks, and no larger."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from agents.job import Job
from agents.plan import Plan, Privacy
from agents.privacy import gaussian_delta, gaussian_sigma, privatise
from agents.schedule.costs import NOISE_FLOPS
from agents.schemes import SCHEMES
from controller.planners.pipar.recursion import epoch_s, profile
from controller.predict.instance import Decision
from controller.predict.prediction import predict, round_s
from tests.unit import references
from tests.unit.loopback import World, job, samples, world
from tests.unit.problems import problem

BATCHES = (7, 4, 9)
LOUD = Privacy("weights", "gaussian", epsilon=1.0, clip=0.01, delta=1e-5)
SHARING = [name for name, scheme in SCHEMES.items() if scheme.trains]


def true_delta(sigma: float, epsilon: float, sensitivity: float) -> float:
    """The δ of Gaussian noise by its definition: what ε does not cover of the difference of two shifted normals."""
    at = sensitivity / 2 - epsilon * sigma**2 / sensitivity  # beyond here the likelihood ratio is above e^ε
    return float(norm.sf(-at / sigma) - math.exp(epsilon) * norm.sf(-(at - sensitivity) / sigma))


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5])
def test_gaussian_noise_gives_exactly_its_delta(epsilon, delta):
    sigma = gaussian_sigma(epsilon, delta, sensitivity=2.0)
    assert true_delta(sigma, epsilon, 2.0) == pytest.approx(delta, rel=1e-6)


def test_the_classical_formula_is_not_private_enough_for_large_epsilon():
    classical = math.sqrt(2 * math.log(1.25e5)) / 20.0
    assert gaussian_delta(classical, 20.0) > 1e-3, "1.5e-3 and not 1e-5: the classical proof ends at 1"
    assert gaussian_sigma(20.0, 1e-5, 1.0) > classical


def test_noise_on_a_sample_has_the_spread_that_is_asked_for():
    privacy = Privacy("input", "gaussian", epsilon=20.0, clip=1.0, delta=1e-5)
    noisy = privatise(torch.zeros(200, 1000), privacy, torch.Generator().manual_seed(1))
    assert noisy.std().item() == pytest.approx(gaussian_sigma(20.0, 1e-5, 2.0), rel=0.01)


@pytest.fixture
def double_precision():
    """In single precision a rounding error can turn which of two values max pooling takes."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained(asked: Job, rounds: int, look) -> object:
    """What ``look`` sees in agents that have done so many rounds."""
    with world({f"ue{i + 1}": samples(20, i) for i in range(len(BATCHES))}) as agents:
        agents.configure(asked)
        for number in range(1, rounds + 1):
            agents.round(number)
        return look(agents)


def fronts(agents: World) -> dict[str, torch.Tensor]:
    """All weights of each UE's part, in one row."""
    return {ue: torch.cat([w.flatten() for w in agents.half(ue).weights()]) for ue in agents.ues}


def replicas(agents: World) -> list[torch.Tensor]:
    """All weights of the BS's replicas."""
    return [w for half in agents.bs.trainer.halves.values() for w in half.weights()]


def test_weights_leave_with_noise_of_the_right_spread_and_nothing_else_does():
    privacy = replace(LOUD, clip=100.0)  # no change is as long as that
    (quiet, backs), (loud, same) = (
        trained(job("sfl", 2, 1, BATCHES, {"privacy": one}), 1, lambda agents: (fronts(agents), replicas(agents)))
        for one in (None, privacy)
    )
    shares = np.array(BATCHES) / sum(BATCHES)
    expected = gaussian_sigma(1.0, 1e-5, 200.0) * math.sqrt((shares**2).sum())
    noise = loud["ue1"] - quiet["ue1"]
    assert noise.std().item() == pytest.approx(expected, rel=0.03)
    assert abs(noise.mean().item()) < 5 * expected / math.sqrt(len(noise))
    assert all(torch.equal(a, b) for a, b in zip(backs, same, strict=True)), "the BS's own parts never left a UE"


@pytest.mark.parametrize("method", ["weights", "input"])
@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_noise_changes_what_is_learned_and_repeats(method, mechanism):
    asked = [
        job("sfl", 2, 1, BATCHES, {"privacy": one}) for one in (None, replace(LOUD, method=method, mechanism=mechanism))
    ]
    quiet, loud, again = (trained(one, 2, fronts) for one in (*asked, asked[1]))
    assert not torch.allclose(quiet["ue1"], loud["ue1"])
    assert all(torch.equal(loud[ue], again[ue]) for ue in loud)


def noise_of(asked: Job, number: int) -> torch.Generator:
    """The generator of a UE, by its number."""
    return torch.Generator().manual_seed(asked.seed * 1_000_003 + number)


def clipped_and_noised(row: torch.Tensor, privacy: Privacy, generator: torch.Generator) -> torch.Tensor:
    """Rows of values, each scaled down to the norm that is allowed, plus Gaussian noise for twice that."""
    factor = torch.minimum(torch.ones(len(row)), privacy.clip / row.norm(dim=1))
    sigma = gaussian_sigma(privacy.epsilon, privacy.delta, 2 * privacy.clip)
    return row * factor[:, None] + sigma * torch.randn(row.shape, generator=generator)


@pytest.mark.parametrize("scheme", ["sl", "psl", "sfl", "c2p2sl"])
def test_noise_on_the_input_equals_single_process_autograd(scheme, double_precision, monkeypatch):
    privacy = replace(LOUD, method="input", clip=5.0)
    asked = job(scheme, 2, 1, BATCHES, {"privacy": privacy})
    quiet = references.stream

    def noisy(job, shard, batch, seed):
        generator = noise_of(job, seed[2])
        for x, y in quiet(job, shard, batch, seed):
            yield clipped_and_noised(x.flatten(1), privacy, generator).view_as(x), y

    monkeypatch.setattr(references, "stream", noisy)
    equals_reference(asked)


class NoisyMachine(references.Machine):
    """A reference in which the change of a front, since it last came, is clipped and noised before it is averaged."""

    def __init__(self, asked, shards, **more):
        super().__init__(asked, shards, **more)
        self.noise = {ue: noise_of(asked, i) for i, ue in enumerate(asked.plan.ues)}
        self.came = {ue: self._flat(ue) for ue in asked.plan.ues}

    def average(self, ues, heirs, *, wholes):
        own = {ue: self._flat(ue) for ue in ues}
        for ue in ues:
            change = (own[ue] - self.came[ue])[None]
            self._fill(ue, self.came[ue] + clipped_and_noised(change, self.job.plan.privacy, self.noise[ue])[0])
        super().average(ues, heirs, wholes=wholes)
        for ue in set(ues) - set(heirs):
            self._fill(ue, own[ue])
        self.came.update({ue: self._flat(ue) for ue in heirs})

    def _flat(self, ue):
        return torch.cat([value.detach().flatten() for value in self.fronts[ue].parameters()])

    def _fill(self, ue, values):
        parameters = list(self.fronts[ue].parameters())
        with torch.no_grad():
            for value, part in zip(parameters, torch.split(values, [p.numel() for p in parameters]), strict=True):
                value.copy_(part.view(value.shape))


@pytest.mark.parametrize(("scheme", "cut"), [("sl", 2), ("sfl", 2), ("sfl-v2", 1), ("fl", 5)])
def test_noise_on_weights_equals_single_process_autograd(scheme, cut, double_precision, monkeypatch):
    monkeypatch.setattr(references, "Machine", NoisyMachine)
    equals_reference(job(scheme, cut, 1, BATCHES, {"privacy": LOUD}))


def equals_reference(asked: Job) -> None:
    """Three rounds end with the weights of the reference, on every UE."""
    machine = references.REFERENCES[asked.plan.scheme](asked, {f"ue{i + 1}": samples(20, i) for i in range(3)})
    found = trained(asked, references.ROUNDS, fronts)
    for ue, front in machine.fronts.items():
        expected = torch.cat([value.detach().flatten() for value in front.parameters()])
        assert torch.allclose(found[ue], expected, atol=1e-6), ue


def test_a_plan_and_a_job_keep_their_privacy_over_the_wire():
    asked = job("sfl", 2, 1, BATCHES, {"privacy": LOUD})
    assert Job.from_json(asked.to_json()).plan.privacy == LOUD
    assert Plan.from_json(asked.plan.to_json()) == asked.plan
    assert "privacy" not in job("sfl", 2, 1, BATCHES).plan.to_json()


HALF = np.array([0.005, 0.005])
CUT = {"fl": 2, "ushape": 1}


def decided(scheme: str) -> Decision:
    """Ten samples at each of two UEs."""
    return Decision(CUT.get(scheme, 1), 1, np.array([10, 10]), HALF, HALF)


@pytest.mark.parametrize("scheme", SHARING)
def test_noise_on_weights_makes_the_round_longer_by_its_flops(scheme):
    quiet, loud = (predict(problem(privacy=one), SCHEMES[scheme], decided(scheme)) for one in (None, LOUD))
    rows = [event for event in loud.events if event.key.kind == "noise"]
    values = problem().workload.ue_weight_bytes(decided(scheme).cut) / 4
    each_s = values * (NOISE_FLOPS["gaussian"] + 2) / 1e9
    assert [row.end_s - row.start_s for row in rows] == [pytest.approx(each_s)] * len(rows)
    assert {row.place for row in rows} == {"ue1", "ue2"}
    assert loud.round_s >= quiet.round_s + 0.999 * each_s


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if SCHEMES[name].turns != "none" and name != "ushape"])
def test_noise_on_samples_makes_the_round_longer(scheme):
    privacy = replace(LOUD, method="input")
    quiet, loud = (
        predict(problem(privacy=one, sample_values=3072), SCHEMES[scheme], decided(scheme)) for one in (None, privacy)
    )
    each_s = 10 * 3072 * NOISE_FLOPS["gaussian"] / 1e9
    assert loud.round_s >= quiet.round_s + 0.999 * each_s
    assert not [event for event in loud.events if event.key.kind == "noise"]


def test_planners_search_with_the_noise_that_is_emulated():
    noisy = problem(privacy=replace(LOUD, method="input"), sample_values=3072)
    found = replace(decided("c2p2sl"), micro_batches=4)
    assert round_s(noisy, SCHEMES["c2p2sl"], found) == pytest.approx(
        predict(noisy, SCHEMES["c2p2sl"], found).round_s, rel=1e-9
    )


@pytest.mark.parametrize("method", ["weights", "input"])
def test_pipars_manager_reckons_with_the_noise_that_is_emulated(method):
    """Its epoch is longer by as much as a round of equal UEs is."""
    epochs, rounds = [], []
    for privacy in (None, replace(LOUD, method=method)):
        noisy = problem(2, 20, "fdd", privacy=privacy, sample_values=3072)
        epochs.append(epoch_s(profile(noisy, 0, 1, 2), 10, 1, 1, "fdd"))
        rounds.append(predict(noisy, SCHEMES["sfl"], decided("sfl")).round_s)
    assert epochs[1] > epochs[0]
    assert epochs[1] - epochs[0] == pytest.approx(rounds[1] - rounds[0])
