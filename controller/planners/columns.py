"""What a scheme's row says, and the refusal of a planner that cannot plan it."""

from __future__ import annotations

from typing import Any

from controller.planners.seam import Request
from testbed.errors import InputError


def column(request: Request, name: str, default: Any = None) -> Any:
    """A column of the scheme's row, ``default`` where the table has no such column."""
    return getattr(request.scheme, name, default)


def refuse(request: Request, message: str, hint: str = "use planner: uniform") -> InputError:
    """The error of a planner that cannot plan the request's scheme; ``message`` starts with the planner's name."""
    return InputError(f"{request.path}.planner", f"{message} {request.scheme.name} does not", hint)
