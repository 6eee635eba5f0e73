"""Every scheme on one machine in plain autograd: what three rounds of the agents must end with.

Each reference is written from the scheme's paper, on whole models in one process, without the agents' code
for halves, serving or averaging.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from agents.halves import to_inputs
from agents.job import Job
from agents.models.build import build, split
from agents.samples.shard import Order, Samples

Batch = tuple[torch.Tensor, torch.Tensor]
ROUNDS = 3


def whole_model(job: Job) -> nn.Sequential:
    """The model as every agent builds it."""
    return build(job.model, job.dataset_info, job.norm, job.seed)


def stream(job: Job, shard: Samples, batch: int, seed: tuple[int, ...]) -> Iterator[Batch]:
    """The batches that an agent will take."""
    order = Order(len(shard), seed)
    while True:
        taken = shard.take(order.take(batch))
        yield to_inputs(torch.from_numpy(taken.images)), torch.from_numpy(taken.labels).long()


class Machine:
    """A front per UE with its optimiser, one back or a back per UE, and everybody's data."""

    def __init__(self, job: Job, shards: dict[str, Samples], *, replicas: bool = False) -> None:
        self.job = job
        self.heads: dict[str, nn.Module] = {}
        names = list(job.plan.ues)
        cuts = {ue: job.plan.cut_of(ue) for ue in names}
        self.data = {
            ue: stream(job, shards[ue], job.plan.ues[ue].batch, (job.seed, 2, i)) for i, ue in enumerate(names)
        }
        self.fronts = {ue: split(whole_model(job), cuts[ue])[0] for ue in names}
        one = split(whole_model(job), job.plan.cut)[1]
        self.backs = {ue: split(whole_model(job), cuts[ue])[1] if replicas else one for ue in names}
        bs_lr = job.lr if job.bs_lr is None else job.bs_lr
        self.front_steps = {ue: self._optimiser(front, job.lr) for ue, front in self.fronts.items()}
        shared = self._optimiser(one, bs_lr)
        self.back_steps = {ue: self._optimiser(self.backs[ue], bs_lr) if replicas else shared for ue in names}

    def _optimiser(self, model: nn.Module, lr: float) -> torch.optim.SGD | None:
        parameters = list(model.parameters())
        return torch.optim.SGD(parameters, lr=lr, momentum=self.job.momentum) if parameters else None

    def forget_momentum(self, ue: str) -> None:
        """A UE that begins anew has none."""
        if optimiser := self.front_steps[ue]:
            optimiser.state.clear()

    def learn(self, loss: torch.Tensor, ues: Sequence[str]) -> None:
        """One step of these UEs' halves on this loss."""
        steps = {id(s): s for ue in ues for s in (self.front_steps[ue], self.back_steps[ue]) if s}.values()
        for optimiser in steps:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in steps:
            optimiser.step()

    def train_joint(self, ues: Sequence[str]) -> None:
        """PSL: one backward pass over the concatenated batch of these UEs."""
        taken = {ue: next(self.data[ue]) for ue in ues}
        scores = self.backs[ues[0]](torch.cat([self.fronts[ue](x) for ue, (x, _) in taken.items()]))
        self.learn(functional.cross_entropy(scores, torch.cat([y for _, y in taken.values()])), ues)

    def train_alone(self, ue: str) -> None:
        """One step of one UE with its back."""
        x, y = next(self.data[ue])
        self.learn(functional.cross_entropy(self.backs[ue](self.fronts[ue](x)), y), [ue])

    def whole(self, ue: str) -> list[torch.Tensor]:
        """All parameters of a UE's front and back, in the model's order."""
        return [*self.fronts[ue].parameters(), *self.backs[ue].parameters()]

    def average(self, ues: Sequence[str], heirs: Sequence[str], *, wholes: bool) -> None:
        """FedAvg of fronts, or of whole models, weighted by the samples that each was trained on."""
        batches = {ue: self.job.plan.ues[ue].batch for ue in ues}
        total = sum(batches.values())

        def parts(ue: str) -> list[torch.Tensor]:
            return self.whole(ue) if wholes else list(self.fronts[ue].parameters())

        with torch.no_grad():
            mean = [
                sum(batches[ue] / total * value for ue, value in zip(ues, values, strict=True))
                for values in zip(*(parts(ue) for ue in ues), strict=True)
            ]
            for ue in heirs:
                for parameter, value in zip(parts(ue), mean, strict=True):
                    parameter.copy_(value)


def psl(job: Job, shards: dict[str, Samples]) -> Machine:
    """PSL and C²P²SL: micro-batches change nothing."""
    machine = Machine(job, shards)
    for _ in range(ROUNDS):
        machine.train_joint(list(job.plan.ues))
    return machine


