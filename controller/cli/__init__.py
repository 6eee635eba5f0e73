"""``testbed``: one thin function per verb.

Exit status: 0 done, 1 failed, 2 bad input or usage, 3 the fidelity verdict is no under ``--strict``.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from testbed.errors import TestbedError

if TYPE_CHECKING:
    from testbed.deploy import Deployment
    from testbed.engine import Engine
    from testbed.topology import Topology

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Split learning over wireless edge networks: real containers, real training, really shaped links.",
)
images_app = typer.Typer(no_args_is_help=True, help="The images that agents and shaper run in.")
app.add_typer(images_app, name="images")


class ShowUnlessTold(TyperGroup):
    """``testbed links NAME`` is short for ``testbed links show NAME``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts in the verb that is left out."""
        named = args and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named or not args else ["show", *args])


links_app = typer.Typer(cls=ShowUnlessTold, no_args_is_help=True, help="The links of a running trial: NAME shows them.")
app.add_typer(links_app, name="links")

TopologyFile = Annotated[Path, typer.Argument(help="A topology file, for example topologies/quickstart.yaml.")]
Trial = Annotated[str, typer.Argument(help="The name in the topology file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """``--debug`` is taken out by ``main``, wherever it stands; here it is only described."""


@app.command()
def validate(topology: TopologyFile, as_json: AsJson = False) -> None:
    """Check a topology file; with --json print it with every default and every draw filled in."""
    from testbed.loading import load

    loaded = load(topology)
    if as_json:
        _print_json(loaded.model_dump(mode="json"))
    else:
        print(f"{topology.name}: {loaded.name} with {len(loaded.ues)} UEs is valid")


@app.command()
def plan(
    topology: TopologyFile,
    scheme: Annotated[str | None, typer.Option(help="Plan this scheme only.")] = None,
    planner: Annotated[str | None, typer.Option(help="Use this planner.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="All planners side by side.")] = False,
    chart: Annotated[Path | None, typer.Option(help="Draw the predicted pipeline to a .svg, .png or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Plan each scheme of a topology and predict its round."""
    from controller.cli.selection import select
    from controller.planners.planning import plan_all
    from controller.report.gantt import gantt
    from controller.report.table import plan_table
    from testbed.loading import load

    chosen = select(load(topology), [scheme] if scheme else None, planner=planner)
    if compare:
        _compare(chosen, as_json)
        return
    planned = plan_all(chosen, 1.0 if chosen.time_dilation == "auto" else float(chosen.time_dilation))
    for p in planned:
        for warning in p.warnings:
            print(f"warning: {p.label}: {warning}", file=sys.stderr)
    if chart:
        from controller.report.chart import write_chart

        write_chart(planned, chart)
    if not as_json:
        _console().print(plan_table(planned))
        _console().print(*(gantt(p) for p in planned), sep="\n")
    elif scheme:
        _print_json(planned[0].to_json())
    else:
        _print_json({p.label: p.to_json() for p in planned})


def _compare(topology: Topology, as_json: bool) -> None:
    from controller.planners.comparison import compare
    from controller.report.table import rows_table

    records = compare(topology)
    _show(records, as_json, rows_table(f"{topology.name}: planners", records))


@images_app.command("build")
def images_build() -> None:
    """Build the images; seconds when only code changed."""
    from testbed.engine import Engine
    from testbed.images import build

    for role, tag in build(Engine.connect().client, lambda text: print(text, flush=True)).items():
        print(f"{role}: {tag}")


@app.command()
def calibrate(topology: TopologyFile, as_json: AsJson = False) -> None:
    """Measure anew how fast this host runs the topology's model and moves messages."""
    import dataclasses

    from controller.predict.workload import workload
    from controller.report.calibration import costs, speeds
    from controller.report.table import rows_table
    from testbed.calibration import calibrate as measure
    from testbed.engine import Engine
    from testbed.loading import load

    loaded = load(topology)
    found = measure(Engine.connect(), loaded, fresh=True)
    units = speeds(found, workload(loaded))
    if as_json:
        _print_json({"units": units, "transport": dataclasses.asdict(found.transport)})
        return
    _console().print(rows_table(f"{loaded.model.name}: one host core", units), rows_table("transport", costs(found)))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this host offers: engine, cores, memory, cgroups, KVM, GPU, and how it shapes links, and why."""
    from controller.report.table import rows_table
    from controller.trial.host import diagnose
    from testbed.engine import Engine

    facts = diagnose(Engine.connect())
    _show(facts, as_json, rows_table("", [{"what": k.replace("_", " "), "found": v} for k, v in facts.items()]))


@app.command()
def up(topology: TopologyFile) -> None:
    """Start a topology's containers, ready and limited, and leave them running."""
    from controller.report.progress import Terminal
    from controller.trial.prepare import bring_up, prepare
    from testbed.engine import Engine
    from testbed.loading import load

    loaded, engine = load(topology), Engine.connect()
    with Terminal(_console(stderr=True)) as terminal:
        deployment = bring_up(engine, prepare(engine, loaded, terminal), "up", terminal)
    print(f"{loaded.name} is up with {len(deployment.ues)} UEs; take it down with: testbed down {loaded.name}")


