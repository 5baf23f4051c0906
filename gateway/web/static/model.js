// What the page knows: entities by id, and what their ages and values mean. No DOM here.

export class Model {
  constructor() {
    this.entities = new Map();
    this.trends = {};
    this.settings = null;
    this.offset = 0; // platform's clock minus ours, ms
    this.site = null;
    this.lastData = null; // by our clock
    this.connected = null; // null: not yet
  }

  load(state) {
    this.settings = state.settings;
    this.offset = state.now - Date.now();
    this.trends = state.trends;
    this.entities = new Map(state.entities.map((entity) => [entity.id, entity]));
    const latest = Math.max(0, ...state.entities.map((entity) => entity.at ?? 0));
    this.lastData = latest ? latest - this.offset : this.lastData;
    if (!this.sites().includes(this.site)) this.site = this.sites()[0] ?? null;
  }

  /** An event: the entity as it is now. */
  put(entity) {
    this.entities.set(entity.id, entity);
    this.lastData = Date.now();
    for (const [key, samples] of Object.entries(this.trends[entity.id] ?? {})) {
      const fresh = value(entity, key);
      const last = samples.at(-1);
      if (!fresh?.at || (last && fresh.at <= last[0])) continue;
      const from = fresh.at - 3_600_000;
      this.trends[entity.id][key] = [...samples.filter(([at]) => at >= from).slice(-720), [fresh.at, fresh.value]];
    }
  }

  now() {
    return Date.now() + this.offset;
  }

  sites() {
    return [...new Set([...this.entities.values()].map((entity) => entity.site))].sort();
  }

  here(...kinds) {
    return [...this.entities.values()]
      .filter((entity) => entity.site === this.site && (!kinds.length || kinds.includes(entity.kind)))
      .sort((a, b) => a.name.localeCompare(b.name));
  }

  trend(entity, key) {
    return ((this.trends[entity.id] ??= {})[key] ??= []);
  }

  age(entity) {
    return entity.at === null ? null : Math.max(0, this.now() - entity.at);
  }

  /** "fresh", "late" or "silent"; "resting" for a bicycle that stands; "unknown" while nobody tells us. */
  state(entity) {
    return this.connected === false ? "unknown" : this.freshness(entity);
  }

  freshness(entity) {
    const { states } = this.settings;
    const limits = states[entity.kind] ?? states.default;
    const age = this.age(entity);
    if (age === null) return "silent";
    if (age < limits.late_s * 1000) return "fresh";
    if (limits.silent_s === null) return "resting";
    return age < limits.silent_s * 1000 ? "late" : "silent";
  }

  /** The class of the CO2 light that a concentration falls into. */
  light(ppm) {
    const { classes } = this.settings.light;
    const index = classes.findIndex((c) => ("below" in c ? ppm < c.below : "upto" in c ? ppm <= c.upto : true));
    return { ...classes[index], index };
  }

  /** The word for a dust concentration, null for sizes without bands. */
  dust(key, concentration) {
    const { upto, words } = this.settings.dust;
    if (!upto[key]) return null;
    const index = upto[key].findIndex((bound) => concentration <= bound);
    return { index: index < 0 ? words.length - 1 : index, word: words.at(index) };
  }
}

export function value(entity, key) {
  return entity.values.find((each) => each.key === key);
}

export function plain(entity, key) {
  return value(entity, key)?.value ?? null;
}
