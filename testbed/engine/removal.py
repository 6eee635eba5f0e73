"""Removes what the engine has of ours, and says of what is left why it is, and which command removes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import docker.errors
import requests

from testbed.container import Thing


def remove_each(
    api: Any, things: Sequence[Thing], parallel: Callable[[Callable[[str], str], Iterable[str]], list[str]]
) -> dict[Thing, str]:
    """Removes containers, then networks, then volumes; what is left, and why."""
    removals: dict[str, Callable[[str], Any]] = {
        "container": partial(_remove_container, api),
        "network": api.remove_network,
        "volume": partial(api.remove_volume, force=True),
    }
    left: dict[Thing, str] = {}
    for kind, removal in removals.items():
        mine = [thing for thing in things if thing.kind == kind]
        reasons = parallel(partial(_why_left, removal), [thing.id for thing in mine])
        left.update({thing: why for thing, why in zip(mine, reasons, strict=True) if why})
    return left


def _remove_container(api: Any, container: str) -> None:
    """Returns when it is gone, whoever removes it: only then its networks can go."""
    try:
        api.remove_container(container, force=True, v=True)
    except docker.errors.APIError as error:
        if error.status_code != 409 or "already in progress" not in str(error.explanation):
            raise
        api.wait(container, timeout=15, condition="removed")


def removing(api: Any, thing: Thing) -> str:
    """The command that removes what the testbed could not: it may take the containers of others off a network."""
    if thing.kind != "network":
        return f"docker {'rm -f' if thing.kind == 'container' else 'volume rm'} {thing.name}"
    with suppress(docker.errors.APIError, requests.exceptions.RequestException):
        guests = api.inspect_network(thing.id)["Containers"] or {}
        if guests:
            names = (guest["Name"] for guest in guests.values())
            return "; ".join(f"docker network disconnect -f {thing.name} {name}" for name in names)
    return f"docker network rm {thing.name}"


def _why_left(removal: Callable[[str], Any], thing: str) -> str:
    """Removes a thing, or says why it is still there."""
    try:
        removal(thing)
    except docker.errors.NotFound:
        return ""
    except docker.errors.APIError as error:
        return str(error.explanation or error)
    except requests.exceptions.RequestException as error:
        return str(error)
    return ""
