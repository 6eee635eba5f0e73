"""From a file to a topology, or to one line that says where it is wrong and what to do."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from agents import own
from testbed.data import PARTITIONS, depends_on_plan
from testbed.dynamics import read_trace
from testbed.errors import InputError
from testbed.faults import DrawnFaults
from testbed.problems import problems
from testbed.strict_yaml import parse_yaml
from testbed.topology import Topology, UeGroup

M = TypeVar("M", bound=BaseModel)

NO_SAMPLES: Mapping[str, Mapping[str, bytes]] = {}

_BRANCHES: Mapping[str, type[BaseModel]] = {**PARTITIONS, DrawnFaults.__name__: DrawnFaults}
"""What a section is told apart by in pydantic's paths, where it may be one of several."""
_KEY_HINTS = {
    "checkpoint_every": "auto, or a whole number of rounds; 0 for never",
    "time_dilation": "auto, or wall seconds per emulated second, 1 or more",
    "size": "pixels a side, 8 to 512; leave it out to keep the dataset's own",
    "channels": "1 for grey or 3 for colours; leave it out to keep the dataset's own",
    "covers": "the units of the model that this row stands for; leave it out for the unit of its own name",
    "alpha": "a number above 0: 0.1 makes shards very unlike, 100 nearly alike",
    "download": "true allows to fetch the dataset into path",
    "partition": "like partition: {kind: iid}, or proportional, dirichlet, classes",
    "per_ue": "of how many classes each UE has samples",
    "network": "4g, 4g+ or wifi; leave it out to give each UE uplink_mbps and downlink_mbps",
    "for_s": "emulated seconds; leave it out for the rest of the scheme",
    "rate": "the share of rounds that get a fault, above 0, 1 at the most",
    "faults": "a list of {round, ue, task, kind, for_s}, or {rate: 0.05} for some that the seed draws",
    "profile": "measured, or a list of {unit, covers, forward_flops, output_bytes}",
}
_UNIT_HINTS = {
    "_m": "metres", "_km": "metres", "_ghz": "GHz", "_mhz": "MHz", "_ms": "milliseconds", "_dbm": "dBm",
    "_db": "dB", "_mbps": "Mbit/s", "_gflop": "GFLOP",
}  # fmt: skip


def load(path: Path) -> Topology:
    """The validated topology in a YAML file. InputError says what is wrong in one line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(str(path), error.strerror or str(error), "give the path of a topology file") from error
    except UnicodeDecodeError as error:
        raise InputError(str(path), "is not text in UTF-8", "save it as UTF-8") from error
    return parse(text, path.name, path.parent)


def parse(text: str, source: str, folder: Path = Path()) -> Topology:
    """The validated topology in YAML text; ``source`` names it in errors that have no better place.

    A trace is read from ``folder``.
    """
    data = parse_yaml(text, source)
    if not isinstance(data, dict):
        raise InputError(source, "must be a mapping with at least name and ues", "start with: name: quickstart")
    own.set_folder(folder)
    topology = _traced(nested(Topology, _drawn(data), ""), folder)
    for where, message, hint in problems(topology):
        raise InputError(where, message, hint)
    return topology


def with_faults(topology: Topology, drawn: Mapping[str, Any], count: int, seed: int | None = None) -> Topology:
    """The topology with faults that are ``drawn`` so, over its own; so many where neither says. InputError.

    With another ``seed`` faults, samples and weights are all drawn from that.
    """
    own = topology.faults
    if drawn or not own:
        before = own.model_dump(exclude_none=True) if isinstance(own, DrawnFaults) else {}
        if {"rate", "count"} & drawn.keys():
            before = {key: value for key, value in before.items() if key not in ("rate", "count")}
        asked = {**before, **drawn}
        own = nested(DrawnFaults, asked if {"rate", "count"} & asked.keys() else {**asked, "count": count}, "faults")
    found = topology.model_copy(update={"faults": own, "seed": topology.seed if seed is None else seed})
    for where, message, hint in problems(found):
        raise InputError(where, message, hint)
    return found


def _drawn(data: dict[str, Any]) -> dict[str, Any]:
    """The data with ``ues: {count: …}`` replaced by the UEs that the seed draws."""
    if not isinstance(data.get("ues"), dict):
        return data
    group, seed = nested(UeGroup, data["ues"], "ues"), data.get("seed", Topology.model_fields["seed"].default)
    valid = isinstance(seed, int) and seed >= 0  # else Topology says so, whatever is drawn here
    return {**data, "ues": group.draw(seed if valid else 0)}


def _traced(topology: Topology, folder: Path) -> Topology:
    """The topology with the points of its trace, unless they are in it already."""
    dynamics = topology.dynamics
    if dynamics.trace is None or dynamics.trace_points:
        return topology
    points = tuple(read_trace(folder / dynamics.trace, dynamics.trace))
    return topology.model_copy(update={"dynamics": dynamics.model_copy(update={"trace_points": points})})


def nested(model: type[M], data: Any, prefix: str) -> M:
    """``data`` as a ``model``; the first error becomes an InputError whose path starts with ``prefix``."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = _most_telling(error.errors(include_url=False))
        location = [part for part in first["loc"] if not _is_branch(part)]
        if first["type"].startswith("union_tag"):
            location.append("kind")
        path = ".".join([*([prefix] if prefix else []), *(_printable(part) for part in location)])
        raise InputError(path or "topology", _message(first), _hint(first, model)) from error


