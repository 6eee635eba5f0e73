"""The state of a trial → what the terminal shows of it: lines of text, as many and as wide as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from controller.report.live.columns import Column, laid_out
from controller.report.live.left import left_s
from controller.report.live.sketches import bar, sparkline
from controller.report.live.state import SchemeSoFar, Seen
from controller.report.live.ues import idle_lines, named
from controller.trial.duration import in_words

BAR = 30
FEWEST_SCHEMES, FEWEST_UES = 3, 3
"""Lines that schemes and UEs get, however low the terminal is."""
LONG_S = 5.0
"""A round that takes so long on the wall says for how long it has been going on."""


class Line(NamedTuple):
    """A line of text, and the style of all of it."""

    text: str
    style: str = ""


def view(seen: Seen, now: float, width: int, height: int) -> list[Line]:
    """All that is shown ``now`` (wall seconds since 1970). Lines may be wider than ``width``: the end is left out."""
    fixed = [*_head(seen, now, width), *_trouble(seen, width)]
    if not seen.schemes:
        return fixed
    current = list(_current(seen, now, width))
    room = height - len(fixed) - len(current) - 2  # headings of the schemes and of the UEs
    few = FEWEST_UES if seen.last is not None else 0
    schemes = _schemes(seen, width, max(FEWEST_SCHEMES, room - few))
    ues = _ues(seen, width, max(FEWEST_UES, room - len(schemes)))
    blocks = [block for block in (fixed, schemes, current, ues) if block]
    gap = [Line("")] if sum(map(len, blocks)) + len(blocks) - 1 <= height else []
    return [*blocks[0], *(line for block in blocks[1:] for line in (*gap, *block))][:height]


def _head(seen: Seen, now: float, width: int) -> Iterator[Line]:
    if seen.time_dilation is None:
        yield Line(seen.name, "bold")
    else:
        many = "s" if len(seen.ues) != 1 else ""
        yield Line(f"{seen.name}: {len(seen.ues)} UE{many}, D = {seen.time_dilation:g}", "bold")
        yield Line(_progress(seen, now, width))
    if seen.stage is not None:
        yield Line(f"{seen.stage} … {in_words(max(0.0, now - seen.stage_at))}")


def _progress(seen: Seen, now: float, width: int) -> str:
    """How much is done, in rounds as long as they were estimated to be, and how long the rest will take."""
    of = sum(one.coming.wall_s for one in seen.schemes.values())
    done = sum(one.coming.wall_s * _share(one) for one in seen.schemes.values())
    share = done / of if of > 0 else 0.0
    left = left_s(seen, now)
    said = f" {share:4.0%}"
    if seen.current is not None:
        said += f"  scheme {[*seen.schemes].index(seen.current) + 1} of {len(seen.schemes)}"
    if not seen.ended and left is not None:
        said += f", about {in_words(left)} left"
    return bar(share, min(BAR, max(0, width - len(said)))) + said


def _share(scheme: SchemeSoFar) -> float:
    """Of its rounds the share that ended; one that reached its target accuracy needs no more."""
    return 1.0 if scheme.over else len(scheme.rows) / scheme.coming.rounds


def _trouble(seen: Seen, width: int) -> Iterator[Line]:
    if seen.lost:
        yield Line(named("lost: ", seen.lost, width), "bold red")
    if seen.error is not None:
        yield Line(f"broke off: {seen.error}", "red")


def _schemes(seen: Seen, width: int, height: int) -> list[Line]:
    """One line per scheme, medians of its rounds; where there is no room for all, those about the current one."""
    schemes = list(seen.schemes.values())
    found = laid_out(
        [
            Column("scheme", [one.label for one in schemes], left=True),
            Column("rounds", [f"{len(one.rows)}/{one.coming.rounds}" for one in schemes]),
            Column("round [s]", [_of(one, "round_s") for one in schemes]),
            Column("predicted", [_of(one, "predicted_s") for one in schemes], 4),
            Column("error", [f"{one.summary.round_error:+z.1%}" if one.summary else "" for one in schemes], 1),
            Column("bubble rate", [_of(one, "bubble_rate") for one in schemes]),
            Column("predicted", [_of(one, "predicted_bubble_rate") for one in schemes], 5),
            Column("accuracy", [f"{one.accuracy:.1%}" if one.accuracy is not None else "" for one in schemes], 3),
            Column("believe it?", [_believed(one) for one in schemes], 2),
        ],
        width,
    )
    styles = ["bold" if one.label == seen.current else "" if one.rows else "dim" for one in schemes]
    lines = [Line(*line) for line in zip(found[1:], styles, strict=True)]
    heading = Line(found[0], "dim")
    return [heading, *_about(lines, [*seen.schemes].index(seen.current) if seen.current else 0, height)]


def _of(scheme: SchemeSoFar, what: str) -> str:
    """A number of the rounds so far: medians over those after the first."""
    if scheme.summary is None:
        return ""
    numbers = {
        "round_s": f"{scheme.summary.round_s.median:.4f}",
        "predicted_s": f"{scheme.summary.predicted_s:.4f}",
        "bubble_rate": f"{scheme.summary.bubble_rate:.3f}",
        "predicted_bubble_rate": f"{scheme.summary.predicted_bubble_rate:.3f}",
    }
    return numbers[what]


def _believed(scheme: SchemeSoFar) -> str:
    return "" if scheme.believed is None else "yes" if scheme.believed else "no"


def _about(lines: Sequence[Line], index: int, height: int) -> list[Line]:
    """As many of the lines as there is room for, the one at the index among them, and how many there are besides."""
    if len(lines) <= height:
        return list(lines)
    room = height - 1
    begin = min(max(0, index - room // 2), len(lines) - room)
    return [*lines[begin : begin + room], Line(f"and {len(lines) - room} more schemes", "dim")]


def _current(seen: Seen, now: float, width: int) -> Iterator[Line]:
    """The round under way, and the last one beside its own prediction."""
    scheme = seen.scheme
    if scheme is None or scheme.plan is None:
        return
    which = f"plan {scheme.plans}: " if scheme.plans > 1 else ""
    plan = f"{which}cut {scheme.plan.cut}, k {scheme.plan.micro_batches}"
    number = f", round {seen.round.number} of {scheme.coming.rounds}" if seen.round is not None else ""
    yield Line(f"{scheme.label}{number}: {plan}{_taken(seen, now)}", "bold")
    if not scheme.rows or seen.last is None:
        return
    yield from map(Line, _last(scheme, width))


def _last(scheme: SchemeSoFar, width: int) -> list[str]:
    """The last round beside what was predicted of it, and the rounds before as a row of columns."""
    row = scheme.rows[-1]
    predicted_s, bubble = row.predicted_s or 0.0, row.predicted_bubble_rate or 0.0
    columns = [
        Column("", [f"round {row.round}", "bubble rate"], left=True),
        Column("", [f"{row.round_s:.4f} s", f"{row.bubble_rate:.3f}"], left=True),
        Column("", [f"predicted {predicted_s:.4f} s", f"predicted {bubble:.3f}"], left=True),
        Column(
            "", [f"{row.round_s / predicted_s - 1.0:+z.1%}" if predicted_s else "", f"{row.bubble_rate - bubble:+z.3f}"]
        ),
    ]
    _, *said = laid_out(columns, width)
    series = [one.round_s for one in scheme.rows], [one.bubble_rate for one in scheme.rows]
    room = min(BAR, width - max(map(len, said)) - 2)
    return [f"{text}  {sparkline(values, room)}" for text, values in zip(said, series, strict=True)]


def _taken(seen: Seen, now: float) -> str:
    """For how long a long round has been going on, on the wall."""
    if seen.round is None or seen.time_dilation is None:
        return ""
    takes_s = seen.round.predicted_s * seen.time_dilation
    return f"; {in_words(max(0.0, now - seen.round.at))} of {in_words(takes_s)}" if takes_s >= LONG_S else ""


def _ues(seen: Seen, width: int, height: int) -> list[Line]:
    if seen.last is None:
        return []
    heading = Line(f"UEs idle in round {seen.last.row.round}", "dim")
    return [heading, *(Line(line) for line in idle_lines(seen.last.idle, width, height))]
