"""The parts that every dashboard is made of: its frame, and the kinds of panels.

Colours are Okabe and Ito's, which colour-blind eyes tell apart; heat maps use Cividis or one hue, and PuOr where a
value lies on either side of a plan. A prediction is dashed and named as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
    trend,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as commons
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmaps
from grafana_foundation_sdk.models import prometheus as queries

from controller.report.dashboards import promql

BLUE, ORANGE, VERMILLION, GREY = "#56B4E9", "#E69F00", "#D55E00", "#8e8e8e"
TAG = "testbed"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
AnyPanel = Builder[models.Panel]
P = TypeVar("P", bargauge.Panel, heatmap.Panel, stat.Panel, table.Panel, timeseries.Panel, trend.Panel)


@dataclass(frozen=True)
class Ask:
    """A query with the name of what it returns; ``{{label}}`` stands for the value of a label."""

    expr: str
    name: str = ""


@dataclass(frozen=True)
class About:
    """What a panel says of itself: title, description and unit of its values; its size on a grid of 24 columns."""

    title: str
    text: str
    unit: str
    span: int = 12
    height: int = 8


def frame(uid: str, title: str, text: str, panels: Sequence[AnyPanel], window: bool = False) -> dashboard.Dashboard:
    """A dashboard of these panels with the variables, links and annotations that all have."""
    found = (
        dashboard.Dashboard(title)
        .uid(f"{TAG}-{uid}")
        .description(text)
        .tags([TAG])
        .timezone("browser")
        .readonly()
        .refresh("5s")
        .time("now-30m", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_chosen("trial", "Trial", "label_values(testbed_rounds_planned, trial)"))
        .with_variable(
            _chosen("scheme", "Scheme", f"label_values(testbed_rounds_planned{{{promql.TRIAL}}}, scheme)")
            .multi(True)
            .include_all(True)
            .all_value(".+")
            .current(models.VariableOption(selected=True, text="All", value="$__all"))
        )
        .link(
            dashboard.DashboardLink("Testbed")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
    )
    if window:
        chosen = models.VariableOption(selected=True, text="5m", value="5m")
        found.with_variable(
            dashboard.IntervalVariable("window").label("Over the last").values("1m,5m,15m,1h").current(chosen)
        )
    for kind, name, colour in (
        ("plan", "New plan", BLUE),
        ("channel", "Channel", GREY),
        ("fault", "Fault", VERMILLION),
    ):
        found.annotation(
            dashboard.AnnotationQuery()
            .name(name)
            .datasource(SOURCE)
            .enable(kind != "channel")
            .icon_color(colour)
            .expr(promql.changes(kind))
        )
    for panel in panels:
        found.with_panel(panel)
    return found


def _chosen(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def number(about: About, *asks: Ask, good_from: float | None = None) -> stat.Panel:
    """The newest value of each query, large; with ``good_from``, orange below it."""
    steps = [models.Threshold(None, BLUE)]
    if good_from is not None:
        steps = [models.Threshold(None, ORANGE), models.Threshold(good_from, BLUE)]
    text = commons.BigValueTextMode.VALUE_AND_NAME if any(ask.name for ask in asks) else commons.BigValueTextMode.VALUE
    panel = (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(commons.BigValueGraphMode.NONE)
        .color_mode(commons.BigValueColorMode.VALUE)
        .text_mode(text)
        .thresholds(_thresholds(steps))
    )
    return _dressed(panel, about, asks)


def bars(about: About, *asks: Ask, most: float | None = None) -> bargauge.Panel:
    """The newest value of each query as a bar from 0 to ``most``."""
    panel = (
        bargauge.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .display_mode(commons.BarGaugeDisplayMode.BASIC)
        .orientation(commons.VizOrientation.HORIZONTAL)
        .value_mode(commons.BarGaugeValueMode.TEXT)
        .thresholds(_thresholds([models.Threshold(None, BLUE)]))
        .override_by_regexp(PREDICTED, [_property("color", {"mode": "fixed", "fixedColor": GREY})])
        .min(0)
    )
    return _dressed(panel if most is None else panel.max(most), about, asks)


PREDICTED = r"/\(predicted\)$/"
DASHED = {"fill": "dash", "dash": [8, 6]}


def lines(about: About, *asks: Ask, stacked: bool = False, least: float | None = 0) -> timeseries.Panel:
    """Values over wall time, stairs rather than slopes: they change when a round ends. Predictions are dashed."""
    panel = (
        timeseries.Panel()
        .line_interpolation(commons.LineInterpolation.STEP_AFTER)
        .line_width(2)
        .show_points(commons.VisibilityMode.NEVER)
        .fill_opacity(60 if stacked else 0)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .override_by_regexp(PREDICTED, [_property("custom.lineStyle", DASHED)])
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(commons.TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(commons.StackingMode.NORMAL))
    return _dressed(panel if least is None else panel.min(least), about, asks)


def curves(about: About, x: str, x_name: str, x_unit: str, y: str) -> trend.Panel:
    """Lines over something else than time. Both expressions have a series for each ``line``; the last y at an x counts.

    Rows of both queries are merged by time and line; from them a table is made with a row for each x and a column for
    each line. Where two lines have no x in common, they are drawn across the gaps.
    """
    corner = "Value #A\\line"
    steps: list[tuple[str, object]] = [
        ("merge", {}),
        (
            "groupingToMatrix",
            {"columnField": "line", "rowField": "Value #A", "valueField": "Value #B", "emptyValue": "null"},
        ),
        ("convertFieldType", {"conversions": [{"targetField": corner, "destinationType": "number"}]}),
        ("sortBy", {"sort": [{"field": corner}]}),
    ]
    panel = (
        trend.Panel()
        .x_field(corner)
        .span_nulls(True)
        .line_width(2)
        .show_points(commons.VisibilityMode.AUTO)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .transformations([models.DataTransformerConfig(id_val=name, options=options) for name, options in steps])
        .override_by_regexp(PREDICTED, [_property("custom.lineStyle", DASHED)])
        .override_by_name(corner, [_property("unit", x_unit), _property("displayName", x_name)])
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(commons.TooltipDisplayMode.MULTI))
        .min(0)
    )
    return _dressed(panel, about, (Ask(x), Ask(y)), as_table=True)


def heat(
    about: About, ask: Ask, scheme: str = "Cividis", least: float | None = 0, most: float | None = None
) -> heatmap.Panel:
    """A row for each series and a column for each moment: holds for hundreds of UEs, where lines do not."""
    colour = (
        heatmap.HeatmapColorOptions()
        .mode(heatmaps.HeatmapColorMode.SCHEME)
        .scheme(scheme)
        .scale(heatmaps.HeatmapColorScale.EXPONENTIAL)
        .exponent(1)
        .steps(64)
    )
    colour = colour if least is None else colour.min(least)
    panel = (
        heatmap.Panel()
        .calculate(False)
        .color(colour if most is None else colour.max(most))
        .cell_values(heatmap.CellValues().unit(about.unit))
        .filter_values(heatmap.FilterValueRange().le(-2))  # by default what is not above 0 is left out
        .cell_gap(0)
        .hide_from(common.HideSeriesConfig().legend(False).tooltip(False).viz(False))
        .show_legend()
        .show_tooltip()
        .max_data_points(120)
    )
    return _dressed(panel, about, (ask,))


@dataclass(frozen=True)
class Column:
    """A column of a table: what it asks, its heading and unit, and words that stand for numbers."""

    heading: str
    expr: str
    unit: str
    words: Mapping[str, tuple[str, str]] | None = None


def rows(about: About, keys: Mapping[str, str], columns: Sequence[Column]) -> table.Panel:
    """One row for each value of the labels in ``keys`` (label → heading), one column for each query."""
    asks = [Ask(column.expr) for column in columns]
    values = {f"Value #{_letter(i)}": column.heading for i, column in enumerate(columns)}
    shown = [*keys, *values]
    organize = {
        "excludeByName": {"Time": True, **{label: True for label in ("trial", "scheme", "ue") if label not in keys}},
        "renameByName": {**keys, **values},
        "indexByName": {name: i for i, name in enumerate(shown)},
    }
    panel = (
        table.Panel()
        .show_header(True)
        .transformations(
            [
                models.DataTransformerConfig(id_val="merge", options={}),
                models.DataTransformerConfig(id_val="organize", options=organize),
            ]
        )
    )
    for column in columns:
        properties = [_property("unit", column.unit)]
        if column.words:
            texts = {value: {"text": text, "color": colour} for value, (text, colour) in column.words.items()}
            properties.append(_property("mappings", [{"type": "value", "options": texts}]))
            properties.append(_property("custom.cellOptions", {"type": "color-text"}))
        panel.override_by_name(column.heading, properties)
    return _dressed(panel, about, asks, as_table=True, instant=True)


def _dressed(panel: P, about: About, asks: Sequence[Ask], as_table: bool = False, instant: bool = False) -> P:
    panel.title(about.title).description(about.text).unit(about.unit).span(about.span).height(about.height)
    panel.datasource(SOURCE)
    for i, ask in enumerate(asks):
        query = prometheus.Dataquery().ref_id(_letter(i)).datasource(SOURCE).expr(ask.expr)
        query = query.instant() if instant else query.range()
        if as_table:
            query.format(queries.PromQueryFormat.TABLE)
        panel.with_target(query.legend_format(ask.name) if ask.name else query)
    return panel


def _letter(i: int) -> str:
    return chr(ord("A") + i)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(commons.LegendDisplayMode.LIST)
        .placement(commons.LegendPlacement.BOTTOM)
    )


def _thresholds(steps: list[models.Threshold]) -> dashboard.ThresholdsConfig:
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _property(name: str, value: object) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val=name, value=value)
