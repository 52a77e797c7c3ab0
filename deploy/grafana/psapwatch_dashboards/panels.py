"""What a panel of ours is: a question in PromQL, and everything that helps to read its answer.

A panel without a description, a unit, thresholds or a runbook cannot be written here. ``board``
turns a list of panels into a dashboard for Grafana.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    geomap,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.geomap import TooltipMode
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DAEMON: Final = "http://127.0.0.1:9911"
"""Where a daemon's own page is: the default of a text box that every dashboard has."""
RUNBOOKS: Final = f"{DAEMON}/runbooks"
"""Where docs/runbooks is published, the default of another: the daemon's page has them."""
GREEN, ORANGE, RED, BLUE, GREY = "green", "orange", "red", "blue", "text"
INSTANCE: Final = 'instance=~"$instance"'
"""Every question about the daemon's own series is about the chosen instances."""

Drawn = (
    bargauge.Panel
    | geomap.Panel
    | heatmap.Panel
    | stat.Panel
    | statetimeline.Panel
    | table.Panel
    | timeseries.Panel
)
Answer = Literal["lines", "now", "rows", "heatmap"]
"""Series over time, the newest value of each, the newest as rows of a table, or buckets."""
Steps = tuple[tuple[float | None, str], ...]
"""From which value on which colour; ``None`` is the lowest."""

NONE_IS_GOOD: Final[Steps] = ((None, GREEN), (1, RED))
ONE_IS_GOOD: Final[Steps] = ((None, RED), (1, GREEN))
LOSS: Final[Steps] = ((None, GREEN), (0.005, ORANGE), (0.05, RED))
"""0.5 % of attempts failing at random is no news; from 5 % the daemon pages."""
REACHED: Final[Steps] = ((None, RED), (0.95, ORANGE), (0.995, GREEN))
PLAIN: Final[Steps] = ((None, BLUE),)


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression, what its series are called, and in which form it answers."""

    expr: str
    legend: str = ""
    answer: Answer = "lines"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel; every field is something that its reader needs."""

    title: str
    about: str
    runbook: str
    """The page that says what to do when this looks bad."""
    unit: str
    steps: Steps
    queries: tuple[Query, ...]
    draw: Callable[[], Drawn]
    wide: int = 12
    """Of 24 columns."""
    high: int = 8
    empty: str = ""
    """What to say when there is nothing, where that is good news."""
    names: tuple[tuple[str, str, str], ...] = ()
    """Value, word and colour."""
    leads: tuple[tuple[str, str], ...] = ()
    """Where a click on a value leads: words and URL."""


TO_INCIDENT: Final = ("All that is known", "${daemon:raw}/incidents/${__data.fields.id}")
TO_PSAP: Final = (
    ("The last failure and the last pass", "${daemon:raw}/psaps/${__data.fields.psap}"),
    ("Its dashboard", "/d/psapwatch-psap?var-psap=${__data.fields.psap}"),
)


def lines() -> timeseries.Panel:
    """Series over time."""
    return (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(10)
        .legend(
            common.VizLegendOptions()
            .display_mode(words.LegendDisplayMode.LIST)
            .placement(words.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(words.TooltipDisplayMode.MULTI))
        .thresholds_style(
            common.GraphThresholdsStyleConfig().mode(words.GraphThresholdsStyleMode.DASHED)
        )
    )


def bars() -> timeseries.Panel:
    """Counts over time, one on top of the other."""
    stacked = common.StackingConfig().mode(words.StackingMode.NORMAL).group("A")
    return lines().draw_style(words.GraphDrawStyle.BARS).fill_opacity(70).stacking(stacked)


def figure() -> stat.Panel:
    """One number, coloured."""
    return (
        stat.Panel()
        .reduce_options(_newest())
        .color_mode(words.BigValueColorMode.BACKGROUND)
        .graph_mode(words.BigValueGraphMode.NONE)
        .text_mode(words.BigValueTextMode.AUTO)
    )


def gauges() -> bargauge.Panel:
    """One bar a series."""
    return (
        bargauge.Panel()
        .reduce_options(_newest())
        .orientation(words.VizOrientation.HORIZONTAL)
        .display_mode(words.BarGaugeDisplayMode.BASIC)
        .min(0)
    )


def states() -> statetimeline.Panel:
    """One row a series, coloured by its value over time."""
    return statetimeline.Panel().show_value(words.VisibilityMode.NEVER).row_height(0.8)


def rows(*, with_value: bool = True) -> table.Panel:
    """A table of the newest values; a value that is always 1 is left out."""
    hidden = {"Time": True} if with_value else {"Time": True, "Value": True}
    return (
        table.Panel()
        .show_header(True)
        .transformations(
            [
                model.DataTransformerConfig(
                    id_val="organize", options={"excludeByName": hidden, "renameByName": {}}
                )
            ]
        )
    )


def buckets() -> heatmap.Panel:
    """How values spread over time, with exemplars."""
    return (
        heatmap.Panel()
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges"))
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .exemplars_color("rgba(255,0,255,0.7)")
    )


def world() -> geomap.Panel:
    """PSAPs on a map, coloured by their value."""
    place = (
        common.FrameGeometrySource()
        .mode(words.FrameGeometrySourceMode.COORDS)
        .latitude("latitude")
        .longitude("longitude")
    )
    style = {
        "color": {"field": "Value", "fixed": "blue"},
        "size": {"fixed": 7, "min": 2, "max": 15},
        "symbol": {"fixed": "img/icons/marker/circle.svg", "mode": "fixed"},
        "opacity": 0.8,
    }
    layer = (
        common.MapLayerOptions()
        .name("PSAPs")
        .type("markers")
        .location(place)
        .config({"showLegend": True, "style": style})
        .tooltip(True)
    )
    numbers = [
        {"targetField": field, "destinationType": "number"} for field in ("latitude", "longitude")
    ]
    return (
        geomap.Panel()
        .layers([layer])
        .basemap(common.MapLayerOptions().name("Basemap").type("default"))
        .view(geomap.MapViewConfig().id("fit").all_layers(True))
        .tooltip(geomap.TooltipOptions().mode(TooltipMode.DETAILS))
        .controls(geomap.ControlsOptions().show_zoom(True).mouse_wheel_zoom(False))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="convertFieldType", options={"conversions": numbers, "fields": {}}
            )
        )
    )


