"""Differential privacy at a UE (PiPar, V-F): of its weights before they leave, or of its samples before the first unit.

Values are clipped, then get noise. Labels are not covered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch

from agents.plan import Privacy

_BISECTIONS = 60


def privatise(samples: torch.Tensor, privacy: Privacy, generator: torch.Generator) -> torch.Tensor:
    """Samples (n, …), each clipped to an L2 norm of at most ``clip``, plus noise: PixelDP's noise layer.

    Two clipped samples are at most ``2 clip`` apart. Gaussian: ``gaussian_sigma`` on each value gives (ε, δ).
    Laplace: a sample of d values is at most ``2 clip √d`` apart in L1, so the scale
    2 clip √d / ε gives ε.
    """
    flat = samples.flatten(1)
    norms = flat.norm(dim=1, keepdim=True).clamp_min(1e-12)
    clipped = (flat * (privacy.clip / norms).clamp_max(1.0)).view_as(samples)
    noisy: torch.Tensor = clipped + MECHANISMS[privacy.mechanism](clipped, privacy, generator)
    return noisy


def privatise_weights(
    weights: Sequence[torch.Tensor], before: Sequence[torch.Tensor], privacy: Privacy, generator: torch.Generator
) -> list[torch.Tensor]:
    """Weights whose change since ``before`` is one sample of ``privatise``: the update is clipped, not the model.

    Counters (integers) are left as they are.
    """
    floats = [i for i, value in enumerate(weights) if value.is_floating_point()]
    change = torch.cat([(weights[i] - before[i]).flatten() for i in floats])
    noisy = privatise(change[None], privacy, generator)[0]
    parts = torch.split(noisy, [weights[i].numel() for i in floats])
    found = list(weights)
    for i, part in zip(floats, parts, strict=True):
        found[i] = before[i] + part.view_as(before[i])
    return found


@cache
def gaussian_sigma(epsilon: float, delta: float, sensitivity: float) -> float:
    """The least σ with which noise on values that may be ``sensitivity`` (L2) apart gives (ε, δ).

    The analytic Gaussian mechanism (Balle and Wang 2018, theorem 8), for every ε; the classical σ, √(2 ln(1.25/δ)) / ε
    of the sensitivity, is proven for ε ≤ 1 only, and too small for large ones.
    """
    low, high = 0.0, 1.0
    while gaussian_delta(high, epsilon) > delta:
        low, high = high, 2.0 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if gaussian_delta(middle, epsilon) > delta else (low, middle)
    return high * sensitivity


def gaussian_delta(sigma: float, epsilon: float) -> float:
    """The δ of noise of ``sigma`` times the sensitivity, for this ε: Φ(1/2σ − εσ) − e^ε Φ(−1/2σ − εσ)."""
    near, far = 0.5 / sigma - epsilon * sigma, -0.5 / sigma - epsilon * sigma
    log_far = torch.special.log_ndtr(torch.tensor(far, dtype=torch.float64)).item()
    return _normal(near) - math.exp(epsilon + log_far)


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _gaussian(like: torch.Tensor, privacy: Privacy, generator: torch.Generator) -> torch.Tensor:
    sigma = gaussian_sigma(privacy.epsilon, privacy.delta, 2 * privacy.clip)
    return torch.randn(like.shape, generator=generator, dtype=like.dtype) * sigma


def _laplace(like: torch.Tensor, privacy: Privacy, generator: torch.Generator) -> torch.Tensor:
    scale = 2 * privacy.clip * math.sqrt(like[0].numel()) / privacy.epsilon
    uniform = torch.rand(like.shape, generator=generator, dtype=like.dtype) - 0.5
    return -scale * uniform.sign() * torch.log1p(-2 * uniform.abs().clamp_max(0.5 - 1e-7))


Draw = Callable[[torch.Tensor, Privacy, torch.Generator], torch.Tensor]
MECHANISMS: dict[str, Draw] = {"gaussian": _gaussian, "laplace": _laplace}
"""How each mechanism draws noise for samples."""
