"""Python's cyclic garbage collector, kept out of the way of verbs that read a whole trial."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """A large trial is millions of objects, none of them in cycles, and looking for some takes a quarter longer.

    What was made meanwhile is not looked at afterwards either: it goes when nobody refers to it, or with the process.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
