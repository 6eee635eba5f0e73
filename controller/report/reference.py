"""The reference in ``docs/``, written from the code: ``python -m controller.report.reference``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from agents.exposition import Families, full_name
from agents.meter import Metrics
from agents.schemes import SCHEMES
from controller.judge.results import Results
from controller.trial.exporter import ControllerMetrics
from testbed.topology import Topology, UeGroup

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main() -> None:
    """Writes every generated file."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """File name → text."""
    return {
        "reference.md": "\n".join(_reference()) + "\n",
        "results.schema.json": json.dumps(Results.model_json_schema(mode="serialization"), indent=1) + "\n",
        "topology.schema.json": json.dumps(Topology.model_json_schema(), indent=1) + "\n",
    }


def _reference() -> Iterator[str]:
    yield "# Reference\n\nGenerated from the code by `python -m controller.report.reference`; do not edit.\n"
    yield "## Topology file\n"
    for title, model in _sections("", Topology):
        yield from _section(title, model)
    yield "`ues` may also be one mapping instead of a list; what is an interval is drawn evenly with the seed:\n"
    yield from _section("ues (drawn)", UeGroup)
    yield "## Schemes\n\n| scheme | on the air together | micro-batches | cut | trains between averages | planners |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for scheme in SCHEMES.values():
        columns = (scheme.turns, scheme.micro_batches, scheme.cuts, scheme.trains or "-", ", ".join(scheme.planners))
        yield f"| `{scheme.name}` {scheme.title.split(': ')[1]} | {' | '.join(columns)} |"
    yield "\n## Metrics\n\nEvery agent answers `GET /metrics` on port 9100 of the mgmt network, and the controller of a"
    yield "trial on a port of its own on localhost. Of an agent's, `ue` is its name, so `bs` for the base station.\n"
    for title, metrics in (("agents", Metrics()), ("the controller", ControllerMetrics(""))):
        yield f"| metric of {title} | type | labels | meaning |\n| --- | --- | --- | --- |"
        yield from _metrics(metrics)
        yield ""


def _metrics(metrics: Families) -> Iterator[str]:
    for family in metrics.families:
        labels = ", ".join(family._labelnames)
        yield f"| `{full_name(family)}` | {family._type} | {labels} | {family._documentation} |"


def _section(title: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"### {title or 'top level'}\n\n{inspect.getdoc(model) or ''}\n"
    yield "| key | default | type |\n| --- | --- | --- |"
    for key, field in model.model_fields.items():
        yield f"| `{key}` | {_default(field.default)} | {_type(model.model_json_schema(), key)} |"
    yield ""


def _sections(prefix: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield prefix, model
    for key, field in model.model_fields.items():
        inner = _models_in(field.annotation)
        for one in inner:
            kind = f" ({one.__name__.lower()})" if len(inner) > 1 else ""
            yield from _sections(f"{prefix}.{key}{kind}".lstrip("."), one)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for arg in get_args(annotation) for found in _models_in(arg)]


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return ", ".join(f"`{v.model_dump(exclude_defaults=True)}`" for v in value)
    return "-" if value is None else f"`{list(value) if isinstance(value, tuple) else value}`"


def _type(schema: dict[str, Any], key: str) -> str:
    return _words(schema["properties"][key]).replace("|", "\\|")


def _words(part: dict[str, Any]) -> str:
    if "anyOf" in part:
        return " or ".join(_words(option) for option in part["anyOf"])
    if "enum" in part:
        return " or ".join(f"`{option}`" for option in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    if "$ref" in part or "oneOf" in part:
        return "section"
    if part.get("type") == "array":
        return "list" if "prefixItems" not in part else "interval [low, high]"
    bounds = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    limits = " ".join(f"{sign} {part[word]:g}" for word, sign in bounds.items() if word in part)
    return f"{part.get('type', 'any')} {limits}".strip()


if __name__ == "__main__":
    main()