@app.command()
def run(
    topology: TopologyFile,
    out: Annotated[Path, typer.Option(help="Directory for results.json, events.jsonl and plans.")],
    scheme: Annotated[str | None, typer.Option(help="Run only these schemes, comma-separated.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds per scheme.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 when a fidelity verdict is no.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a field trial: deploy, train under every scheme, measure, report, take down."""
    from controller.cli.selection import select
    from controller.report.progress import Terminal
    from controller.report.table import results_table
    from controller.trial.field_trial import field_trial
    from testbed.engine import Engine
    from testbed.loading import load

    chosen = select(load(topology), scheme.split(",") if scheme else None, rounds=rounds)
    with Terminal(_console(stderr=True)) as terminal:
        results = field_trial(Engine.connect(), chosen, out, terminal)
    _show(results.model_dump(mode="json"), as_json, results_table(results))
    if not as_json:
        print(f"results: {out / 'results.json'}")
    if strict and not all(s.fidelity.ok for s in results.schemes.values()):
        raise typer.Exit(3)


@app.command()
def ps(name: Annotated[str | None, typer.Argument(help="One trial only.")] = None, as_json: AsJson = False) -> None:
    """List the containers of all trials that are up."""
    from controller.report.table import rows_table
    from testbed.deploy import ps as rows_of
    from testbed.engine import Engine

    rows = rows_of(Engine.connect(), name)
    if not rows and not as_json:
        print("nothing is up")
    else:
        _show(rows, as_json, rows_table("", rows))


@links_app.command("show", hidden=True)
def links_show(
    name: Trial,
    measure: Annotated[bool, typer.Option("--measure", help="Also send real traffic and measure goodput.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show planned, set and (with --measure) measured rate of every link of a running trial."""
    from controller.report.table import rows_table
    from testbed.links import measure_links, read_links

    engine, deployment = _running(name)
    rows = measure_links(engine, deployment) if measure else read_links(engine, deployment)
    _show(rows, as_json, rows_table(f"{name}: payload rates", rows))


@links_app.command("set")
def links_set(
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
    _show(rows, as_json, rows_table(f"{name}: payload rates", rows))


def _running(name: str) -> tuple[Engine, Deployment]:
    from testbed.deploy import find
    from testbed.engine import Engine
    from testbed.errors import DeployError

    engine = Engine.connect()
    deployment = find(engine, name)
    if deployment is None:
        raise DeployError(f"{name} is not up", "type: testbed ps, or testbed up TOPOLOGY")
    return engine, deployment


@app.command()
def down(name: Trial) -> None:
    """Remove everything of a trial; nothing to remove is fine."""
    from testbed.deploy import down as remove
    from testbed.engine import Engine

    count = remove(Engine.connect(), name)
    print(f"{name} is down ({count} things removed)" if count else f"{name} was not up")


class Interrupted(BaseException):
    """Ctrl-C or a polite kill; not KeyboardInterrupt, for which the command-line library has its own ending."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; errors become one line and an exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        app(args=[a for a in given if a != "--debug"], prog_name="testbed")
    except TestbedError as error:
        if debug:
            raise
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    except Interrupted:
        print("interrupted; everything that was started has been removed", file=sys.stderr)
        sys.exit(1)


def _interrupt(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second one must not stop the clean-up
    raise Interrupted


def _console(stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=160)


def _show(data: Any, as_json: bool, table: Any) -> None:
    if as_json:
        _print_json(data)
    else:
        _console().print(table)


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=1))