def digest(topology: Topology, samples: Mapping[str, Mapping[str, bytes]] = NO_SAMPLES) -> str:
    """A short name of what a topology deploys, put on containers to know them again.

    Dynamics, re-planning, faults and checkpoints are not in it, nor schemes and training, unless those decide on the
    shards: all of them meet agents that are already up. ``samples``, the files of each agent, are in it where plans
    decide on them.
    """
    later = {"dynamics", "replan", "faults", "checkpoint_every"}
    later |= set() if depends_on_plan(topology.data) else {"schemes", "training"}
    text = json.dumps(topology.model_dump(mode="json", exclude=later), sort_keys=True)
    found = hashlib.sha256(text.encode())
    shards = samples.values() if depends_on_plan(topology.data) else ()
    for files in (own_files(topology), *shards):
        for _, content in sorted(files.items()):
            found.update(content)
    return found.hexdigest()[:12]


def own_files(topology: Topology) -> dict[str, bytes]:
    """The files of the user's own that agents need: those of its schemes and its model."""
    names = {topology.model.name, *(choice.scheme for choice in topology.schemes)}
    return {own.file_of(name): own.path_of(name).read_bytes() for name in sorted(names) if own.is_own(name)}


def _most_telling(errors: Iterable[Any]) -> Any:
    """Unknown keys first (a misspelt key is the cause of a missing one), then the deepest.

    Of a choice between a word and a number, the branch that the user tried.
    """

    def rank(error: Any) -> tuple[bool, int, bool]:
        word = error["type"] == "literal_error"
        return (error["type"] != "extra_forbidden", -len(error["loc"]), word != isinstance(error["input"], str))

    return min(errors, key=rank)


def _is_branch(part: Any) -> bool:
    """Whether pydantic put this in the path for a branch of a union, which the user did not write."""
    return isinstance(part, str) and (
        part.startswith(("literal[", "function-", "constrained-", "tuple[")) or part in ("float", "Ue", *_BRANCHES)
    )


def _message(error: Any) -> str:
    value, kind, context = error.get("input"), error["type"], error.get("ctx", {})
    shown = _shown(value)
    match kind:
        case "extra_forbidden":
            return "unknown key"
        case "missing" | "union_tag_not_found":
            return "is missing"
        case "greater_than":
            return f"must be greater than {context['gt']:g}, not {shown}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}, not {shown}"
        case "less_than":
            return f"must be less than {context['lt']:g}, not {shown}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}, not {shown}"
        case "union_tag_invalid":
            return f"must be {context['expected_tags']}, not {_shown(context['tag'])}"
        case "bool_type" | "bool_parsing":
            return f"must be true or false, not {shown}"
        case "literal_error":
            return f"must be {context['expected']}, not {shown}"
        case "float_type" | "float_parsing":
            return f"must be a number, not {shown}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"must be a whole number, not {shown}"
        case "finite_number":
            return f"must be finite, not {shown}"
        case "too_short":
            return f"must have {context['min_length']} or more, not {shown}"
        case "string_pattern_mismatch":
            return f"must be lower-case letters, digits and dashes, starting with a letter, not {shown}"
        case "value_error":
            return str(context["error"])
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a section with keys, not {shown}"
        case "tuple_type" | "list_type":
            return f"must be a list, not {shown}"
        case _:
            return f"{error['msg'][0].lower()}{error['msg'][1:]}, not {shown}"


def _printable(key: Any) -> str:
    """A key as the file may have it, which is not more than a line in an error."""
    text = str(key)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _shown(value: Any) -> str:
    if isinstance(value, float) and (math.isnan(value) or math.isinf(value)):
        return str(value)
    text = json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, str | dict | list) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _hint(error: Any, model: type[BaseModel]) -> str:
    key = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        known = _fields_at(model, error["loc"][:-1])
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        return f"did you mean {close[0]}?" if close else f"known keys are {', '.join(known)}"
    if error["type"] == "missing":
        return f"add {key}: …"
    if error["type"] == "union_tag_not_found":
        return f"add kind: {' | '.join(PARTITIONS)}"
    for part in (str(part) for part in reversed(error["loc"])):
        if part in _KEY_HINTS:
            return _KEY_HINTS[part]
        for suffix, unit in _UNIT_HINTS.items():
            if part.endswith(suffix):
                return f"{part} is a plain number in {unit}"
    return "see docs/reference.md for every key"


def _fields_at(model: Any, location: tuple[Any, ...]) -> list[str]:
    """The keys of the section at this location of the model."""
    for part in location:
        if part in _BRANCHES:
            model = _BRANCHES[part]
        if not isinstance(part, str) or _is_branch(part) or not _is_model(model):
            continue
        if part in model.model_fields:
            model = _section_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _section_in(annotation: Any) -> Any:
    if _is_model(annotation):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _section_in(arg))), None)


def _is_model(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseModel)