def board(
    uid: str,
    title: str,
    about: str,
    variables: Sequence[dashboard.QueryVariable],
    panels: Sequence[Panel],
) -> model.Dashboard:
    """Put panels on a dashboard, with the variables that all of ours share."""
    made = (
        dashboard.Dashboard(title)
        .uid(f"psapwatch-{uid}")
        .description(about)
        .tags(["psapwatch"])
        .refresh("15s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("psapwatch")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["psapwatch"])
            .as_dropdown(False)
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
        )
        .with_variable(
            chosen(
                "instance", "Prober", "label_values(psapwatch_build_info, instance)", several=True
            )
        )
    )
    for variable in variables:
        made = made.with_variable(variable)
    for name, label, url in (
        ("runbooks", "Runbooks at", RUNBOOKS),
        ("daemon", "psapwatch at", DAEMON),
    ):
        made = made.with_variable(
            dashboard.TextBoxVariable(name)
            .label(label)
            .default_value(url)
            .current(model.VariableOption(text=url, value=url))
        )
    for number, panel in enumerate(panels, 1):
        made = made.with_panel(_dressed(panel).id(number))
    built = made.build()
    for each in built.templating.list_val or []:
        each.auto = each.auto_min = each.auto_count = None  # only an interval has these
    return built


def chosen(name: str, label: str, query: str, *, several: bool = False) -> dashboard.QueryVariable:
    """Return a variable with the values of a label."""
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(_SOURCE)
        .query({"query": query, "refId": name})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    if several:
        every = model.VariableOption(text="All", value="$__all")
        variable = variable.multi(True).include_all(True).current(every)
    return variable


_SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")


def _dressed(panel: Panel) -> Drawn:
    link = (
        dashboard.DashboardLink(f"Runbook: {panel.runbook}")
        .type(model.DashboardLinkType.LINK)
        .url(f"${{runbooks:raw}}/{panel.runbook}.md")
        .target_blank(True)
    )
    steps = [model.Threshold(value, colour) for value, colour in panel.steps]
    drawn = (
        panel.draw()
        .title(panel.title)
        .description(panel.about)
        .datasource(_SOURCE)
        .links([link])
        .unit(panel.unit)
        .thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
        .span(panel.wide)
        .height(panel.high)
    )
    if not isinstance(drawn, timeseries.Panel):
        drawn = drawn.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    if panel.leads:
        drawn = drawn.data_links(
            [
                dashboard.DashboardLink(title).url(url).target_blank(True)
                for title, url in panel.leads
            ]
        )
    if panel.empty:
        drawn = drawn.no_value(panel.empty)
    if panel.names:
        results = {
            value: model.ValueMappingResult(text=word, color=colour, index=index)
            for index, (value, word, colour) in enumerate(panel.names)
        }
        drawn = drawn.mappings([model.ValueMap(results)])
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        drawn = drawn.with_target(_target(letter, query))
    return drawn


def _target(letter: str, query: Query) -> prometheus.Dataquery:
    form = {"rows": PromQueryFormat.TABLE, "heatmap": PromQueryFormat.HEATMAP}
    target = (
        prometheus.Dataquery()
        .ref_id(letter)
        .expr(query.expr)
        .legend_format(query.legend)
        .format(form.get(query.answer, PromQueryFormat.TIME_SERIES))
    )
    if query.answer == "heatmap":
        target = target.exemplar(True)
    return target.instant() if query.answer in ("now", "rows") else target.range()


def _newest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
