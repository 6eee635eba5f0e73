"""The errors a user can meet: one line of cause, and the next thing to type."""

from __future__ import annotations


class TestbedError(Exception):
    """Something failed while the testbed worked (exit status 1).

    ``message`` is one line naming the cause; ``hint`` says what to type or change next.
    """

    exit_status = 1
    __test__ = False  # the name starts with "Test", pytest would collect it

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message


class InputError(TestbedError):
    """A file or an argument of the user is wrong (exit status 2).

    ``path`` is where in the file the wrong value stands, like ``ues.2.distance_m``.
    """

    exit_status = 2

    def __init__(self, path: str, message: str, hint: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message, hint)
        self.path = path


class EngineError(TestbedError):
    """Docker is missing, refuses, or failed."""


class ImageError(TestbedError):
    """An image is missing or could not be built."""


class DeployError(TestbedError):
    """The emulated world could not be set up as the topology asks."""


class LinkError(TestbedError):
    """A link could not be shaped, or reads back otherwise than it was set."""


class TrialError(TestbedError):
    """A trial broke off: an agent failed, fell silent or was lost. ``lost`` names it where that is known."""

    def __init__(self, message: str, hint: str = "", lost: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.lost = lost


class StorageError(TestbedError):
    """A disk does not take what a trial writes; ``message`` begins with the path."""


class SolverError(TestbedError):
    """A solver failed, or ended with a status that is not a certain answer."""


class RecordError(TestbedError):
    """A run directory is there, but nothing in it can be shown."""


class AwayError(EngineError):
    """The engine refuses connections, drops them or gives no answer, and has for longer than it is waited for."""


class GoneError(EngineError):
    """There is no such container, network or volume (any more)."""


class NameTakenError(EngineError):
    """A container or network of this name is there already."""
