// The list of what is reporting, and the card of the gateway.

import { h, keyed, set, text } from "./dom.js";
import { age, ago, number, withUnit, words } from "./format.js";
import { plain } from "./model.js";

export const STATE_WORDS = { fresh: "Live", late: "Late", silent: "Silent", resting: "Resting", unknown: "Unknown" };
const CHIPS = 4;

export function showDevices(list, model) {
  keyed(list, model.here("meter", "air", "bicycle", "other"), (entity) => entity.id, () => deviceRow(model));
}

function deviceRow(model) {
  const parts = {
    state: h("span", { class: "state" }),
    name: h("span", { class: "row-name" }),
    place: h("span", { class: "row-place" }),
    evidence: h("span", { class: "evidence", title: "How far the register map or decoder of this model is proven" }),
    chips: h("span", { class: "chips" }),
    age: h("span", { class: "row-age figure" }),
    all: h("dl", { class: "all" }),
    id: h("p", { class: "note" }),
  };
  const under = h("span", { class: "row-under" }, parts.place, parts.evidence);
  const who = h("span", { class: "who" }, parts.name, under);
  const summary = h("summary", {}, parts.state, who, parts.chips, parts.age);
  const details = h("details", {}, summary, h("div", { class: "more" }, parts.all, parts.id));
  const node = h("li", { class: "row" }, details);
  return { node, update: (entity) => updateRow(node, parts, entity, model) };
}

function updateRow(node, parts, entity, model) {
  const state = model.state(entity);
  set(node, "data-state", state);
  set(node, "data-id", entity.id);
  text(parts.state, STATE_WORDS[state]);
  text(parts.name, words(entity.title));
  text(parts.place, entity.place);
  text(parts.evidence, entity.evidence);
  parts.evidence.hidden = !entity.evidence;
  text(parts.age, entity.at === null ? "never" : age(model.age(entity)));
  const mains = entity.values.filter((value) => value.main);
  const chosen = (mains.length ? mains : entity.values).slice(0, CHIPS);
  keyed(parts.chips, chosen, (value) => value.key, chip);
  keyed(parts.all, entity.values, (value) => value.key, () => pair(model));
  text(parts.id, entity.id);
}

function chip() {
  const label = h("span", { class: "chip-label" });
  const figure = h("span", { class: "figure" });
  const flag = h("span", { class: "flag", hidden: true });
  const node = h("span", { class: "chip" }, label, figure, flag);
  return { node, update: (value) => { text(label, value.label); text(figure, withUnit(value)); showFlag(flag, value); } };
}

function pair(model) {
  const label = h("dt");
  const figure = h("span", { class: "figure" });
  const flag = h("span", { class: "flag", hidden: true });
  const when = h("span", { class: "row-age figure" });
  const node = h("div", {}, label, h("dd", {}, figure, flag, when));
  const update = (value) => {
    text(label, value.label);
    text(figure, withUnit(value));
    text(when, value.at ? age(model.now() - value.at) : "");
    showFlag(flag, value);
  };
  return { node, update };
}

/** The quality of a value where it is not good: "suspect: jump". */
export function showFlag(flag, value) {
  const bad = value.quality !== "good";
  flag.hidden = !bad;
  if (bad) text(flag, value.reason ? `${value.quality}: ${value.reason}` : value.quality);
  set(flag, "data-quality", value.quality);
}

// ---- the gateway ----------------------------------------------------------------------------------------------------

export function showGateways(box, model) {
  keyed(box, model.here("gateway"), (entity) => entity.id, () => gatewayCard(model));
}

function gatewayCard(model) {
  const state = h("span", { class: "state" });
  const heard = h("span", { class: "sub figure" });
  const list = h("dl", { class: "facts" });
  const head = h("div", { class: "card-head" }, h("h2", {}, "Gateway"), h("p", { class: "sub" }, state, " ", heard));
  const node = h("section", { class: "card gateway", "aria-label": "Gateway" }, head, list);
  const update = (entity) => {
    const word = model.state(entity);
    set(node, "data-state", word);
    text(state, STATE_WORDS[word]);
    text(heard, entity.at === null ? "" : ago(model.age(entity)));
    keyed(list, facts(entity), (fact) => fact.label, fact);
  };
  return { node, update };
}

function fact() {
  const label = h("dt");
  const figure = h("dd", { class: "figure" });
  const note = h("dd", { class: "note" });
  const node = h("div", {}, label, figure, note);
  return {
    node,
    update: (item) => {
      text(label, item.label);
      text(figure, item.value);
      text(note, item.note ?? "");
      set(node, "data-mark", item.mark ?? null);
    },
  };
}

function facts(entity) {
  const at = (key) => plain(entity, key);
  const count = (key) => (at(key) === null ? "\u2013" : number(at(key)));
  const depth = at("outboxDepth") ?? 0;
  const missing = (at("devicesConfigured") ?? 0) - (at("devicesUp") ?? 0);
  const up = at("linkUp");
  return [
    { label: "Link", value: up === false ? "down" : "up", note: at("linkName") ?? "", mark: up === false ? "act" : "well" },
    { label: "Devices up", value: `${count("devicesUp")} of ${count("devicesConfigured")}`, mark: missing > 0 ? "look" : "well" },
    { label: "Waiting to be sent", value: number(depth), note: depth ? `oldest ${age((at("outboxAge") ?? 0) * 1000)}` : "nothing waits" },
    { label: "Readings made", value: count("readingsMade") },
    { label: "Dropped", value: count("readingsDropped"), mark: at("readingsDropped") ? "look" : null },
    { label: "Lost in crashes", value: at("crashCost") ? `at most ${count("crashCost")}` : "none", mark: at("crashCost") ? "look" : null },
  ];
}

