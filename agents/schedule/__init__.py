"""One round as data: what a scheme says, and what everybody else reads. No torch, no sockets, no clock."""

from __future__ import annotations

from agents.schedule.task import (
    BS,
    EVERYBODY,
    Activations,
    Average,
    Compute,
    Gradients,
    Key,
    Load,
    Schedule,
    ScheduleError,
    Step,
    Task,
    Weights,
)

__all__ = [
    "BS",
    "EVERYBODY",
    "Activations",
    "Average",
    "Compute",
    "Gradients",
    "Key",
    "Load",
    "Schedule",
    "ScheduleError",
    "Step",
    "Task",
    "Weights",
]
