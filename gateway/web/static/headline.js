// The first line: all is well, or the one thing to look at.

import { age, ago, clock, number, words } from "./format.js";
import { plain, value } from "./model.js";

const WAITING_MAX_S = 120;

/** Everything that deserves a look, the most urgent first, people before devices: [{level: "act" | "look", text, detail}]. */
export function findings(model) {
  if (model.connected === false) {
    const last = model.lastData === null ? "" : `Last data ${clock(model.lastData)}. `;
    return [{ level: "act", text: "The platform does not answer", detail: `${last}This page tries again by itself.` }];
  }
  const found = [];
  const add = (level, text, detail) => found.push({ level, text, detail });
  rooms(model, add);
  model.here("gateway").forEach((gateway) => gatewayFindings(model, gateway, add));
  for (const entity of model.here("meter", "air", "other")) {
    if (model.state(entity) !== "silent") continue;
    add("look", `${words(entity.title)} is silent`, `${where(entity)}Last heard ${ago(model.age(entity) ?? 0)}.`);
  }
  for (const entity of model.here("meter", "air", "bicycle")) {
    const doubtful = entity.values.find((each) => each.quality === "bad");
    if (doubtful) add("look", `Check ${words(entity.title)}`, `${where(entity)}${doubtful.label} is not plausible (${doubtful.reason}).`);
  }
  const urgency = (finding) => (finding.level === "act" ? 0 : 1);
  return found.sort((a, b) => urgency(a) - urgency(b));
}

function where(entity) {
  return entity.place ? `${entity.place}. ` : "";
}

function rooms(model, add) {
  for (const entity of model.here("air")) {
    const co2 = value(entity, "co2");
    if (!co2 || model.state(entity) === "silent" || co2.quality === "bad") continue;
    const light = model.light(co2.value);
    if (light.index === 0) continue;
    const room = entity.place || words(entity.title);
    add(light.class === "bad" ? "act" : "look", `${light.word}: ${room}`, `${number(co2.value)} ppm CO₂. ${light.advice}`);
  }
}

function gatewayFindings(model, gateway, add) {
  const up = plain(gateway, "devicesUp");
  const configured = plain(gateway, "devicesConfigured");
  const state = model.state(gateway);
  if (state === "silent") {
    return add("act", "No word from the gateway", `Last heard ${ago(model.age(gateway) ?? 0)}. Check its power and network.`);
  }
  if (plain(gateway, "linkUp") === false) add("act", "The gateway's link is down", "It keeps the readings and sends them later.");
  if ((plain(gateway, "outboxAge") ?? 0) > WAITING_MAX_S) {
    const waiting = number(plain(gateway, "outboxDepth") ?? 0);
    add("look", "The gateway is catching up", `${waiting} readings wait, the oldest for ${age(plain(gateway, "outboxAge") * 1000)}.`);
  }
  if (up !== null && configured !== null && up < configured) {
    const missing = configured - up;
    const subject = missing === 1 ? "1 device does" : `${missing} devices do`;
    const down = String(plain(gateway, "devicesDown") ?? "").split(", ").filter(Boolean).map(words);
    const told = down.length === 1 && missing === 1 ? `${down[0]} does` : subject;
    const which = down.length > 1 ? `: ${down.join(", ")}` : "";
    add("look", `${told} not answer`, `${up} of ${configured} report${which}. \u201clamppost status\u201d on the gateway says what to do.`);
  }
  return undefined;
}

/** What to say on top: {level, text, detail}, and the rest of the findings. */
export function headline(model) {
  const [first, ...rest] = findings(model);
  if (first) return { ...first, rest };
  return { level: "well", text: "All is well", detail: summary(model), rest };
}

function summary(model) {
  const count = model.here("meter", "air", "bicycle", "other").length;
  const said = [`${count} ${count === 1 ? "device reports" : "devices report"}.`];
  const rooms = model.here("air").filter((entity) => value(entity, "co2"));
  if (rooms.length === 1) said.push(`Fresh air in ${rooms[0].place || words(rooms[0].title)}.`);
  if (rooms.length > 1) said.push(`Fresh air in all ${rooms.length} rooms.`);
  const riding = model.here("bicycle").filter((entity) => model.state(entity) === "fresh" && plain(entity, "speed") > 0.5);
  if (riding.length) said.push(riding.length === 1 ? "1 bicycle is on the road." : `${riding.length} bicycles are on the road.`);
  return said.join(" ");
}
