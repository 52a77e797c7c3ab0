// What a dashboard file of ours may contain, in the words of Grafana's own schema. A test has the
// TypeScript compiler compare: it finds unknown options, misspelt keys and values out of range.
import type { Dashboard, DataQuery, FieldConfigSource, Panel, TableFieldOptions, VariableModel } from "@grafana/schema";
import type * as bargauge from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type * as geomap from "@grafana/schema/dist/esm/raw/composable/geomap/panelcfg/x/GeomapPanelCfg_types.gen";
import type * as heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as statetimeline from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** A type as JSON can write it: an enum by its values. */
type Json<T> = T extends string ? `${T}` : T extends number ? number : T extends boolean | null | undefined ? T
  : T extends (infer U)[] ? Json<U>[] : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
/** A question to Prometheus. */
type Target = Json<DataQuery> & { expr: string; legendFormat: string; format: "time_series" | "table" | "heatmap";
  instant?: boolean; range?: boolean; exemplar?: boolean };
/** One panel with the options of its kind. */
type Drawn<Type extends string, Options, Custom> = Json<Omit<Panel, "type" | "options" | "fieldConfig" | "targets">> & {
  type: Type; options: Json<Options>; targets: Target[];
  fieldConfig: { defaults: Json<Omit<FieldConfigSource["defaults"], "custom">> & { custom?: Json<Custom> }; overrides: never[] } };
type AnyPanel = Drawn<"bargauge", bargauge.Options, never> | Drawn<"geomap", geomap.Options, never>
  | Drawn<"heatmap", heatmap.Options, heatmap.FieldConfig> | Drawn<"stat", stat.Options, never>
  | Drawn<"state-timeline", statetimeline.Options, statetimeline.FieldConfig>
  | Drawn<"table", table.Options, TableFieldOptions> | Drawn<"timeseries", timeseries.Options, timeseries.FieldConfig>;
/** One dashboard file. */
export type Board = Json<Omit<Dashboard, "panels" | "templating">> & { panels: AnyPanel[];
  templating: { list: Json<VariableModel>[] } };
