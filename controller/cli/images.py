"""``testbed images``."""

from __future__ import annotations

import typer

from controller.cli.arguments import AsJson
from controller.cli.output import show

images_app = typer.Typer(no_args_is_help=True, help="The images that agents and shaper run in.")


@images_app.command("build")
def build() -> None:
    """Build the images; seconds when only code changed. Writes a bill of materials (CycloneDX) of each."""
    from testbed import sbom
    from testbed.engine import Engine
    from testbed.images import BILLS, build

    client = Engine.connect().client
    tags = build(client, lambda text: print(text, flush=True))
    bills = sbom.written(client, tags, BILLS)
    for role, tag in tags.items():
        print(f"{role}: {tag} ({bills[role]})")


@images_app.command("licences")
def licences(as_json: AsJson = False) -> None:
    """List every package in the images with its version and licence, from the bills of materials."""
    from controller.report.table import rows_table
    from testbed import sbom
    from testbed.images import BILLS, CODE

    bills = [sbom.read(BILLS / f"{role}.cdx.json") for role in CODE]
    found = {tuple(row.values()): row for bill in bills for row in sbom.licences(bill)}
    rows = [row for _, row in sorted(found.items())]
    show(rows, as_json, rows_table("packages of the images", rows))
