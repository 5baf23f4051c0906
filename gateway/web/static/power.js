// The power card: asks for the series, keeps them up to date, shows the bands and the legend.

import { json } from "./api.js";
import { StackChart } from "./chart.js";
import { colour } from "./canvas.js";
import { $, h, keyed, set, text } from "./dom.js";
import { clock, watts, words } from "./format.js";

const REFETCH_MS = 4000;
const BACK_MS = 60_000; // late readings may still fill the last minute
const SPAN_MIN_MS = 120_000;
// From the bottom up; an appliance keeps its colour on every site.
const COLOURS = ["base-load", "fridge", "freezer", "heat-pump", "washing-machine", "dishwasher", "electric-car", "oven", "kettle", "microwave"];
const SAME = { car: "electric-car", "dish-washer": "dishwasher", "washer-dryer": "washing-machine", "electric-stove": "oven" };
const SPARE = ["a", "b", "c", "d"];

export class PowerCard {
  constructor() {
    this.card = $("power");
    this.chart = new StackChart($("chart"), (index) => this.legend(index));
    this.minutes = 60;
    this.chosen = false;
    this.raw = null;
    this.live = new Map();
    this.asked = 0;
    this.timer = null;
    for (const button of this.card.querySelectorAll("[data-minutes]")) {
      button.addEventListener("click", () => this.choose(Number(button.dataset.minutes)));
    }
    document.addEventListener("themechange", () => this.render());
  }

  choose(minutes) {
    this.chosen = true;
    this.minutes = minutes;
    this.load();
  }

  setSite(site) {
    if (site !== this.site) { this.site = site; this.raw = null; }
  }

  /** Present power by entity id, as it comes with each event. */
  setLive(id, value) {
    this.live.set(id, value);
    this.legend(this.chart.cursor);
    this.soon();
  }

  soon() {
    this.timer ??= setTimeout(() => { this.timer = null; this.load(true); }, Math.max(0, this.asked + REFETCH_MS - Date.now()));
  }

  async load(onlyNew = false) {
    this.asked = Date.now();
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const query = new URLSearchParams({ minutes: this.minutes });
    if (this.site) query.set("site", this.site);
    const last = this.raw && lastKnown(this.raw.total);
    const joined = onlyNew && this.raw?.minutes === this.minutes && last !== null;
    if (joined) query.set("since", this.raw.first_ms + last * this.raw.step_ms - BACK_MS);
    let answer;
    try {
      answer = await json(`api/console/power?${query}`);
    } catch { return; } // the next event asks again
    if (turn !== this.turn || !answer.meter) return;
    answer.minutes = this.minutes;
    this.raw = joined ? join(this.raw, answer) : answer;
    if (!this.raw) return void this.load();
    const span = this.span();
    if (!this.chosen && this.minutes === 60 && span < 8 * 60_000) { this.minutes = 10; return void this.load(); }
    if (!this.chosen && this.minutes === 10 && span >= 9.5 * 60_000) { this.minutes = 60; return void this.load(); }
    this.render();
  }

  span() {
    const first = this.raw.total.findIndex((value) => value !== null);
    return first < 0 ? 0 : (this.raw.total.length - first) * this.raw.step_ms;
  }

  render() {
    if (!this.raw) return;
    this.card.hidden = false;
    this.bands = bandsOf(this.raw);
    this.view = trim(this.raw, this.bands);
    for (const button of this.card.querySelectorAll("[data-minutes]")) {
      set(button, "aria-pressed", String(Number(button.dataset.minutes) === this.minutes));
    }
    const { meter } = this.raw;
    text($("power-sub"), [words(meter.title), meter.place].filter(Boolean).join(" · "));
    this.chart.show(this.view);
    this.legend(this.chart.cursor);
    const box = $("chart");
    box.dataset.points = this.view.total.filter((value) => value !== null).length;
    box.dataset.bands = this.bands.map((band) => band.name).join(",");
  }

