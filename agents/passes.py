"""A forward pass through the last units and the loss, with what is left to do backward.

Most schemes run backward what ran forward. EPSL aggregates the last-layer gradients of m paired rows,
row r of every UE; its text leaves open at which forward point the aggregate goes back, so there are
three readings. All return one gradient for the paired rows, to be broadcast, and one per UE for the rest.

A pass may go there and back in chunks of rows, shared out over twins of the model: those have its weights and gradients
of their own, and each computes on a thread with a core to itself, always the same chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import nn
from torch.nn import functional

from agents.schedule.footprint import chunks

Tensors = list[torch.Tensor]
Twins = Sequence[nn.Module]
"""A model, and others with the same weights and gradients of their own (``Half.twins``)."""


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


def in_chunks(twins: Twins, rows: Rows, most: int) -> Pass:
    """``plain``, there and back by so many rows at a time, so that what is kept in between is bounded.

    The loss is a sum over samples, so gradients add up to those of all rows at once, unless the model mixes samples.
    """
    sizes, labels = rows.sizes, torch.cat(list(rows.labels))

    def loss_of(scores: torch.Tensor, begin: int, end: int) -> tuple[torch.Tensor, None]:
        return _loss(scores, labels[begin:end], rows.samples), None

    total, gradient = _there_and_back(twins, rows.activations, loss_of, most, rows.inner)
    return Pass(total, lambda: (list(torch.split(gradient, sizes)) if rows.inner else [], None))


def _there_and_back(
    twins: Twins,
    values: Sequence[torch.Tensor],
    end_of: Callable[[torch.Tensor, int, int], tuple[torch.Tensor, torch.Tensor | None]],
    most: int,
    inner: bool = True,
) -> tuple[float, torch.Tensor]:
    """Has chunks of rows go forward, and back from what ``end_of`` says: of their scores, a tensor and its gradient.

    The sum of those tensors, and the gradient of the rows if they are ``inner``.
    """
    rows = sum(len(part) for part in values)
    spans = spans_of(rows, most)
    ends = [0.0] * len(spans)
    gradient = values[0].new_empty(rows if inner else 0, *values[0].shape[1:])

    def chunk(model: nn.Module, i: int) -> None:
        begin, end = spans[i]
        mine = _slice(values, begin, end)
        joined = leaf(mine) if inner else torch.cat(mine)
        out, seed = end_of(model(joined), begin, end)
        torch.autograd.backward(out, seed)
        ends[i] = out.sum().item()
        if inner:
            gradient[begin:end] = _gradient(joined)

    _share_out(twins, len(spans), chunk)
    return sum(ends), gradient


def _share_out(twins: Twins, count: int, work: Callable[[nn.Module, int], None]) -> None:
    """Does so many pieces of work, every n-th with the same one of n twins."""

    def every_nth(first: int) -> None:
        for i in range(first, count, len(twins)):
            work(twins[first], i)

    if len(twins) == 1:
        every_nth(0)
        return
    with ThreadPoolExecutor(len(twins), initializer=torch.set_num_threads, initargs=(1,)) as threads:
        list(threads.map(every_nth, range(len(twins))))


def spans_of(rows: int, most: int) -> list[tuple[int, int]]:
    """Where each of the chunks begins and ends."""
    ends = list(accumulate(chunks(rows, most)))
    return list(zip([0, *ends], ends, strict=False))


def virtual(twins: Twins, rows: Rows, most: int) -> Pass:
    """Paired rows go back as one virtual sample, the λ-weighted mean of their smashed data.

    Its last-layer gradient is the sum of theirs, so m + Σ (b_i − m) rows go backward. A UE's own share of
    the shared gradient is λ_i times it, by the chain rule.
    """
    m = rows.paired
    mixed = torch.as_tensor(sum(w * part[:m] for w, part in zip(rows.weights, rows.activations, strict=True)))
    gradients, paired_loss = _last_layer(twins, rows, most)
    shared = _seeded(twins, mixed, torch.stack(gradients).sum(0), most)
    rest = in_chunks(twins, _unpaired(rows), most)
    return Pass(paired_loss + rest.loss, lambda: (rest.backward()[0], shared))


def own_point(twins: Twins, rows: Rows, most: int) -> Pass:
    """The λ-weighted mean of the last-layer gradients goes back at each row's own forward point.

    All rows go backward; the shared gradient is the λ-weighted mean of what arrives at the cut.
    """
    m = rows.paired
    gradients, paired_loss = _last_layer(twins, rows, most)
    mean = _mean(gradients, rows.weights)
    paired = torch.cat([part[:m] for part in rows.activations])
    found = _seeded(twins, paired, torch.cat([mean] * len(gradients)), most)
    rest = in_chunks(twins, _unpaired(rows), most)
    shared = _mean(torch.split(found, m), rows.weights)
    return Pass(paired_loss + rest.loss, lambda: (rest.backward()[0], shared))


def at_the_cut(twins: Twins, rows: Rows, most: int) -> Pass:
    """Every row goes back as in PSL; only the cut-layer gradients of paired rows are averaged (λ-weighted)."""
    m, whole = rows.paired, in_chunks(twins, rows, most)
    parts, _ = whole.backward()
    shared = _mean([part[:m] for part in parts], rows.weights)
    return Pass(whole.loss, lambda: ([part[m:] for part in parts], shared))


READINGS: dict[str, Callable[[Twins, Rows, int], Pass]] = {
    "virtual": virtual,
    "own": own_point,
    "cut": at_the_cut,
}
"""The pass of each way to aggregate (``agents.schemes.epsl``)."""


def run(twins: Twins, rows: Rows, aggregate: str, most: int | None = None) -> Pass:
    """The pass of these rows; without paired ones it is exactly that of PSL.

    With ``most`` it goes back at once, by so many rows at a time; where rows are paired it always goes back at once.
    """
    total = sum(rows.sizes)
    if rows.paired:
        return READINGS[aggregate](twins, rows, most or total)
    return plain(twins[0], rows) if most is None or total <= most else in_chunks(twins, rows, most)


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


def _last_layer(twins: Twins, rows: Rows, most: int) -> tuple[Tensors, float]:
    """The loss's gradients at the scores of the paired rows, per UE, and that part of the loss."""
    m = rows.paired
    paired = [part[:m] for part in rows.activations]
    spans = spans_of(m * len(paired), most)
    found = [torch.empty(0)] * len(spans)

    def forward(model: nn.Module, i: int) -> None:
        with torch.no_grad():
            found[i] = model(torch.cat(_slice(paired, *spans[i])))

    _share_out(twins, len(spans), forward)
    scores = torch.cat(found).requires_grad_()
    loss = _loss(scores, torch.cat([part[:m] for part in rows.labels]), rows.samples)
    return list(torch.split(torch.autograd.grad(loss, scores)[0], m)), loss.item()


def _seeded(twins: Twins, values: torch.Tensor, seeds: torch.Tensor, most: int) -> torch.Tensor:
    """What arrives at these rows when their scores go back from these gradients."""
    _, found = _there_and_back(twins, [values], lambda scores, begin, end: (scores, seeds[begin:end]), most)
    return found


def _unpaired(rows: Rows) -> Rows:
    """The rows that are not paired."""
    m = rows.paired
    return Rows([part[m:] for part in rows.activations], [part[m:] for part in rows.labels], rows.samples)
