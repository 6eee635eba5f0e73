"""A scene as a table for the terminal."""

from __future__ import annotations

from rich.table import Table

from controller.report.scene.scene import Scene, gflop, mbps, workers


def scene_table(scene: Scene) -> Table:
    """The base station, then a row for each UE. Rates are Mbit/s, alone on the air and with an equal share of it."""
    bs = scene.base_station
    title = f"{scene.name}: {scene.model}, on {bs.host}; air: {scene.air}"
    found = Table(title=title, title_justify="left")
    headings: tuple[str, ...] = ("", "where", "computes", "memory [MB]", "alone up / down\n[Mbit/s]")
    headings += ("share of\nthe air", "shared up / down\n[Mbit/s]") if scene.shared else ()
    for heading in headings:
        found.add_column(heading, justify="left" if heading in ("", "where") else "right", no_wrap=True)
    found.add_row("BS", "-", f"{gflop(bs.flop_per_s)}{workers(bs)}", _memory(bs.memory_mb))
    for ue in scene.ues:
        cells = [ue.name, ue.where or "-", gflop(ue.flop_per_s), _memory(ue.memory_mb)]
        cells.append(_pair(ue.uplink_bps, ue.downlink_bps))
        if scene.shared:
            cells += [f"{ue.share:.1%}", _pair(ue.shared_uplink_bps, ue.shared_downlink_bps)]
        found.add_row(*cells)
    return found


def _pair(up_bps: float, down_bps: float) -> str:
    return f"{mbps(up_bps)} / {mbps(down_bps)}"


def _memory(memory_mb: float | None) -> str:
    return "-" if memory_mb is None else f"{memory_mb:.4g}"
