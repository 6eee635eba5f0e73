"""``python3 -m testbed.shaping ACTION``: one JSON document in, one out; status 1 and an "error" when it fails."""

from __future__ import annotations

import ctypes
import fcntl
import json
import signal
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from testbed.errors import LinkError, TestbedError
from testbed.shaping.model import LinkPlan, to_json

if TYPE_CHECKING:
    from testbed.shaping.tune import NetlinkSockets

MEMORY = Path("/run/testbed-links.json")
"""Where the shaper keeps the plan that was last set; gone with the container."""

MOST_TEXT = 1 << 24
"""No document is longer: a plan of 4 096 UEs has 3 MB."""
Document = dict[str, Any]
Action = Callable[[Document, Path], Document]

# The actions import what they need themselves: the idle shaper should not carry pyroute2 around.


def main(argv: list[str], stdin: TextIO, stdout: TextIO, memory: Path = MEMORY) -> int:
    """Runs the action that ``argv`` names; the exit status."""
    if argv == ["idle"]:
        return _idle()
    if argv == ["serve"]:
        return _serve(stdin, stdout, memory)
    text = "" if stdin.isatty() else stdin.read(MOST_TEXT)
    answer, status = _answer(" ".join(argv), text, memory, ACTIONS)
    json.dump(answer, stdout)
    stdout.write("\n")
    return status


def _answer(name: str, text: str, memory: Path, actions: Mapping[str, Action]) -> tuple[Document, int]:
    try:
        if name not in actions:
            raise LinkError(f"there is no action {name!r}", f"use one of: {', '.join(actions)}, serve, idle")
        with _alone(memory) if name in _CHANGING else nullcontext():
            return actions[name](json.loads(text) if text.strip() else {}, memory), 0
    except TestbedError as error:
        return {"error": error.message, "hint": error.hint}, 1
    except Exception as error:  # whoever reads this reads JSON, whatever happened
        return {"error": f"{type(error).__name__}: {error}", "hint": "this is a bug of the shaper"}, 1


def _serve(stdin: TextIO, stdout: TextIO, memory: Path) -> int:
    """Tunes until its input ends, with its sockets kept open: a line of rates in, a line out."""
    from testbed.shaping.tune import NetlinkSockets

    with NetlinkSockets() as sockets:
        while text := stdin.readline(MOST_TEXT):
            answer, _ = _answer("tune", text, memory, {"tune": lambda d, m: _tune(d, m, sockets)})
            stdout.write(json.dumps(answer) + "\n")
            stdout.flush()
    return 0


@contextmanager
def _alone(memory: Path) -> Iterator[None]:
    """No other shaper process changes links meanwhile."""
    with memory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tune(document: Document, memory: Path, sockets: NetlinkSockets | None = None) -> Document:
    from testbed.shaping import tune as module

    before = _remembered(memory)
    if not before:
        raise LinkError("there are no links to change", "set them first")
    after = before.at_rates({str(flow): float(rate) for flow, rate in document["rates"].items()})
    memory.write_text(json.dumps(to_json(after)))
    with nullcontext(sockets) if sockets else module.NetlinkSockets() as used:
        settings = module.tune(before, after, used)
    return {"backend": after.backend, "settings": [to_json(setting) for setting in settings]}


def _set(document: Document, memory: Path) -> Document:
    from testbed.shaping.actions import clear_links, set_links
    from testbed.shaping.backends import backend

    plan, before = LinkPlan.from_json(document), _remembered(memory)
    backend(plan.backend)
    # Remembered before it is set: what is set only in part can still be cleared.
    memory.write_text(json.dumps(to_json(plan)))
    if before:
        clear_links(_left_out(before, plan))
    settings = [to_json(setting) for setting in set_links(plan)]
    return {"backend": plan.backend, "dilation": plan.dilation, "settings": settings}


def _left_out(before: LinkPlan, plan: LinkPlan) -> LinkPlan:
    """What was shaped and is not any more, or not by the same backend."""
    kept = {(egress.pid, egress.address) for egress in plan.egresses if before.backend == plan.backend}
    return LinkPlan(before.backend, tuple(e for e in before.egresses if (e.pid, e.address) not in kept))


def _read(_: Document, memory: Path) -> Document:
    plan = _remembered(memory)
    if not plan:
        return {"backend": None, "settings": []}
    from testbed.shaping.actions import read_links

    settings = [to_json(setting) for setting in read_links(plan)]
    return {"backend": plan.backend, "dilation": plan.dilation, "settings": settings}


def _clear(_: Document, memory: Path) -> Document:
    from testbed.shaping.actions import clear_links

    plan = _remembered(memory)
    freed = clear_links(plan) if plan else []
    memory.unlink(missing_ok=True)
    return {"cleared": freed}


def _cut(document: Document, memory: Path) -> Document:
    from testbed.shaping.actions import cut_links

    plan, flows = _remembered(memory), [str(flow) for flow in document["flows"]]
    if plan:
        cut_links(plan, flows)
    elif flows:
        raise LinkError("there are no links to cut", "set them first")
    return {"cut": flows}


def _measure(document: Document, memory: Path) -> Document:
    from testbed.shaping.measure import measure

    plan = _remembered(memory)
    if not plan:
        raise LinkError("there are no links to measure", "set them first")
    results = measure(
        plan, document.get("flows"), bool(document.get("together", False)), float(document.get("seconds", 1.0))
    )
    return {"measurements": [to_json(result) for result in results]}


def _backends(_: Document, __: Path) -> Document:
    from testbed.shaping.backends import support

    return {**support()}


def _remembered(memory: Path) -> LinkPlan | None:
    return LinkPlan.from_json(json.loads(memory.read_text())) if memory.exists() else None


def _idle() -> int:
    """The container's first process: sleeps, without any of its capabilities, until it is told to stop."""
    give_up_capabilities()
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    signal.sigwait(ends)
    return 0


def give_up_capabilities() -> None:
    """This process has none from now on; OSError where the kernel disagrees."""
    libc = ctypes.CDLL(None, use_errno=True)
    version, none = 0x20080522, struct.pack("6I", *[0] * 6)  # linux/capability.h: two words of each of three sets
    if libc.capset(struct.pack("Ii", version, 0), none) != 0:
        raise OSError(ctypes.get_errno(), "cannot give up capabilities")


ACTIONS: Mapping[str, Action] = {
    "set": _set,
    "tune": _tune,
    "read": _read,
    "clear": _clear,
    "cut": _cut,
    "measure": _measure,
    "backends": _backends,
}
_CHANGING = ("set", "tune", "clear", "cut")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin, sys.stdout))
