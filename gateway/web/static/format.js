// Numbers, ages and times as people read them.

const formats = new Map();

export function number(value, digits = 0) {
  if (!formats.has(digits)) {
    formats.set(digits, new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return formats.get(digits).format(value).replace("-", "\u2212");
}

/** "21.4" of a value as the platform sends it; words for states. */
export function shown(value) {
  if (typeof value.value === "boolean") return value.value ? "yes" : "no";
  if (typeof value.value === "string") return value.value;
  return number(value.value, value.digits);
}

export function withUnit(value) {
  return value.unit ? `${shown(value)}\u202f${value.unit}` : shown(value);
}

export function watts(value) {
  return `${number(value)}\u202fW`;
}

export function age(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 1) return "now";
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} days`;
}

export function ago(ms) {
  const words = age(ms);
  return words === "now" ? "just now" : `${words} ago`;
}

const pad = (n) => String(n).padStart(2, "0");

export function clock(ms, seconds = true) {
  const at = new Date(ms);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}${seconds ? `:${pad(at.getSeconds())}` : ""}`;
}

/** "grid-meter" to "Grid meter". */
export function words(name) {
  const spaced = name.replaceAll(/[-_]/g, " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