def in_turns(job: Job, shards: dict[str, Samples]) -> Machine:
    """SL and CPSL: cluster after cluster, L steps each; the cluster's mean front goes on to the next."""
    machine, ues = Machine(job, shards), list(job.plan.ues)
    clusters = [
        [ue for ue in ues if job.plan.ues[ue].cluster == c] for c in sorted({p.cluster for p in job.plan.ues.values()})
    ]
    turns = [[ue] for ue in ues] if job.plan.scheme == "sl" else clusters
    for _ in range(ROUNDS):
        for i, members in enumerate(turns):
            for _ in range(job.plan.steps):
                machine.train_joint(members)
            machine.average(members, turns[(i + 1) % len(turns)], wholes=False)
    return machine


def replicas(job: Job, shards: dict[str, Samples]) -> Machine:
    """FL, SFL V1 and PiPar: every UE has a whole model (cut anywhere); the means go to all."""
    machine, ues = Machine(job, shards, replicas=True), list(job.plan.ues)
    for _ in range(ROUNDS):
        for ue in ues:
            for _ in range(job.plan.steps):
                machine.train_alone(ue)
        machine.average(ues, ues, wholes=True)
    return machine


def in_order(job: Job, shards: dict[str, Samples]) -> Machine:
    """SFL V2: one back steps per UE, in a drawn order; fronts are averaged."""
    machine, ues = Machine(job, shards), list(job.plan.ues)
    for number in range(1, ROUNDS + 1):
        for i in np.random.default_rng([job.seed, 4, number, 0]).permutation(len(ues)):
            machine.train_alone(ues[i])
        machine.average(ues, ues, wholes=False)
    return machine


def epsl(job: Job, shards: dict[str, Samples]) -> Machine:
    """EPSL, the virtual sample: a surrogate loss whose gradient is the aggregate's, through the mean smashed data."""
    machine, ues = Machine(job, shards), list(job.plan.ues)
    m = math.ceil(job.plan.phi * min(job.plan.ues[ue].batch for ue in ues))
    for _ in range(ROUNDS):
        taken = {ue: next(machine.data[ue]) for ue in ues}
        total = sum(len(y) for _, y in taken.values())
        fronts, back = {ue: machine.fronts[ue](x) for ue, (x, _) in taken.items()}, machine.backs[ues[0]]
        loss = torch.zeros(())
        aggregate = torch.zeros(())
        for ue, (_, y) in taken.items():
            scores = back(fronts[ue]).detach()
            error = (torch.softmax(scores, 1) - functional.one_hot(y, scores.shape[1])) / total
            aggregate = aggregate + error[:m]
            if len(y) > m:
                loss = loss + functional.cross_entropy(back(fronts[ue][m:]), y[m:], reduction="sum") / total
        mean = sum(job.shares[ue] * fronts[ue][:m] for ue in ues)
        machine.learn(loss + (aggregate * back(mean)).sum(), ues)
    return machine


def ushape(job: Job, shards: dict[str, Samples]) -> Machine:
    """U-shape: each UE has the first and the last units, one middle is trained by all; the loss is the whole batch's.

    ``fronts`` are the UEs' first units, ``heads`` their last ones, ``backs`` the middle.
    """
    machine, ues, head_cut = Machine(job, shards), list(job.plan.ues), job.plan.head_cut or 4
    whole = {ue: whole_model(job) for ue in ues}
    middle = nn.Sequential(*list(machine.backs[ues[0]].children())[: head_cut - job.plan.cut])
    machine.heads = {ue: nn.Sequential(*list(whole[ue].children())[head_cut:]) for ue in ues}
    halves = [*machine.fronts.values(), *machine.heads.values(), middle]
    steps = [torch.optim.SGD(half.parameters(), lr=job.lr, momentum=job.momentum) for half in halves]
    for _ in range(ROUNDS):
        taken = {ue: next(machine.data[ue]) for ue in ues}
        scores = [machine.heads[ue](middle(machine.fronts[ue](x))) for ue, (x, _) in taken.items()]
        for step in steps:
            step.zero_grad()
        functional.cross_entropy(torch.cat(scores), torch.cat([y for _, y in taken.values()])).backward()
        for step in steps:
            step.step()
    machine.backs = dict.fromkeys(ues, middle)
    return machine


def centralised(job: Job, own: Samples) -> nn.Sequential:
    """The whole model on all data."""
    model, data = whole_model(job), stream(job, own, job.plan.bs_batch, (job.seed, 3))
    optimiser = torch.optim.SGD(model.parameters(), lr=job.lr, momentum=job.momentum)
    for _ in range(ROUNDS):
        x, y = next(data)
        optimiser.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model


REFERENCES: dict[str, Callable[[Job, dict[str, Samples]], Machine]] = {
    "sl": in_turns,
    "fl": replicas,
    "sfl": replicas,
    "sfl-v2": in_order,
    "psl": psl,
    "epsl": epsl,
    "cpsl": in_turns,
    "pipar": replicas,
    "c2p2sl": psl,
    "gpipe": psl,
    "ushape": ushape,
}
