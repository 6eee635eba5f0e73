"""Files that went wrong, drawn by Hypothesis: values swapped for wild ones, keys renamed, bytes flipped."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
MARK = "RAW{}RAW"
_LENGTH = struct.Struct("<Q")

WILD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 255, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.0, -0.0, 0.5, 1e-9, 1e-300),
    *(5e-324, 1e9, 1e18, 1e300, 1.7e308, -1.7e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "auto", "null", "measured", "true", "0", "1e3", "nan", "ue1", "bs", "all", "psl", "mine.py:build"),
    *("../../etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem", "a\x00b", "\ud7ff", "\u202e", "é" * 50),
    *("x" * 100_000, "😀", "${HOME}", "%s%n", "\n", "'", '"', "kind", "iid", "-", "~", "<<", "__class__", "[red]"),
    *([], {}, [[]], [None], {"": 1}, {"kind": "iid"}, {"kind": None}, {"count": 3}, {"count": -1}, [1, 2], [2, 1]),
    *([0, float("nan")], ["x"] * 1000, [{}] * 1000, {"name": "ue1"}, {"scheme": "psl"}, {"a": {"b": {"c": [1]}}}),
    *(list(range(5000)), [1e308, 1e308], [-1, 0], {"low": 1, "high": 2}, [{"name": "ue1"}, {"name": "ue1"}]),
)
"""Values that nobody expects; others are drawn beside them."""


def _bomb(first: str, rest: str) -> str:
    """Nine generations of anchors, each ten times the one before."""
    generations = [rest.replace("{}", ", ".join([f"*g{number - 1}"] * 10)) for number in range(1, 10)]
    return ", ".join([f"&g0 {first}", *(f"&g{number} {one}" for number, one in enumerate(generations, 1))])


BOMB = f"[{_bomb('[x, x, x, x, x, x, x, x, x, x]', '[{}]')}]"
YAML_FRAGMENTS = (
    *(BOMB, f"{{<<: [{_bomb('{a: 1, b: 2}', '{<<: [{}]}')}]}}", "&a [*a]", "&a {a: *a}", "*gone"),
    *("!!python/object/apply:os.system [exit]", "!!binary '!!'", "!!set {a, b}", "!!omap [a: 1]", "!mine x"),
    *("!!timestamp 2001-99-99", "2001-99-99", "2001-12-14T21:59:43.10-05:00", "!!int x", "!!float x", "!!bool x"),
    *("!!null x", "!!map [1]", "!!seq {a: 1}", "!!str [1]", "0x", "0b", "1_", "190:20:30", "=", "<<", "1e999999"),
    *("{<<: 1}", "{<<: [1]}", "{<<: {name: x}}", "{? [a] : b}", "{? {a: b} : c}", "{[1]: 2}", "9" * 5000),
    *("[" * 500 + "]" * 500, "[" * 20_000, "{a: " * 500 + "1" + "}" * 500, "{" * 20_000, "- " * 3000 + "x"),
    *("? " * 3000, '"\\ud800"', "|\n  x", ">\n  y", "'", '"', "\t", "%YAML 9.9", "---", "...", "@", "`", "!", "&"),
    *("*", "\x07", "#", "0x" + "f" * 5000, "{2001-12-14: 1}"),
)
JSON_FRAGMENTS = (
    *("9" * 5000, "1e999999", "[" * 500 + "]" * 500, "[" * 100_000, '{"a":' * 100_000, "NaN", "", "'", "\\u", "01"),
)


def wild(fragments: int) -> st.SearchStrategy[Any]:
    """A wild value; among them marks that stand for text which no value can be written as."""
    return st.one_of(
        st.sampled_from(WILD).map(copy.deepcopy),
        st.integers(0, fragments - 1).map(MARK.format),
        st.integers(),
        st.floats(),
        st.text(max_size=20),
        st.recursive(st.none() | st.integers(-3, 3) | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3)),
    )


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a tree of dictionaries and lists."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(entries):
        yield tree, key
        yield from places(value)


@st.composite
def trees(draw: Draw, originals: Sequence[Any], fragments: int, most: int = 4) -> Any:
    """One of these trees with one to ``most`` of its places changed."""
    tree = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, most))):
        every = list(places(tree))
        if every:
            _change(draw, *draw(st.sampled_from(every)), every, fragments)
    return tree


def _change(draw: Draw, container: Any, key: Any, every: Sequence[tuple[Any, Any]], fragments: int) -> None:
    kind = draw(st.sampled_from(("value", "value", "value", "key", "drop", "add", "copy", "wrap", "scale")))
    value = container[key]
    if kind == "value":
        container[key] = draw(wild(fragments))
    elif kind == "drop":
        del container[key]
    elif kind == "copy":
        other, there = draw(st.sampled_from(every))
        container[key] = copy.deepcopy(other.get(there) if isinstance(other, dict) else other[there % len(other)])
    elif kind == "wrap":
        container[key] = draw(st.sampled_from(([value], {"a": value}, {str(key): value}, [value, value])))
    elif kind == "scale" and isinstance(value, int | float):
        container[key] = value * draw(st.sampled_from((-1, 0, 1e-6, 0.5, 3, 1e3, 1e9, 1e200)))
    elif kind == "key" and isinstance(container, dict):
        container[draw(st.one_of(st.sampled_from([*container, "x"]), st.text(max_size=8)))] = container.pop(key)
    elif isinstance(container, dict):
        container[draw(st.text(max_size=8))] = draw(wild(fragments))
    elif isinstance(container, list):
        container.insert(draw(st.integers(0, len(container))), copy.deepcopy(value))


@st.composite
def scrambled(draw: Draw, originals: Sequence[bytes], most: int = 4) -> bytes:
    """One of these files with one to ``most`` changes of its bytes."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 40))
        match draw(st.sampled_from(("flip", "put", "cut", "drop", "repeat", "splice"))):
            case "flip" if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "put":
                content[at:at] = draw(st.binary(max_size=12))
            case "cut":
                del content[at:]
            case "drop":
                del content[at : at + length]
            case "repeat":
                content[at:at] = bytes(content[at : at + length]) * draw(st.sampled_from((1, 2, 200)))
            case "splice":
                other = draw(st.sampled_from(originals))
                content[at : at + length] = other[at // 2 : at // 2 + length]
    return bytes(content)


def yaml_files(originals: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Files of YAML that went wrong: three in four as trees, the rest as bytes."""
    changed = trees([yaml.safe_load(one) for one in originals], len(YAML_FRAGMENTS)).map(_as_yaml)
    return st.one_of(changed, changed, changed, scrambled(originals))


def json_lines(originals: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Files of JSON lines that went wrong: values and lines changed in three of four, bytes in the rest."""
    changed = trees([[json.loads(line) for line in one.splitlines()] for one in originals], len(JSON_FRAGMENTS), 6)
    written = changed.map(_as_json_lines)
    return st.one_of(written, written, written, scrambled(originals))


def headed_files(originals: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Files of safetensors that went wrong: in their header, of which a length says how long it is, or as bytes."""
    parts = [(json.loads(one[8 : (end := 8 + _LENGTH.unpack(one[:8])[0])]), one[end:]) for one in originals]
    tables = [{**header, "__metadata__": {**_opened(header["__metadata__"])}} for header, _ in parts]
    changed = trees(
        [[table, content.hex()] for table, (_, content) in zip(tables, parts, strict=True)], len(JSON_FRAGMENTS)
    )
    return st.one_of(changed.map(_as_headed), scrambled(originals))


def _opened(metadata: dict[str, str]) -> dict[str, Any]:
    """The metadata with the JSON in it taken apart, so that its values are changed as well."""
    return {**metadata, "agents": json.loads(metadata["agents"])}


def _as_headed(file: Any) -> bytes:
    """A file of this header and content, whatever became of them; what is nested is closed again."""
    header, content = (*file, {}, "")[:2] if isinstance(file, list) else (file, "")
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if isinstance(metadata, dict) and "agents" in metadata:
        agents = _with(json.dumps(metadata["agents"]), JSON_FRAGMENTS, '"')
        header = {**header, "__metadata__": {**metadata, "agents": agents}}
    text = _with(json.dumps(header), JSON_FRAGMENTS, '"').encode()
    try:
        data = bytes.fromhex(content)
    except (TypeError, ValueError):
        data = str(content).encode()
    return _LENGTH.pack(len(text)) + text + data


def _as_yaml(tree: Any) -> bytes:
    text = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
    return _with(text, YAML_FRAGMENTS).encode("utf-8", "surrogatepass")


def _as_json_lines(lines: Any) -> bytes:
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    return _with(text, JSON_FRAGMENTS, '"').encode()


def _with(text: str, fragments: Sequence[str], quote: str = "") -> str:
    """The text with its marks replaced by what they stand for."""
    for number, fragment in enumerate(fragments):
        text = text.replace(f"{quote}{MARK.format(number)}{quote}", fragment)
    return text
