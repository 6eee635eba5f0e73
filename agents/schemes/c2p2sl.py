"""C²P²SL: PSL in k micro-batches, so that UEs, air and BS work at the same time (C²P²SL paper, section III)."""

from __future__ import annotations

from agents.schedule.vocabulary import Round
from agents.schemes.joint import joint_batch
from agents.schemes.seam import Scheme


def c2p2sl(r: Round) -> None:
    """The BS runs micro-batch m forward and at once backward when all UEs' m-th has arrived."""
    joint_batch(r, r.ues)


C2P2SL = Scheme(
    "c2p2sl",
    "C²P²SL: pipelined parallel split learning",
    c2p2sl,
    micro_batches="k",
    planners=("uniform", "ao", "makespan"),
    recursion=True,
    halves="different",
)
