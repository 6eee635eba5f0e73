"""YAML as a topology needs it: plain values, keys given once, and of a bounded size, whatever the file says."""

from __future__ import annotations

from typing import Any

import yaml

from testbed.errors import InputError

MOST_BYTES = 4_000_000
MOST_DEEP, MOST_VALUES = 40, 200_000
"""How deep values may be nested, and how many there may be once every alias is replaced by what it stands for."""

MOST_WHOLE = 10**40


def parse_yaml(text: str, source: str) -> Any:
    """The data in YAML text. InputError, named after the ``source``, for what is no YAML or too much of it."""
    if len(text) > MOST_BYTES:
        message = f"is larger than {MOST_BYTES / 1e6:g} MB"
        raise InputError(source, message, "ues: {count: …} draws UEs; dynamics.trace names a file of their channels")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        hint = "check indentation, colons and brackets"
        raise InputError(source, f"not YAML: {error.problem or error.context} at {where}", hint) from error
    except yaml.YAMLError as error:
        raise InputError(source, f"not YAML: {str(error).splitlines()[0]}", "check the file's encoding") from error


class _Loader(yaml.SafeLoader):
    """Refuses at its line what is given twice, nested too deep, part of itself, or too much in all."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._deep = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node; its size counts everything below it, what aliases stand for included."""
        mark, alias = self.peek_event().start_mark, self.check_event(yaml.AliasEvent)  # type: ignore[no-untyped-call]
        self._deep += 1
        if self._deep > MOST_DEEP:
            raise _error(f"more than {MOST_DEEP} values inside one another", mark)
        node = super().compose_node(parent, index)
        self._deep -= 1
        if node is None:
            return None
        if not alias:
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            inner = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
            self._sizes[id(node)] = 1 + sum(self._sizes[id(one)] for one in inner)
        elif id(node) not in self._sizes:
            raise _error("this stands for something that it is a part of", mark)
        if self._sizes[id(node)] > MOST_VALUES:
            raise _error(f"more than {MOST_VALUES} values, counted with what aliases stand for", mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """YAML lets a later key silently replace an earlier one of the same name; here it is an error."""
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                raise _error(f"{key} is given twice", key_node.start_mark)
            seen.add(key)
        found = super().construct_mapping(node, deep)
        strange = [key for key in found if not isinstance(key, str | int | float | None)]
        if strange:
            raise _error(f"{strange[0]} cannot be a key", node.start_mark)
        return found

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value; PyYAML's own errors about one that is not what it looks like have no line."""
        try:
            found = super().construct_object(node, deep)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            kind = node.tag.rpartition(":")[2]
            raise _error(f"this is no {kind}: {str(error)[:60] or 'it cannot be read'}", node.start_mark) from error
        if isinstance(found, int) and abs(found) > MOST_WHOLE:
            raise _error(f"a whole number beyond ±{MOST_WHOLE:.0e}", node.start_mark)
        return found


def _error(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
