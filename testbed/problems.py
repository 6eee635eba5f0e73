"""What is wrong in a topology across its sections, as (path, message, hint)."""

from __future__ import annotations

import math

from agents.own import OwnError, is_own
from agents.schemes import Scheme
from agents.schemes.own import scheme_named
from testbed import data, dynamics, faults, profile
from testbed.replanning import nothing_to_decide
from testbed.topology import Radio, SchemeChoice, Topology, Ue

Problem = tuple[str, str, str]

_RESERVED = ("bs", "shaper", "all", "air")


def problems(topology: Topology) -> list[Problem]:
    """What is wrong across sections, the first kind of problem only; empty when all is well."""
    for check in (
        _radio_problems,
        _ue_problems,
        _model_problems,
        _scheme_problems,
        _data_problems,
        _mobility_problems,
        _dynamics_problems,
        _replan_problems,
        _fault_problems,
    ):
        if found := check(topology):
            return found
    return []


def _dynamics_problems(t: Topology) -> list[Problem]:
    return dynamics.problems(t.dynamics, [ue.name for ue in t.ues], t.radio.access == "dedicated")


def _fault_problems(t: Topology) -> list[Problem]:
    return faults.problems(t.faults, [ue.name for ue in t.ues], t.rounds)


def _replan_problems(t: Topology) -> list[Problem]:
    entries = [
        (i, choice, nothing_to_decide(choice, scheme_named(choice.scheme))) for i, choice in enumerate(t.schemes)
    ]
    if t.replan is None:
        message, hint = "is over a replan section, and there is none", "add replan: {every: 1}, or leave it out"
        return [(f"schemes.{i}.replan", message, hint) for i, choice, _ in entries if choice.replan is not None]
    if t.dynamics.still:
        return [("replan", "every round is alike, so no plan would change", "add dynamics, or leave replan out")]
    hint = "leave it out, or use a planner that searches, or fix neither cut nor micro_batches"
    asked = [(f"schemes.{i}.replan", why, hint) for i, choice, why in entries if choice.replan and why]
    if asked or any(why is None and choice.replan is not False for _, choice, why in entries):
        return asked
    message = "; ".join(dict.fromkeys(why or f"{choice.key} has replan: false" for _, choice, why in entries))
    return [("replan", message, "add a scheme that can, such as {scheme: c2p2sl, planner: makespan}, or leave it out")]


def _mobility_problems(t: Topology) -> list[Problem]:
    still = {ue.name for ue in t.ues if ue.snr_db is not None}
    message, hint = "has an SNR and no distance, so it cannot move", "give distance_m instead of snr_db, or use a trace"
    return [(f"dynamics.mobility.{ue}", f"{ue} {message}", hint) for ue in t.dynamics.mobility if ue in still]


def _radio_problems(t: Topology) -> list[Problem]:
    found: list[Problem] = []
    if t.radio.jitter_ms > t.radio.delay_ms:
        message = f"{t.radio.jitter_ms:g} is more than the delay of {t.radio.delay_ms:g}, and no packet arrives early"
        found.append(("radio.jitter_ms", message, "raise radio.delay_ms, or lower it"))
    if t.radio.network is not None and t.radio.access != "dedicated":
        message = f"is not used with radio.access: {t.radio.access}"
        found.append(("radio.network", message, "set radio.access: dedicated, or remove it"))
    if t.radio.power_budget_w is not None and t.radio.access != "fdma":
        message = f"is not used with radio.access: {t.radio.access}"
        found.append(("radio.power_budget_w", message, "set radio.access: fdma, or remove it"))
    return [*found, *_subcarrier_problems(t)]


def _subcarrier_problems(t: Topology) -> list[Problem]:
    have = t.radio.subcarriers
    if have is None:
        return []
    need, scheme = max(((_on_air(choice, len(t.ues)), choice.key) for choice in t.schemes), default=(1, ""))
    if have >= need:
        return []
    message = f"{have} subcarriers of {t.radio.subcarrier_mhz:g} MHz, but {scheme} has {need} UEs on the air together"
    most = math.floor(t.radio.bandwidth_mhz / need * 1000) / 1000
    hint = f"use subcarrier_mhz: {most:g} or less" if most > 0 else "raise bandwidth_mhz"
    return [("radio.subcarrier_mhz", message, hint)]


def _on_air(choice: SchemeChoice, ues: int) -> int:
    """Most UEs that are on the air together under a scheme, among ``ues``; 1 for a scheme that is not known."""
    try:
        return scheme_named(choice.scheme).group_size(ues, choice.cluster_size)
    except OwnError:
        return 1


def _ue_problems(t: Topology) -> list[Problem]:
    found: list[Problem] = []
    if not t.ues:
        return [("ues", "there must be at least one UE", "add - {name: ue1, distance_m: 120}")]
    seen: dict[str, int] = {}
    for i, ue in enumerate(t.ues):
        if ue.name in seen:
            found.append(
                (f"ues.{i}.name", f"{ue.name} is already the name of ues.{seen[ue.name]}", "give each UE its own name")
            )
        if ue.name in _RESERVED:
            found.append((f"ues.{i}.name", f"{ue.name} is a reserved name", "use ue1, ue2, …"))
        seen.setdefault(ue.name, i)
        found += _link_problems(t.radio, ue, f"ues.{i}")
    return found


