"""Durations and scheme → predicted events, round time and bubble rate.

A round is the scheme's phases, one after another; ``controller.predict.phases`` says what happens in one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.scheme import Scheme, phases
from controller.predict.instance import Decision, Instance
from controller.predict.phases import TRAINING, Event, Scene, shared_weights
from controller.predict.recursion import gradients_leave, turn_s
from controller.predict.timing import decision_per_sample, split_batches


@dataclass(frozen=True)
class Timeline:
    """A predicted round: its events in order of start, its length and the BS's busy time (s)."""

    events: tuple[Event, ...]
    round_s: float
    bs_busy_s: float

    @property
    def bs_idle_s(self) -> float:
        """Seconds of the round in which the BS does not compute."""
        return self.round_s - self.bs_busy_s

    @property
    def bubble_rate(self) -> float:
        """Idle share of the BS (eq. 16)."""
        return self.bs_idle_s / self.round_s


def round_s(instance: Instance, scheme: Scheme, decision: Decision) -> float:
    """``predict(…).round_s``, by a shorter way where there is one: what planners search with."""
    quick = scheme.bs_model == "joint" and scheme.turn == "all" and scheme.ue_weights == "kept" and not decision.phi
    if not quick:
        return predict(instance, scheme, decision).round_s
    per = decision_per_sample(instance, decision)
    samples = split_batches(decision.batch, decision.micro_batches, decision.first_micro_batch)
    return float(turn_s(per, samples, gradients_leave(per, samples, instance.duplex))) * decision.steps


def predict(instance: Instance, scheme: Scheme, decision: Decision, seed: int = 0, number: int = 1) -> Timeline:
    """The round that this decision gives under this scheme.

    ``seed`` and ``number`` (of the round) matter to schemes that draw an order every round.
    """
    scene = Scene(instance, scheme, decision, seed, number)
    events: list[Event] = []
    clock_s, busy_s = 0.0, 0.0
    for phase in phases(scheme, decision.clusters(instance.ues), decision.steps, instance.duplex):
        trained = TRAINING[scheme.bs_model](scene, phase)
        moved = shared_weights(scene, phase, trained.done_s)
        for event in (*trained.events, *moved):
            events.append(event._replace(start_s=event.start_s + clock_s, end_s=event.end_s + clock_s))
        busy_s += trained.busy_s
        clock_s += max(trained.end_s, *(event.end_s for event in moved), 0.0)
    return Timeline(tuple(sorted(events, key=lambda e: (e.start_s, e.end_s))), clock_s, busy_s)


def typical(instance: Instance, scheme: Scheme, decision: Decision, seed: int, rounds: int) -> Timeline:
    """The timeline of median length among rounds 2 … ``rounds``; all are alike unless an order is drawn."""
    if scheme.bs_model != "in_order":
        return predict(instance, scheme, decision)
    found = [predict(instance, scheme, decision, seed, number) for number in range(2, max(3, rounds + 1))]
    lengths = [timeline.round_s for timeline in found]
    return found[int(np.argsort(lengths, kind="stable")[(len(found) - 1) // 2])]
