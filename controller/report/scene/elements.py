"""The elements that the picture is made of, as SVG text; how they look is for the picture's style to say."""

from __future__ import annotations

from xml.sax.saxutils import escape

Point = tuple[float, float]


def text(x: float, y: float, words: str, look: str) -> str:
    """Words that begin at a point, or end or have their middle there if the look says so."""
    return f'<text class="{look.strip()}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def ray(at: Point, degrees: float, words: str, look: str) -> str:
    """Small words turned clockwise by so many degrees."""
    x, y = at
    turn = f"rotate({degrees:.1f} {x:.1f} {y:.1f})"
    return f'<text class="{look.strip()}" x="{x:.1f}" y="{y:.1f}" dy="3" transform="{turn}">{escape(words)}</text>'


def line(look: str, start: Point, end: Point, width: float | None = None) -> str:
    """A straight line."""
    (x1, y1), (x2, y2) = start, end
    wide = "" if width is None else f' stroke-width="{width:.2f}"'
    return f'<line class="{look}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"{wide}/>'


def circle(look: str, middle: Point, radius: float) -> str:
    """A circle."""
    x, y = middle
    return f'<circle class="{look}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'


def square(look: str, middle: Point, side: float) -> str:
    """A square."""
    x, y = middle
    return f'<rect class="{look}" x="{x - side / 2:.1f}" y="{y - side / 2:.1f}" width="{side:g}" height="{side:g}"/>'


def short(name: str, most: int = 16) -> str:
    """A name that has room."""
    return name if len(name) <= most else f"{name[: most - 1]}…"
