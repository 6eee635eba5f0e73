"""What errors of the docker package mean: whether to ask again, and in our words."""

from __future__ import annotations

import docker.errors
import requests

from testbed.errors import AwayError, EngineError, GoneError, ImageError, NameTakenError
from testbed.patience import Fault

ANSWERS_S = 120
"""So long has the engine to answer a call that it has taken."""


def fault(error: Exception) -> Fault | None:
    """What an error of the docker package means; None where the same call would fail again, or has waited already."""
    if isinstance(error, docker.errors.APIError):
        return Fault.FAILED if error.is_server_error() else None
    if isinstance(error, requests.exceptions.RequestException) and not _timed_out(error):
        return Fault.AWAY
    return None


def _timed_out(error: Exception) -> bool:
    """Whether the engine took the call, and gave no answer for too long: on a Unix socket no error of its own."""
    return isinstance(error, requests.exceptions.Timeout) or "Read timed out" in str(error)


def in_words(error: Exception) -> EngineError | ImageError:
    """An error of the docker package as one of ours, with Docker's own explanation."""
    if isinstance(error, requests.exceptions.RequestException) and not isinstance(error, docker.errors.APIError):
        why = f"gave no answer for {ANSWERS_S} s" if _timed_out(error) else "does not answer any more"
        return AwayError(f"the Docker engine {why}", "see its log")
    explanation = getattr(error, "explanation", None) or str(error)
    if isinstance(error, docker.errors.ImageNotFound):
        return ImageError(str(explanation), "type: testbed images build")
    if isinstance(error, docker.errors.NotFound):
        return GoneError(f"Docker: {explanation}", "type: testbed ps")
    taken = any(words in str(explanation) for words in ("is already in use by container", "already exists"))
    if isinstance(error, docker.errors.APIError) and error.status_code == 409 and taken:
        return NameTakenError(f"Docker: {explanation}", "wait for what uses it, or: testbed down NAME")
    return EngineError(f"Docker: {explanation}")
