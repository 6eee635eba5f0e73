"""``testbed``: one file per verb, each thin.

Exit status: 0 done, 1 failed, 2 bad input or usage, 3 the fidelity verdict is no under ``--strict``. What a verb
needs it imports when it is called, so that the command line starts at once.
"""

from controller.cli.entry import Interrupted, app, main

__all__ = ["Interrupted", "app", "main"]
