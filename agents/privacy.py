"""Differential privacy of what leaves a UE (PiPar, V-F): clipped, then noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from agents.job import Privacy


def privatise(activations: torch.Tensor, privacy: Privacy, generator: torch.Generator) -> torch.Tensor:
    """Activations (samples, …) whose every sample has an L2 norm of at most ``clip``, plus noise.

    Two clipped samples are at most ``2 clip`` apart. Gaussian: σ = 2 clip √(2 ln(1.25/δ)) / ε on each value
    gives (ε, δ) for ε ≤ 1. Laplace: a sample of d values is at most ``2 clip √d`` apart in L1, so the scale
    2 clip √d / ε gives ε. Gradients pass through the clipping; the noise is a constant. Labels are not covered.
    """
    flat = activations.flatten(1)
    norms = flat.norm(dim=1, keepdim=True).clamp_min(1e-12)
    clipped = (flat * (privacy.clip / norms).clamp_max(1.0)).view_as(activations)
    noisy: torch.Tensor = clipped + _NOISE[privacy.mechanism](clipped.detach(), privacy, generator)
    return noisy


def privatise_weights(
    weights: Sequence[torch.Tensor], before: Sequence[torch.Tensor], privacy: Privacy, generator: torch.Generator
) -> list[torch.Tensor]:
    """Weights whose change since ``before`` is one sample of ``privatise``: the update is clipped, not the model."""
    floats = [i for i, value in enumerate(weights) if value.is_floating_point()]
    change = torch.cat([(weights[i] - before[i]).flatten() for i in floats])
    noisy = privatise(change[None], privacy, generator)[0]
    parts = torch.split(noisy, [weights[i].numel() for i in floats])
    found = list(weights)
    for i, part in zip(floats, parts, strict=True):
        found[i] = before[i] + part.view_as(before[i])
    return found


def _gaussian(like: torch.Tensor, privacy: Privacy, generator: torch.Generator) -> torch.Tensor:
    sigma = 2 * privacy.clip * math.sqrt(2 * math.log(1.25 / privacy.delta)) / privacy.epsilon
    return torch.randn(like.shape, generator=generator, dtype=like.dtype) * sigma


def _laplace(like: torch.Tensor, privacy: Privacy, generator: torch.Generator) -> torch.Tensor:
    scale = 2 * privacy.clip * math.sqrt(like[0].numel()) / privacy.epsilon
    uniform = torch.rand(like.shape, generator=generator, dtype=like.dtype) - 0.5
    return -scale * uniform.sign() * torch.log1p(-2 * uniform.abs().clamp_max(0.5 - 1e-7))


_NOISE = {"gaussian": _gaussian, "laplace": _laplace}