def _link_problems(radio: Radio, ue: Ue, path: str) -> list[Problem]:
    rates = ("uplink_mbps", "downlink_mbps")
    if radio.access != "dedicated":
        message = f"is not used with radio.access: {radio.access}"
        hint = "set radio.access: dedicated, or remove it"
        return [(f"{path}.{key}", message, hint) for key in rates if getattr(ue, key) is not None]
    message = "is needed with radio.access: dedicated"
    found = [
        (f"{path}.{key}", message, f"give {key}: 10, or radio.network, or use access: tdma")
        for key in rates
        if getattr(ue, key) is None and radio.network is None
    ]
    if ue.snr_db is not None:
        found.append((f"{path}.snr_db", "is not used with radio.access: dedicated", "remove it, or use access: fdma"))
    return found


def _scheme_problems(t: Topology) -> list[Problem]:
    found: list[Problem] = []
    seen: dict[str, int] = {}
    for i, choice in enumerate(t.schemes):
        try:
            scheme = scheme_named(choice.scheme)
        except OwnError as error:
            found.append((f"schemes.{i}", str(error), error.hint))
            continue
        if choice.key in seen:
            found.append(
                (f"schemes.{i}", f"{choice.key} is already schemes.{seen[choice.key]}", "give it a label of its own")
            )
        seen.setdefault(choice.key, i)
        found += [*_cut_problems(t, i, choice, scheme), *_misplaced(i, choice, scheme), *_worker_problems(t, i, scheme)]
        if choice.micro_batches is not None and choice.micro_batches > 1 and not scheme.pipelined:
            found.append((f"schemes.{i}.micro_batches", f"{choice.scheme} does not pipeline", "use 1, or leave it out"))
    return found


def _model_problems(t: Topology) -> list[Problem]:
    found = data.problems(t.data, len(t.ues)) if is_own(t.model.name) else []  # a model is built for the samples
    if found:
        return found
    try:
        units = t.built_units
    except OwnError as error:
        return [("model.name", str(error), error.hint)]
    return profile.problems(t.model.profile, units, t.model.name) if t.model.profile != "measured" else []


def _cut_problems(t: Topology, i: int, choice: SchemeChoice, scheme: Scheme) -> list[Problem]:
    """Cuts that are outside of the model or of the scheme."""
    units = len(t.units)
    allowed, names = scheme.allowed_cuts(units), f"units are {', '.join(t.units)}"
    head_cut = scheme.head_cut(units, choice.head_cut)
    if choice.cut is not None and len(allowed) == 1:
        return [(f"schemes.{i}.cut", f"{choice.scheme} does not cut the model", "leave it out")]
    if choice.cut is not None and choice.cut not in allowed:
        span = f"{t.model.name} can be cut after unit 1 to {allowed[-1]}"
        return [(f"schemes.{i}.cut", f"{choice.cut} is outside the model: {span}", names)]
    if head_cut is not None and not (choice.cut or 1) < head_cut < units:
        message = f"{head_cut} leaves no units at the BS, or none after it"
        return [(f"schemes.{i}.head_cut", message, f"use {(choice.cut or 1) + 1} to {units - 1}; {names}")]
    return []


def _worker_problems(t: Topology, i: int, scheme: Scheme) -> list[Problem]:
    """Schemes whose one BS model several workers cannot share."""
    if t.base_station.workers == "one" or not scheme.one_model:
        return []
    message = f"per_ue needs a BS model for each UE, and {scheme.name} (schemes.{i}) has one for all"
    return [("base_station.workers", message, f"use workers: one, or leave {scheme.name} out")]


_WHY_NOT = {
    "phi": "does not aggregate gradients",
    "aggregate": "does not aggregate gradients",
    "cluster_size": "has no clusters",
    "local_epochs": "never synchronises",
    "sync_every": "never synchronises",
    "in_flight": "has no batches in flight",
    "head_cut": "cuts the model once",
}


_OF_PLANNERS = {"ao": ("lemma", "p3"), "pipar": ("n_rule",), "cpsl": ("reading", "gibbs", "saa")}


def _misplaced(i: int, choice: SchemeChoice, scheme: Scheme) -> list[Problem]:
    """Keys that the scheme or the planner has no use for."""
    found = [
        (f"schemes.{i}.{key}", f"{choice.scheme} {why}", "leave it out")
        for key, why in _WHY_NOT.items()
        if key not in scheme.keys and getattr(choice, key) != SchemeChoice.model_fields[key].default
    ]
    found += _privacy_problems(i, choice, scheme)
    return found + [
        (f"schemes.{i}.{key}", f"is for planner: {planner} only", f"add planner: {planner}, or leave it out")
        for planner, keys in _OF_PLANNERS.items()
        for key in keys
        if choice.planner != planner and getattr(choice, key) != SchemeChoice.model_fields[key].default
    ]


def _privacy_problems(i: int, choice: SchemeChoice, scheme: Scheme) -> list[Problem]:
    """Noise on what there is not."""
    if choice.privacy is None:
        return []
    if scheme.turns == "none":
        return [(f"schemes.{i}.privacy", f"{choice.scheme} has no UEs that could add noise", "leave it out")]
    if choice.privacy.method == "weights" and scheme.trains is None:
        message = f"{choice.scheme} never sends weights, so there are none to add noise to"
        return [(f"schemes.{i}.privacy.method", message, "use method: input, or leave privacy out")]
    return []


def _data_problems(t: Topology) -> list[Problem]:
    found: list[Problem] = []
    least = sum(max(1, ue.min_batch) for ue in t.ues)
    if t.training.batch < least:
        message = f"{t.training.batch} samples cannot give {len(t.ues)} UEs at least {least} together"
        found.append(("training.batch", message, f"use a batch of {least} or more"))
    if t.model.profile != "measured" and len(t.model.profile) < 2:
        found.append(("model.profile", "needs at least two units to cut between", "list every unit of the model"))
    return [*found, *data.problems(t.data, len(t.ues))]
