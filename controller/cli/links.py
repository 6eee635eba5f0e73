"""``testbed links``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from controller.cli.arguments import AsJson, Trial
from controller.cli.output import show

if TYPE_CHECKING:
    from testbed.deploy import Deployment
    from testbed.engine import Engine


class ShowUnlessTold(TyperGroup):
    """``testbed links NAME`` is short for ``testbed links show NAME``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts in the verb that is left out."""
        named = args and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named or not args else ["show", *args])


links_app = typer.Typer(cls=ShowUnlessTold, no_args_is_help=True, help="The links of a running trial: NAME shows them.")


@links_app.command("show", hidden=True)
def show_links(
    name: Trial,
    measure: Annotated[bool, typer.Option("--measure", help="Also send real traffic and measure goodput.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show planned, set and (with --measure) measured rate of every link of a running trial."""
    from controller.report.table import rows_table
    from testbed.links import measure_links, read_links

    engine, deployment = _running(name)
    rows = measure_links(engine, deployment) if measure else read_links(engine, deployment)
    show(rows, as_json, rows_table(f"{name}: payload rates", rows))


@links_app.command("set")
def set_link(
    name: Trial,
    ue: Annotated[str, typer.Argument(metavar="UE", help="The UE whose link is to change.")],
    uplink_mbps: Annotated[float | None, typer.Option(help="Payload rate up, in emulated Mbit/s.")] = None,
    downlink_mbps: Annotated[float | None, typer.Option(help="Payload rate down, in emulated Mbit/s.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a link by hand, also while a trial runs; shows what the kernel has then, in wall bit/s."""
    from controller.report.table import rows_table
    from testbed.tuning import set_by_hand

    engine, deployment = _running(name)
    rows = set_by_hand(engine, deployment, ue, uplink_mbps, downlink_mbps)
    show(rows, as_json, rows_table(f"{name}: payload rates", rows))


def _running(name: str) -> tuple[Engine, Deployment]:
    from testbed.deploy import find
    from testbed.engine import Engine
    from testbed.errors import DeployError

    engine = Engine.connect()
    deployment = find(engine, name)
    if deployment is None:
        raise DeployError(f"{name} is not up", "type: testbed ps, or testbed up TOPOLOGY")
    return engine, deployment
