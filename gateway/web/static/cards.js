// The cards about rooms, air, dust and bicycles.

import { h, keyed, set, text } from "./dom.js";
import { ago, number, shown, withUnit, words } from "./format.js";
import { value } from "./model.js";
import { showFlag } from "./rows.js";
import { Spark } from "./spark.js";

const LAMPS = ["✓", "!", "✕"]; // the meaning does not hang on the colour alone; the bad one is on top, as on the street

// ---- the CO2 light --------------------------------------------------------------------------------------------------

export function showRooms(box, model) {
  const rooms = model.here("air").filter((entity) => value(entity, "co2"));
  keyed(box, rooms, (entity) => entity.id, () => roomCard(model));
  box.hidden = rooms.length === 0;
}

function roomCard(model) {
  const parts = {
    title: h("h2"),
    sub: h("p", { class: "sub" }),
    lamps: [2, 1, 0].map((index) => h("span", { class: "lamp", "data-lamp": index }, LAMPS[index])),
    word: h("p", { class: "light-word" }),
    advice: h("p", { class: "light-advice" }),
    figure: h("span", { class: "light-figure figure" }),
    flag: h("span", { class: "flag", hidden: true }),
    canvas: h("canvas", { "aria-hidden": "true" }),
    note: h("p", { class: "note" }),
  };
  const marks = model.settings.light.classes.map((each) => each.below ?? each.upto).filter(Boolean);
  const light = h("div", { class: "light" },
    h("div", { class: "lamps", "aria-hidden": "true" }, ...parts.lamps),
    h("div", {}, parts.word, parts.advice, h("p", { class: "light-now" }, parts.figure, h("span", { class: "unit" }, " ppm CO₂ "), parts.flag)));
  const node = h("section", { class: "card room" }, h("div", { class: "card-head" }, parts.title, parts.sub),
    light, h("div", { class: "spark tall" }, parts.canvas), parts.note);
  const line = new Spark(parts.canvas, { marks, floor: 400, ceiling: 1100 });
  return { node, update: (entity) => updateRoom(node, parts, line, entity, model) };
}

function updateRoom(node, parts, line, entity, model) {
  const co2 = value(entity, "co2");
  const old = model.freshness(entity) === "silent" || co2.quality === "bad";
  const light = model.light(co2.value);
  set(node, "data-class", old ? "unknown" : light.class);
  text(parts.title, entity.place || words(entity.title));
  text(parts.sub, ago(model.now() - co2.at));
  text(parts.word, old ? "Not known" : light.word);
  text(parts.advice, old ? "The sensor does not say anything that can be relied on." : light.advice);
  text(parts.figure, number(co2.value));
  showFlag(parts.flag, co2);
  for (const lamp of parts.lamps) set(lamp, "data-on", !old && Number(lamp.dataset.lamp) === light.index);
  line.tint = old ? "muted" : ["good", "warn", "bad"][light.index];
  line.show(model.trend(entity, "co2"));
  text(parts.note, `Last hour · limits: ${model.settings.light.name}`);
}

// ---- tiles: one thing each, a large figure, smaller ones beside it ----------------------------------------------------

function tile(model, fill) {
  const parts = {
    name: h("h3"),
    place: h("p", { class: "sub" }),
    figure: h("span", { class: "tile-figure figure" }),
    unit: h("span", { class: "unit" }),
    flag: h("span", { class: "flag", hidden: true }),
    word: h("p", { class: "tile-word" }),
    side: h("p", { class: "tile-side figure" }),
    canvas: h("canvas", { "aria-hidden": "true" }),
    age: h("p", { class: "note figure" }),
  };
  const head = h("div", { class: "tile-head" }, h("div", {}, parts.name, parts.place), parts.age);
  const body = h("div", { class: "tile-body" }, h("p", {}, parts.figure, parts.unit, parts.flag), parts.word, parts.side);
  parts.spark = h("div", { class: "spark" }, parts.canvas);
  const node = h("li", { class: "tile" }, head, body, parts.spark);
  parts.line = new Spark(parts.canvas);
  const update = (entity) => {
    text(parts.name, words(entity.title));
    text(parts.place, entity.place);
    text(parts.age, entity.at === null ? "" : ago(model.age(entity)));
    set(node, "data-state", model.state(entity));
    set(node, "data-id", entity.id);
    fill(entity, parts, node);
  };
  return { node, update };
}

function big(parts, entity, key, model, after = "") {
  const main = value(entity, key);
  text(parts.figure, shown(main));
  text(parts.unit, `\u202f${main.unit}${after}`);
  showFlag(parts.flag, main);
  parts.line.show(model.trend(entity, key));
}

function side(entity, keys) {
  return keys.map((key) => value(entity, key)).filter(Boolean).map((each) => `${each.label} ${withUnit(each)}`.replaceAll(" ", "\u00a0")).join(" · ");
}

function showTiles(card, entities, model, fill) {
  card.hidden = entities.length === 0;
  keyed(card.querySelector(".tiles"), entities, (entity) => entity.id, () => tile(model, fill));
}

export function showClimate(card, model) {
  const entities = model.here("air").filter((entity) => value(entity, "temperature"));
  showTiles(card, entities, model, (entity, parts) => {
    big(parts, entity, "temperature", model);
    text(parts.side, side(entity, ["relativeHumidity", "pressure"]));
  });
}

export function showDust(card, note, model) {
  const entities = model.here("air").filter((entity) => value(entity, "pm25"));
  showTiles(card, entities, model, (entity, parts, node) => {
    big(parts, entity, "pm25", model, " PM2.5");
    const { word, index } = model.dust("pm25", value(entity, "pm25").value);
    text(parts.word, word);
    set(node, "data-band", index);
    text(parts.side, side(entity, ["pm10", "pm1"]));
  });
  text(note, `Bands: ${model.settings.dust.name}; a single moment only hints at them.`);
}

export function showBicycles(card, model) {
  showTiles(card, model.here("bicycle"), model, (entity, parts, node) => {
    const resting = model.state(entity) === "resting";
    const speed = value(entity, "speed");
    const riding = !resting && speed?.value > 0.5;
    text(parts.figure, resting ? "Resting" : speed ? shown(speed) : "Here");
    text(parts.unit, resting || !speed ? "" : `\u202f${speed.unit}`);
    set(node, "data-riding", riding);
    if (speed) showFlag(parts.flag, speed);
    text(parts.word, resting ? `last seen ${ago(model.age(entity) ?? 0)}` : riding ? "riding" : "standing");
    text(parts.side, side(entity, resting ? ["distance"] : ["cadence", "distance"]));
    parts.spark.hidden = resting;
    parts.line.show(model.trend(entity, "speed"));
  });
}
