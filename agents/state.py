"""What an agent is between two rounds: all that its next round follows from, as a header and tensors.

Nothing in it is code: tensors, numbers and names, each held against what the job says before it is taken over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from agents.halves import Half
from agents.samples.shard import Order
from agents.trainer import PartKey, Trainer
from agents.wire.frames import Header, Layout, layout

Tensors = list[torch.Tensor]
_BITS = 128
_RANDOM: Layout = layout([torch.get_rng_state()])
"""What the state of a generator on the CPU looks like."""


class StateError(ValueError):
    """A state that is not one of this agent under its job; the message names what of it is otherwise."""


class Kept:
    """A state in the making: pieces under names, in order."""

    def __init__(self) -> None:
        self.header: Header = {}
        self.tensors: Tensors = []

    def put(self, name: str, tensors: Iterable[torch.Tensor]) -> None:
        """Tensors under a name; how many they are is in the header."""
        added = list(tensors)
        self.header[name] = len(added)
        self.tensors += added

    def put_parts(self, trainer: Trainer) -> None:
        """The parts of models: which units of whose, with weights, statistics and momentum."""
        self.header["parts"] = []
        for key, half in sorted(trainer.halves.items()):
            having = [i for i, p in enumerate(half.model.parameters()) if p in half.momenta]
            self.header["parts"].append([*key, having])
            self.tensors += [*half.state(), *(half.momenta[p].detach().cpu() for p in _at(half, having))]

    def put_order(self, name: str, order: Order) -> None:
        """Where in an order of samples the next batch begins."""
        drawn, waiting = order.state()
        self.header[f"{name}_drawn"] = json.dumps(drawn)
        self.put(name, [torch.from_numpy(waiting.copy())])

    def put_random(self, device: str) -> None:
        """The random states that a model of the user's may draw from."""
        on_gpu = [torch.cuda.get_rng_state(device)] if device.startswith("cuda") else []
        self.put("random", [torch.get_rng_state(), *on_gpu])


class Given:
    """A state that is taken over piece by piece, in the order in which it was put. StateError."""

    def __init__(self, header: Mapping[str, Any], tensors: Sequence[torch.Tensor]) -> None:
        self._header, self._tensors, self._taken = header, tensors, 0

    def take(self, name: str, expected: Layout) -> Tensors:
        """The tensors under a name, which must look like this."""
        if self._header.get(name) != len(expected):
            raise StateError(f"{name}: {_shown(self._header.get(name))} tensors instead of {len(expected)}")
        return self._next(name, expected)

    def count(self, name: str) -> int:
        """How many tensors are under a name; 0 where there is no such name."""
        found = self._header.get(name, 0)
        return found if isinstance(found, int) else 0

    def take_parts(self, trainer: Trainer, models: Collection[str], needed: Collection[PartKey]) -> None:
        """The parts of these models, all of those that are needed among them, in place of the trainer's own."""
        parts = self._parts(models, len(trainer.whole))
        for missing in sorted(set(needed) - set(parts)):
            raise StateError(f"parts: units {missing[1] + 1} to {missing[2]} of {missing[0]} are missing")
        trainer.make(parts)
        for key, having in parts.items():
            half, name = trainer.halves[key], f"parts: {_named(key)}"
            count = len(list(half.model.parameters()))
            if any(i >= count for i in having):
                raise StateError(f"{name}: momentum of {max(having)} of {count} parameters")
            state = half.state()
            values = self._next(name, layout([*state, *_at(half, having)]))
            half.load(values[: len(state)])
            for parameter, buffer in zip(_at(half, having), values[len(state) :], strict=True):
                half.set_momentum(parameter, torch.empty_like(parameter).copy_(buffer))

    def take_order(self, name: str, order: Order) -> None:
        """Goes on where in an order of samples the next batch begins."""
        count = self._tensors[self._taken].numel() if self._taken < len(self._tensors) else 0
        waiting = self.take(name, [("int64", (count,))])[0].numpy()
        try:
            order.go_on(_drawn(json.loads(self._header[f"{name}_drawn"])), waiting)
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"{name}: {error}") from error

    def take_generator(self, name: str, generator: torch.Generator) -> None:
        """Goes on where a generator was."""
        (state,) = self.take(name, _RANDOM)
        _set(name, generator.set_state, state)

    def take_random(self, device: str) -> None:
        """Goes on where the random states were that a model of the user's may draw from."""
        on_gpu = layout([torch.cuda.get_rng_state(device)]) if device.startswith("cuda") else []
        state, *others = self.take("random", [*_RANDOM, *on_gpu])
        _set("random", torch.set_rng_state, state)
        for other in others:
            _set("random", lambda given: torch.cuda.set_rng_state(given, device), other)

    def end(self) -> None:
        """Nothing must be left."""
        if self._taken != len(self._tensors):
            raise StateError(f"{len(self._tensors) - self._taken} tensors more than it names")

    def _next(self, name: str, expected: Layout) -> Tensors:
        found = self._tensors[self._taken : self._taken + len(expected)]
        if [(kind, tuple(shape)) for kind, shape in layout(found)] != [(k, tuple(s)) for k, s in expected]:
            raise StateError(f"{name}: {_first_other(layout(found), expected)}")
        self._taken += len(expected)
        return list(found)

    def _parts(self, models: Collection[str], units: int) -> dict[PartKey, list[int]]:
        found: dict[PartKey, list[int]] = {}
        ends: dict[str, int] = {}
        try:
            for model, first, last, having in self._header["parts"]:
                inside = model in models and max(0, ends.get(model, 0)) <= first < last <= units
                if not inside or sorted(set(having)) != having or any(i < 0 for i in having):
                    raise StateError(f"parts: units {_shown(first)} to {_shown(last)} of {_shown(model)}")
                ends[model] = last
                found[model, first, last] = having
        except (KeyError, TypeError, ValueError) as error:
            raise error if isinstance(error, StateError) else StateError(f"parts: {error}") from error
        return found


