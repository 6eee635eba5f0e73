"""What schemes share in which groups of UEs take turns, and hand their weights on."""

from __future__ import annotations

from agents.schedule.vocabulary import Round
from agents.schemes.joint import joint_batch
from agents.schemes.seam import Groups


def in_turns(r: Round, groups: Groups) -> None:
    """One group after another trains its batches; the mean of its weights goes on to the next one."""
    for turn, members in enumerate(groups):
        for step in range(r.plan.steps):
            r.begin(turn, step)
            joint_batch(r, members)
        if r.shares:
            r.share_weights(members, groups[(turn + 1) % len(groups)])