  legend(index) {
    if (!this.view) return;
    const read = index !== null && index < this.view.total.length;
    const at = this.view.firstMs + (index ?? 0) * this.view.stepMs;
    const total = read ? this.view.total[index] : this.liveTotal();
    text($("power-when"), read ? `At ${clock(at)}` : "Now");
    text($("power-total"), total === null ? "no data" : watts(total));
    const rows = [...this.view.bands].reverse().map((band) => ({ ...band, watts: read ? band.values[index] : this.liveBand(band, total) }));
    keyed($("power-legend"), rows, (row) => row.name, (row) => this.legendRow(row));
    const parts = rows.filter((row) => row.watts > 1).map((row) => `${row.label} ${Math.round(row.watts)} watts`);
    const last = this.view.total.length - 1;
    set($("chart"), "aria-valuemax", last);
    set($("chart"), "aria-valuenow", read ? index : last);
    set($("chart"), "aria-valuetext", `${read ? `At ${clock(at)}` : "Now"} ${Math.round(total ?? 0)} watts. ${parts.join(", ")}`);
  }

  liveTotal() {
    return this.live.get(this.raw.meter.id) ?? this.view.total[lastKnown(this.view.total)] ?? null;
  }

  liveBand(band, total) {
    if (band.id) return this.live.get(band.id) ?? band.values[lastKnown(this.view.total)] ?? null;
    const known = this.view.bands.reduce((sum, each) => sum + (each.id ? this.liveBand(each) ?? 0 : 0), 0);
    return total === null ? null : Math.max(0, total - known);
  }

  legendRow(row) {
    const figure = h("span", { class: "figure" });
    const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
    const node = h("li", {}, swatch, h("span", { class: "legend-name" }, row.label), figure);
    node.addEventListener("pointerenter", () => this.chart.highlight(row.name));
    node.addEventListener("pointerleave", () => this.chart.highlight(null));
    const update = ({ watts: value, colour: tint }) => {
      swatch.style.backgroundColor = tint;
      const off = value === null || Math.abs(value) < 1;
      text(figure, value === null ? "\u2013" : off ? "off" : watts(value));
      set(node, "data-off", off);
    };
    return { node, update };
  }
}

function lastKnown(values) {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return i;
  return null;
}

/** Steady loads at the bottom, known ones in the order of the table, "other" on top. */
function bandsOf(raw) {
  let spare = 0;
  const bands = raw.bands
    .map((band) => ({ ...band, rank: COLOURS.indexOf(kindOf(band.name)) }))
    .sort((a, b) => (a.rank < 0) - (b.rank < 0) || a.rank - b.rank || a.name.localeCompare(b.name))
    .map((band) => ({ ...band, label: words(band.name), colour: colour(`band-${COLOURS[band.rank] ?? SPARE[spare++ % SPARE.length]}`) }));
  const label = bands.length ? "Other" : "Everything";
  return [...bands, { id: null, name: "other", label, colour: colour("band-other"), watts: raw.other }];
}

function kindOf(name) {
  const plain = name.replaceAll("_", "-");
  return SAME[plain] ?? plain;
}

/** Only what is known: from the first value (but at least two minutes) to the last. */
function trim(raw, bands) {
  const first = raw.total.findIndex((value) => value !== null);
  const last = lastKnown(raw.total) ?? raw.total.length - 1;
  const least = Math.ceil(SPAN_MIN_MS / raw.step_ms);
  const from = Math.max(0, Math.min(first < 0 ? 0 : first, last - least));
  const cut = (values) => values.slice(from, last + 1);
  return {
    firstMs: raw.first_ms + from * raw.step_ms,
    stepMs: raw.step_ms,
    total: cut(raw.total),
    bands: bands.map((band) => ({ ...band, values: cut(band.watts) })),
  };
}

/** Put newer buckets over and behind older ones; both lie on one grid. Null where they do not fit together. */
function join(old, fresh) {
  const shift = Math.round((fresh.first_ms - old.first_ms) / old.step_ms);
  if (shift < 0 || shift > old.total.length || fresh.bands.length !== old.bands.length) return null;
  const keep = Math.round((old.minutes * 60_000) / old.step_ms);
  const length = shift + fresh.total.length;
  const drop = Math.max(0, length - keep);
  const glue = (a, b) => [...a.slice(0, shift), ...b].slice(drop);
  const byId = new Map(fresh.bands.map((band) => [band.id, band.watts]));
  return {
    ...fresh,
    first_ms: old.first_ms + drop * old.step_ms,
    total: glue(old.total, fresh.total),
    other: glue(old.other, fresh.other),
    bands: old.bands.map((band) => ({ ...band, watts: glue(band.watts, byId.get(band.id) ?? []) })),
  };
}