def digest(trainer: Trainer) -> str:
    """SHA-256 of all weights and statistics of an agent, whatever device they are on."""
    found = hashlib.sha256()
    for key, half in sorted(trainer.halves.items()):
        state = [value.contiguous() for value in half.state()]
        found.update(json.dumps([key, layout(state)]).encode())
        for value in state:
            found.update(value.numpy().data.cast("B") if value.numel() else b"")
    return found.hexdigest()


def _at(half: Half, having: Collection[int]) -> Tensors:
    """The parameters with these numbers."""
    return [parameter for i, parameter in enumerate(half.model.parameters()) if i in having]


def _drawn(told: Any) -> dict[str, Any]:
    """The state of numpy's generator, as far as it can be one: a name, and numbers of at most 128 bits."""
    state = {key: int(told["state"][key]) for key in ("state", "inc")}
    rest = {key: int(told[key]) for key in ("has_uint32", "uinteger")}
    if any(not 0 <= number < 1 << _BITS for number in (*state.values(), *rest.values())):
        raise ValueError("a number that is no state of a generator")
    return {"bit_generator": str(told["bit_generator"]), "state": state, **rest}


def _set(name: str, setter: Any, state: torch.Tensor) -> None:
    try:
        setter(state.clone())
    except RuntimeError as error:
        raise StateError(f"{name}: no state of a generator") from error


def _named(key: PartKey) -> str:
    return f"units {key[1] + 1} to {key[2]} of {key[0]}"


def _first_other(found: Layout, expected: Layout) -> str:
    for i, wanted in enumerate(expected):
        if i >= len(found):
            return f"tensor {i + 1} of {len(expected)} is missing"
        if (found[i][0], tuple(found[i][1])) != (wanted[0], tuple(wanted[1])):
            return f"tensor {i + 1} is {found[i][0]} {list(found[i][1])[:8]}, not {wanted[0]} {list(wanted[1])}"
    return "too many tensors"


def _shown(value: Any) -> str:
    return str(value)[:40]
