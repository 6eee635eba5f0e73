"""A forward pass through the last units and the loss, with what is left to do backward.

Most schemes run backward what ran forward. EPSL aggregates the last-layer gradients of m paired rows,
row r of every UE; its text leaves open at which forward point the aggregate goes back, so there are
three readings. All return one gradient for the paired rows, to be broadcast, and one per UE for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from agents.plan import micro_batch_sizes

Tensors = list[torch.Tensor]


@dataclass(frozen=True)
class Rows:
    """What the UEs of a turn sent: activations and labels per UE, and each UE's weight λ.

    The first ``paired`` rows of each UE are aggregated. The loss is the *sum* of cross-entropies divided by
    ``samples``, the samples that this optimiser step will see, so that unequal micro-batches add up exactly.
    ``inner``: they come from units before, which want their gradients.
    """

    activations: Sequence[torch.Tensor]
    labels: Sequence[torch.Tensor]
    samples: int
    paired: int = 0
    weights: Sequence[float] = ()
    inner: bool = True

    @property
    def sizes(self) -> list[int]:
        """How many rows each UE has."""
        return [len(part) for part in self.activations]


@dataclass(frozen=True)
class Pass:
    """The loss, and the backward pass: gradients at the cut per UE, and the shared one of the paired rows."""

    loss: float
    backward: Callable[[], tuple[Tensors, torch.Tensor | None]]


def plain(model: nn.Module, rows: Rows) -> Pass:
    """Every row forward and backward; nothing is shared."""
    joined, sizes = leaf(rows.activations) if rows.inner else torch.cat(list(rows.activations)), rows.sizes
    loss = _loss(model(joined), torch.cat(list(rows.labels)), rows.samples)

    def backward() -> tuple[Tensors, None]:
        torch.autograd.backward(loss)
        return parts(joined, sizes) if rows.inner else [], None

    return Pass(loss.item(), backward)


def in_chunks(model: nn.Module, rows: Rows, most: int | None) -> Pass:
    """``plain``, there and back by so many rows at a time, or all, so that what is kept in between is bounded.

    The loss is a sum over samples, so gradients add up to those of all rows at once, unless the model mixes samples.
    """
    sizes, total, begin = rows.sizes, 0.0, 0
    gradient = torch.empty(sum(sizes), *rows.activations[0].shape[1:]) if rows.inner else torch.empty(0)
    gradient = gradient.to(rows.activations[0].device)
    for size in chunks(sum(sizes), most):
        values, labels = (_slice(each, begin, begin + size) for each in (rows.activations, rows.labels))
        joined = leaf(values) if rows.inner else torch.cat(values)
        loss = _loss(model(joined), torch.cat(labels), rows.samples)
        torch.autograd.backward(loss)
        if rows.inner:
            gradient[begin : begin + size] = _gradient(joined)
        total, begin = total + loss.item(), begin + size
    return Pass(total, lambda: (list(torch.split(gradient, sizes)) if rows.inner else [], None))


def chunks(rows: int, most: int | None) -> tuple[int, ...]:
    """As few chunks as hold so many rows with ``most`` in each, and as equal; one where there is no such bound."""
    return micro_batch_sizes(rows, -(-rows // (most or rows))) if rows else ()


def virtual(model: nn.Module, rows: Rows, most: int | None) -> Pass:
    """Paired rows go back as one virtual sample, the λ-weighted mean of their smashed data.

    Its last-layer gradient is the sum of theirs, so m + Σ (b_i − m) rows go backward. A UE's own share of
    the shared gradient is λ_i times it, by the chain rule.
    """
    m = rows.paired
    mixed = torch.as_tensor(sum(w * part[:m] for w, part in zip(rows.weights, rows.activations, strict=True)))
    gradients, paired_loss = _last_layer(model, rows, most)
    shared = _seeded(model, mixed, torch.stack(gradients).sum(0), most)
    rest = in_chunks(model, _unpaired(rows), most)
    return Pass(paired_loss + rest.loss, lambda: (rest.backward()[0], shared))


def own_point(model: nn.Module, rows: Rows, most: int | None) -> Pass:
    """The λ-weighted mean of the last-layer gradients goes back at each row's own forward point.

    All rows go backward; the shared gradient is the λ-weighted mean of what arrives at the cut.
    """
    m = rows.paired
    gradients, paired_loss = _last_layer(model, rows, most)
    mean = _mean(gradients, rows.weights)
    paired = torch.cat([part[:m] for part in rows.activations])
    found = _seeded(model, paired, torch.cat([mean] * len(gradients)), most)
    rest = in_chunks(model, _unpaired(rows), most)
    shared = _mean(torch.split(found, m), rows.weights)
    return Pass(paired_loss + rest.loss, lambda: (rest.backward()[0], shared))


def at_the_cut(model: nn.Module, rows: Rows, most: int | None) -> Pass:
    """Every row goes back as in PSL; only the cut-layer gradients of paired rows are averaged (λ-weighted)."""
    m, whole = rows.paired, in_chunks(model, rows, most)
    parts, _ = whole.backward()
    shared = _mean([part[:m] for part in parts], rows.weights)
    return Pass(whole.loss, lambda: ([part[m:] for part in parts], shared))


READINGS: dict[str, Callable[[nn.Module, Rows, int | None], Pass]] = {
    "virtual": virtual,
    "own": own_point,
    "cut": at_the_cut,
}
"""The pass of each way to aggregate (``agents.schemes.epsl``)."""


def run(model: nn.Module, rows: Rows, aggregate: str, most: int | None = None) -> Pass:
    """The pass of these rows; without paired ones it is exactly that of PSL.

    With ``most`` it goes back at once, by so many rows at a time; where rows are paired it always goes back at once.
    """
    if rows.paired:
        return READINGS[aggregate](model, rows, most)
    return plain(model, rows) if most is None or sum(rows.sizes) <= most else in_chunks(model, rows, most)


def leaf(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """What UEs sent as one tensor, whose gradient will be wanted."""
    return torch.cat([part.detach() for part in parts]).requires_grad_()


def _loss(scores: torch.Tensor, labels: torch.Tensor, samples: int) -> torch.Tensor:
    return functional.cross_entropy(scores, labels.long(), reduction="sum") / samples


def _gradient(leaf: torch.Tensor) -> torch.Tensor:
    assert leaf.grad is not None
    return leaf.grad


def parts(leaf: torch.Tensor, sizes: Sequence[int]) -> Tensors:
    """The gradient of a leaf, for each UE its rows."""
    return list(torch.split(_gradient(leaf), list(sizes)))


def _slice(parts: Sequence[torch.Tensor], begin: int, end: int) -> Tensors:
    """Rows of what would be these parts joined, as they lie in each."""
    found, before = [], 0
    for part in parts:
        found.append(part[max(0, begin - before) : max(0, end - before)])
        before += len(part)
    return [part for part in found if len(part)]


def _mean(parts: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    return torch.as_tensor(sum(w * part for w, part in zip(weights, parts, strict=True)))


def _last_layer(model: nn.Module, rows: Rows, most: int | None) -> tuple[Tensors, float]:
    """The loss's gradients at the scores of the paired rows, per UE, and that part of the loss."""
    m = rows.paired
    paired = torch.cat([part[:m] for part in rows.activations])
    with torch.no_grad():
        scores = torch.cat([model(part) for part in torch.split(paired, list(chunks(len(paired), most)))])
    scores.requires_grad_()
    loss = _loss(scores, torch.cat([part[:m] for part in rows.labels]), rows.samples)
    return list(torch.split(torch.autograd.grad(loss, scores)[0], m)), loss.item()


def _seeded(model: nn.Module, values: torch.Tensor, seeds: torch.Tensor, most: int | None) -> torch.Tensor:
    """What arrives at these rows when their scores go back from these gradients."""
    found = []
    sizes = list(chunks(len(values), most))
    for part, seed in zip(torch.split(values, sizes), torch.split(seeds, sizes), strict=True):
        joined = leaf([part])
        torch.autograd.backward(model(joined), seed)
        found.append(_gradient(joined))
    return torch.cat(found)


def _unpaired(rows: Rows) -> Rows:
    """The rows that are not paired."""
    m = rows.paired
    return Rows([part[m:] for part in rows.activations], [part[m:] for part in rows.labels], rows.samples)
