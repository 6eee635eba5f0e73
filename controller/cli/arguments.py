"""Arguments and options that several verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TopologyFile = Annotated[Path, typer.Argument(help="A topology file, for example topologies/quickstart.yaml.")]
Trial = Annotated[str, typer.Argument(help="The name in the topology file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
