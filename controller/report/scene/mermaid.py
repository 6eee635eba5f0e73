"""A scene as a Mermaid flowchart: text that documents and forges draw."""

from __future__ import annotations

from controller.report.scene.scene import Place, Scene, gflop, mbps, workers


def mermaid(scene: Scene) -> str:
    """The flowchart. Boxes have ids of their own, as a UE may be called ``end``."""
    bs = scene.base_station
    lines = ["flowchart LR", f'  controller["controller<br/>{scene.model}"]', f'  subgraph agents["{bs.host}"]']
    lines.append(f'    bs["<b>BS</b><br/>{_bs(scene)}"]')
    lines.append(f'    subgraph air["air: {scene.air}"]')
    lines += [f'      u{i}["{_ue(ue)}"]' for i, ue in enumerate(scene.ues, 1)]
    lines.append("    end")
    lines += [f'    u{i} ---|"{_rates(ue)}"| bs' for i, ue in enumerate(scene.ues, 1)]
    lines += ["  end", '  controller -.-|"mgmt, unshaped"| agents']
    return "\n".join(lines) + "\n"


def _bs(scene: Scene) -> str:
    bs = scene.base_station
    memory = f"<br/>{bs.memory_mb:.4g} MB" if bs.memory_mb is not None else ""
    return f"{gflop(bs.flop_per_s)}{workers(bs)}{memory}"


def _ue(ue: Place) -> str:
    said = [f"<b>{ue.name}</b>", ue.where, gflop(ue.flop_per_s)]
    said += [f"{ue.memory_mb:.4g} MB"] if ue.memory_mb is not None else []
    return "<br/>".join(part for part in said if part)


def _rates(ue: Place) -> str:
    share = f", {ue.share:.1%} of the air" if ue.share < 1 else ""
    return f"up {mbps(ue.shared_uplink_bps)}, down {mbps(ue.shared_downlink_bps)}<br/>Mbit/s{share}"
