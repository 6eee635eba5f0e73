"""The Docker engine: the few calls that everything else needs, what their errors mean, and what is removed of ours.

Nothing outside this folder imports docker.
"""

from testbed.engine.calls import Engine

__all__ = ["Engine"]
