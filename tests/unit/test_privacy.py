"""Noise is as large as (ε, δ) asks, and no larger."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm

from agents.job import Privacy
from agents.privacy import gaussian_delta, gaussian_sigma, privatise


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
    privacy = Privacy("gaussian", epsilon=20.0, clip=1.0, delta=1e-5)
    noisy = privatise(torch.zeros(200, 1000), privacy, torch.Generator().manual_seed(1))
    assert noisy.std().item() == pytest.approx(gaussian_sigma(20.0, 1e-5, 2.0), rel=0.01)
