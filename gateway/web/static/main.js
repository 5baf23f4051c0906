// Puts the page together: state, events, the clock, and what to show when there is nothing or nobody to ask.

import { follow, json, login, Refused } from "./api.js";
import { showBicycles, showClimate, showDust, showRooms } from "./cards.js";
import { $, keyed, set, text, h } from "./dom.js";
import { age, clock, words } from "./format.js";
import { headline } from "./headline.js";
import { Model, plain } from "./model.js";
import { PowerCard } from "./power.js";
import { showDevices, showGateways, STATE_WORDS } from "./rows.js";

const model = new Model();
const power = new PowerCard();
let dirty = false;
let stop = null;

async function load() {
  const state = await json("api/console/state");
  model.load(state);
  text($("foot"), `Lamppost ${state.version}`);
  power.setSite(model.site);
  for (const entity of model.here("meter", "appliance")) power.live.set(entity.id, plain(entity, "totalActivePower"));
  await power.load();
}

const events = {
  async open() {
    try {
      await load();
      model.connected = true;
      showConnection();
      render();
    } catch (error) {
      if (error instanceof Refused) return events.refused();
      setTimeout(() => model.connected !== false && events.open(), 2000);
    }
    return undefined;
  },
  event(name, data) {
    if (name === "resync") return void events.open();
    if (name === "gone") {
      model.entities.delete(data.id);
      return void later();
    }
    if (name !== "entity" || !model.settings) return;
    const fresh = !model.entities.has(data.id);
    model.put(data);
    if (fresh) power.setSite((model.site ??= data.site));
    if (data.site === model.site && (data.kind === "meter" || data.kind === "appliance")) {
      power.setLive(data.id, plain(data, "totalActivePower"));
    }
    later();
  },
  lost() {
    if (model.connected === false) return;
    model.connected = false;
    showConnection();
    if (model.settings) render();
  },
  refused() {
    $("token").hidden = false;
    $("grid").hidden = $("empty").hidden = true;
    set($("headline"), "data-level", "look");
    text($("headline-text"), "Who are you?");
    text($("headline-detail"), "This platform shows its values to those who have its token.");
    text($("live-text"), "Locked");
  },
};

/** Many events, one picture: at most one rendering a frame. */
function later() {
  if (dirty) return;
  dirty = true;
  requestAnimationFrame(() => { dirty = false; render(); });
}

function render() {
  const empty = model.entities.size === 0;
  $("empty").hidden = !empty;
  $("grid").hidden = empty;
  showHeadline(empty);
  showSites();
  if (empty) return showEmpty();
  showRooms($("rooms"), model);
  showBicycles($("bicycles"), model);
  showClimate($("climate"), model);
  showDust($("dust"), $("dust-note"), model);
  showDevices($("devices"), model);
  showGateways($("gateways"), model);
  const devices = model.here("meter", "air", "bicycle", "other");
  const counts = Object.entries(STATE_WORDS).map(([state, word]) => [devices.filter((each) => model.state(each) === state).length, word]);
  text($("devices-sub"), counts.filter(([count]) => count).map(([count, word]) => `${count} ${word.toLowerCase()}`).join(", "));
  return undefined;
}

function showHeadline(empty) {
  const said = empty
    ? { level: "wait", text: "No data yet", detail: "The platform is up and waits for its first gateway.", rest: [] }
    : headline(model);
  set($("headline"), "data-level", said.level);
  text($("headline-text"), said.text);
  text($("headline-detail"), said.detail);
  document.title = `${said.level === "well" ? "" : "● "}${said.text} · ${siteName()}`;
  $("also").hidden = said.rest.length === 0;
  keyed($("also"), said.rest.slice(0, 4), (item) => item.text, () => {
    const strong = h("strong");
    const detail = h("span");
    return { node: h("li", {}, strong, " ", detail), update: (item) => { text(strong, item.text); text(detail, item.detail); } };
  });
}

function siteName() {
  if (!model.site) return "Lamppost";
  return model.here("gateway")[0]?.place || words(model.site);
}

function showSites() {
  const sites = model.sites();
  text($("site"), model.site ? siteName() : "");
  $("site-choice").hidden = sites.length < 2;
  if (sites.length < 2) return;
  keyed($("site-select"), sites, (site) => site, (site) => ({ node: h("option", { value: site }, words(site) || "no site") }));
  $("site-select").value = model.site;
}

function showConnection() {
  const state = model.connected ? "live" : "lost";
  set($("live"), "data-state", state);
  text($("live-text"), model.connected ? "Live" : "Offline");
  $("banner").hidden = model.connected;
  const last = model.lastData === null ? "none yet" : clock(model.lastData);
  text($("banner"), model.connected ? "" : `Connection lost, last data ${last}. Trying again\u2026`);
  document.body.classList.toggle("stale", !model.connected);
}

function showEmpty() {
  const { origin } = location;
  text($("empty-config"), `uplink:\n  url: ${origin}`);
  text($("empty-curl"), [
    `curl ${origin}/ngsi-ld/v1/entities -H 'Content-Type: application/json' -d '{`,
    '  "id": "urn:ngsi-ld:AirQualityObserved:school:room-1",',
    '  "type": "AirQualityObserved",',
    '  "co2": {"type": "Property", "value": 612, "unitCode": "59",',
    `    "observedAt": "${new Date().toISOString()}"}`,
    "}'",
  ].join("\n"));
}

function tick() {
  text($("clock"), clock(model.now()));
  set($("clock"), "datetime", new Date(model.now()).toISOString());
  if (model.lastData !== null && model.connected) set($("live"), "title", `Last data ${age(Date.now() - model.lastData)} ago`);
  if (model.settings && $("token").hidden && !document.hidden) render();
}

$("theme").addEventListener("click", () => window.toggleTheme());
$("site-select").addEventListener("change", (event) => {
  model.site = event.target.value;
  power.setSite(model.site);
  power.load();
  render();
});
$("token").addEventListener("submit", async (event) => {
  event.preventDefault();
  const right = await login(new FormData($("token")).get("token")).catch(() => false);
  $("token").reset();
  $("token").hidden = right;
  text($("token-note"), right ? "" : "That is not the token of this platform.");
  if (right) start();
});

function start() {
  stop?.();
  stop = follow("api/console/events", events);
}

setInterval(tick, 1000);
tick();
start();
