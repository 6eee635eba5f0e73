"""The map in the picture of a scene: rings of distance, UEs on them, and their links to the base station.

UEs lie in the topology's order, clockwise from the top: a topology gives distances, no bearings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from controller.report.scene.elements import Point, circle, line, ray, short, square, text
from controller.report.scene.scene import Place, Scene, gflop, mbps

CENTRE_X = 326.0
NEAREST = 40.0
MOST_RAYS = 140
"""Beyond so many UEs only some have their names in the map; the list has all."""
LINE = 13.0


@dataclass(frozen=True)
class Layout:
    """Where the map's middle is, how far from it the farthest UE, and how large dots and links are."""

    height: float
    centre_y: float
    farthest: float
    dot: float
    link: float


FEW = Layout(height=470.0, centre_y=245.0, farthest=145.0, dot=6.0, link=2.5)
MANY = Layout(height=600.0, centre_y=310.0, farthest=210.0, dot=3.5, link=1.0)
MOST_FEW = 10


@dataclass(frozen=True)
class Spot:
    """Where a UE is drawn: its angle (rad, clockwise from above), its dot, and the end of its leader."""

    ue: Place
    angle: float
    dot: Point
    label: Point


def layout(scene: Scene) -> Layout:
    """With room for words beside each UE where there are few, else for names along rays."""
    return FEW if len(scene.ues) <= MOST_FEW else MANY


def draw_map(scene: Scene) -> Iterator[str]:
    """All marks of the map, from the farthest back to the foremost."""
    drawn, n = layout(scene), len(scene.ues)
    middle = CENTRE_X, drawn.centre_y
    farthest_m = max((ue.distance_m for ue in scene.ues if ue.distance_m is not None), default=None)
    rings = [] if farthest_m is None else [(m, _radius(m, farthest_m, drawn)) for m in _round_distances(farthest_m)]
    spots = [_spot(ue, math.pi * (2 * i + 1) / n, farthest_m, drawn) for i, ue in enumerate(scene.ues)]
    yield from (circle("ring", middle, radius) for _, radius in rings)
    fastest_bps = max(ue.shared_uplink_bps for ue in scene.ues)
    for spot in spots:
        yield line("link", middle, spot.dot, drawn.link * math.sqrt(spot.ue.shared_uplink_bps / fastest_bps))
    for spot in spots[:: math.ceil(n / MOST_RAYS)]:
        yield line("leader", spot.dot, spot.label)
        yield from _beside(spot) if drawn is FEW else (_along(spot),)
    yield from (circle("ue", spot.dot, drawn.dot) for spot in spots)
    for m, radius in rings:
        yield text(CENTRE_X, drawn.centre_y - radius + 3, f"{m:g} m", "soft small middle halo")
    yield square("bs", middle, 22)


def _round_distances(farthest_m: float) -> list[float]:
    """Two to five round distances (m) up to the farthest."""
    step = 10.0 ** math.floor(math.log10(farthest_m))
    step *= next(part for part in (0.2, 0.5, 1.0, 2.0) if farthest_m / (step * part) < 6)
    return [i * step for i in range(1, math.floor(farthest_m / step * (1 + 1e-9)) + 1)]


def _radius(distance_m: float, farthest_m: float, drawn: Layout) -> float:
    return NEAREST + (drawn.farthest - NEAREST) * distance_m / farthest_m


def _spot(ue: Place, angle: float, farthest_m: float | None, drawn: Layout) -> Spot:
    """A UE without a distance lies where the farthest does."""
    radius = drawn.farthest
    if ue.distance_m is not None and farthest_m is not None:
        radius = _radius(ue.distance_m, farthest_m, drawn)
    return Spot(ue, angle, _at(angle, radius, drawn), _at(angle, drawn.farthest + 18, drawn))


def _at(angle: float, radius: float, drawn: Layout) -> Point:
    return CENTRE_X + radius * math.sin(angle), drawn.centre_y - radius * math.cos(angle)


def _beside(spot: Spot) -> Iterator[str]:
    """Name, whereabouts, speed and rates at the end of the leader; below it where that points straight down."""
    ue, (x, y), side = spot.ue, spot.label, round(math.sin(spot.angle), 6)
    rates = f"up {mbps(ue.shared_uplink_bps)}, down {mbps(ue.shared_downlink_bps)} Mbit/s"
    said = [short(ue.name), *(words for words in (ue.where, gflop(ue.flop_per_s), rates) if words)]
    anchor = "middle" if not side else "end" if side < 0 else ""
    top = y - LINE * len(said) / 2 + 9 if side else y + 12
    if side:
        x += math.copysign(8, side)
    for i, words in enumerate(said):
        yield text(x, top + LINE * i, words, f"{'soft' if i else 'name'} {anchor}")


def _along(spot: Spot) -> str:
    """The name along the leader, from left to right on either side."""
    left = math.sin(spot.angle) < 0
    degrees = math.degrees(spot.angle) + (90 if left else -90)
    return ray(spot.label, degrees, short(spot.ue.name), f"small {'end' if left else ''}")
