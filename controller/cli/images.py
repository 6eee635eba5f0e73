"""``testbed images build``."""

from __future__ import annotations

import typer

images_app = typer.Typer(no_args_is_help=True, help="The images that agents and shaper run in.")


@images_app.command("build")
def build() -> None:
    """Build the images; seconds when only code changed."""
    from testbed.engine import Engine
    from testbed.images import build

    for role, tag in build(Engine.connect().client, lambda text: print(text, flush=True)).items():
        print(f"{role}: {tag}")
