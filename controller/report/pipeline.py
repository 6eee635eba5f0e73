"""What every drawing of a predicted round shares: its rows, its colours and its headline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents.schedule.task import BROADCAST_PLACE, BS, at_the_bs, owner
from agents.schedule.vocabulary import replica
from controller.planners.planning import Planned
from controller.predict.simulate import Band, Event

BANDS: tuple[Band, ...] = ("UE", "up", "down", "BS")
SUFFIX: dict[Band, str] = {"UE": "", "up": " up", "down": " down", "BS": ""}

# Paul Tol's "muted" scheme, told apart by colour-blind eyes; micro-batch 9 looks like 1, but is far from it in time.
PALETTE = ("#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677", "#44AA99", "#882255", "#AA4499")
WEIGHTS_COLOUR = "#999999"
DARK = frozenset({"#332288", "#117733", "#882255", "#AA4499", "#CC6677"})


def colour(event: Event) -> str:
    """The colour of the event's micro-batch; grey for weights."""
    return WEIGHTS_COLOUR if event.weights else PALETTE[event.key.micro_batch % len(PALETTE)]


def rows(timed: Iterable[Event], ues: Sequence[str]) -> dict[tuple[Band, str], list[Event]]:
    """The events of each row from top to bottom: computation, up and down per UE, then the BS, or each of its workers.

    All get a broadcast.
    """
    events = tuple(timed)
    computing = {event.place for event in events if at_the_bs(event.place)}
    at_bs = [place for place in (BS, *map(replica, ues)) if place in computing] or [BS]
    found: dict[tuple[Band, str], list[Event]] = {
        (band, name): [] for band in BANDS for name in (ues if band != "BS" else at_bs)
    }
    for event in events:
        whose = event.place if event.band == "BS" else owner(event.place)
        for ue in ues if event.place == BROADCAST_PLACE else (whose,):
            found[event.band, ue].append(event)
    return found


def row_name(band: Band, whose: str) -> str:
    """What a row is called: ue1, ue1 up, ue1 down, BS, BS/ue1."""
    return whose.replace(BS, "BS", 1) if band == "BS" else f"{whose}{SUFFIX[band]}"


def headline(planned: Planned) -> str:
    """Scheme, planner, cut, k, round and bubble rate in one line."""
    plan, predicted = planned.plan, planned.predicted
    return (
        f"{planned.label} by {plan.planner}: cut {plan.cut}, k {plan.micro_batches}, "
        f"round {predicted.round_s:.4g} s, bubble rate {predicted.bubble_rate:.3f}"
    )
