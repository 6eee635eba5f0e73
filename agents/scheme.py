"""The schemes as rows of one table: one UE loop and one BS loop interpret the row.

The columns say who computes together and what happens to weights; nothing else in the
testbed may ask for a scheme by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Turn = Literal["one", "all"]
MicroBatches = Literal["one", "k"]
UeWeights = Literal["kept", "handed"]


@dataclass(frozen=True)
class Scheme:
    """One row.

    ``turn``: which UEs compute and transmit at the same time. The BS model makes one
    optimiser step per turn, on the loss normalised by the samples of that turn.
    ``micro_batches``: whether a batch flows as the plan's k micro-batches or as one.
    ``ue_weights``: what happens to the UE half: ``kept`` by each UE, or ``handed`` over
    the air to the UE whose turn is next.
    """

    name: str
    turn: Turn
    micro_batches: MicroBatches
    ue_weights: UeWeights
    title: str

    @property
    def pipelined(self) -> bool:
        """Whether the plan may choose more than one micro-batch."""
        return self.micro_batches == "k"


_ROWS = (
    Scheme(
        "sl", turn="one", micro_batches="one", ue_weights="handed", title="SL: split learning, one UE after another"
    ),
    Scheme("psl", turn="all", micro_batches="one", ue_weights="kept", title="PSL: parallel split learning"),
    Scheme(
        "c2p2sl", turn="all", micro_batches="k", ue_weights="kept", title="C²P²SL: pipelined parallel split learning"
    ),
)

SCHEMES: dict[str, Scheme] = {row.name: row for row in _ROWS}


def turns(scheme: Scheme, ues: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The UEs of each turn of a round, in order."""
    if scheme.turn == "one":
        return tuple((ue,) for ue in ues)
    return (tuple(ues),)
