"""PSL: parallel split learning, one BS model on the batch of all UEs."""

from __future__ import annotations

from agents.schedule.vocabulary import Round
from agents.schemes.joint import joint_batch
from agents.schemes.seam import Scheme


def psl(r: Round) -> None:
    """All UEs send their batch; the BS computes them as one; UE halves are never synchronised."""
    joint_batch(r, r.ues)


PSL = Scheme(
    "psl",
    "PSL: parallel split learning",
    psl,
    planners=("uniform", "ao", "makespan", "epsl"),
    recursion=True,
    halves="different",
)
