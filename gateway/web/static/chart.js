// Stacked bands over time on a canvas: each appliance a band, "other" on top, up to the metered total.

import { begin, colour, fit, font, niceStep } from "./canvas.js";

const TICKS_MS = [10e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3, 1800e3, 3600e3, 7200e3, 14400e3];
const PAD = { top: 14, right: 2, bottom: 24, left: 46 };

export class StackChart {
  /** onCursor(index or null): where the reader points. */
  constructor(box, onCursor) {
    this.box = box;
    this.canvas = box.querySelector("canvas");
    this.onCursor = onCursor;
    this.data = null;
    this.cursor = null;
    this.focusBand = null;
    fit(this.canvas, () => this.draw());
    box.addEventListener("pointermove", (event) => this.point(event));
    box.addEventListener("pointerdown", (event) => this.point(event));
    box.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.move(null));
    box.addEventListener("blur", () => this.move(null));
    box.addEventListener("keydown", (event) => this.key(event));
  }

  /** data: {firstMs, stepMs, total: [], bands: [{name, colour, values: []}]}, the bands from the bottom up. */
  show(data) {
    if (this.cursor !== null && this.data) {
      this.cursor = Math.round((this.data.firstMs + this.cursor * this.data.stepMs - data.firstMs) / data.stepMs);
      if (this.cursor < 0 || this.cursor >= data.total.length) this.move(null);
    }
    this.data = data;
    this.draw();
  }

  highlight(name) {
    this.focusBand = name;
    this.draw();
  }

  point(event) {
    if (!this.data) return;
    const left = event.clientX - this.canvas.getBoundingClientRect().left - PAD.left;
    const count = this.data.total.length;
    const index = Math.round((left / (this.canvas.clientWidth - PAD.left - PAD.right)) * (count - 1));
    this.move(left < -6 ? null : Math.max(0, Math.min(count - 1, index)));
  }

  key(event) {
    if (!this.data) return;
    const last = this.data.total.length - 1;
    const stride = Math.max(1, Math.round(last / 60));
    const at = this.cursor ?? last;
    const target = { ArrowLeft: at - stride, ArrowRight: at + stride, Home: 0, End: last }[event.key];
    if (event.key === "Escape") this.move(null);
    if (target === undefined) return;
    event.preventDefault();
    this.move(Math.max(0, Math.min(last, target)));
  }

  move(index) {
    if (index === this.cursor) return;
    this.cursor = index;
    this.onCursor(index);
    this.draw();
  }

  draw() {
    const area = this.data && begin(this.canvas);
    if (!area) return;
    const { ctx, width, height } = area;
    const scale = this.scale(width, height);
    this.drawGrid(ctx, width, height, scale);
    const edges = this.stack();
    edges.forEach((edge, band) => this.drawBand(ctx, scale, edge, band));
    this.drawTotal(ctx, scale);
    ctx.font = font(11.5, 600);
    edges.forEach((edge, band) => this.drawLabel(ctx, scale, edge, band));
    if (this.cursor !== null) this.drawCursor(ctx, scale, height);
  }

  scale(width, height) {
    const { total } = this.data;
    const known = total.filter((value) => value !== null);
    const top = Math.max(100, ...known) * 1.06;
    const bottom = Math.min(0, ...known);
    const step = niceStep(top - bottom, height < 220 ? 3 : 4);
    const span = top - bottom;
    const inner = { width: width - PAD.left - PAD.right, height: height - PAD.top - PAD.bottom };
    return {
      step, top, bottom,
      x: (index) => PAD.left + (index / Math.max(1, total.length - 1)) * inner.width,
      y: (value) => PAD.top + (1 - (value - bottom) / span) * inner.height,
    };
  }

  /** Lower and upper edge of each band. Estimates that add up to more than was metered are cut at the metered total. */
  stack() {
    const { total, bands } = this.data;
    let lower = total.map(() => 0);
    return bands.map(({ values }) => {
      const from = lower;
      const to = from.map((base, i) => Math.min(base + (values[i] ?? 0), Math.max(0, total[i] ?? 0)));
      lower = to;
      return { from, to };
    });
  }

  /** Runs of buckets with a total: gaps in the data stay gaps in the picture. */
  runs() {
    const found = [];
    let start = null;
    this.data.total.forEach((value, i) => {
      if (value !== null && start === null) start = i;
      if (value === null && start !== null) { found.push([start, i - 1]); start = null; }
    });
    if (start !== null) found.push([start, this.data.total.length - 1]);
    return found;
  }

  drawBand(ctx, { x, y }, { from, to }, band) {
    const { name, colour: fill } = this.data.bands[band];
    ctx.globalAlpha = this.focusBand === null || this.focusBand === name ? 1 : 0.22;
    for (const [a, b] of this.runs()) {
      const path = new Path2D();
      const upper = new Path2D();
      for (let i = a; i <= b; i++) {
        path.lineTo(x(i), y(to[i]));
        upper.lineTo(x(i), y(to[i]));
      }
      for (let i = b; i >= a; i--) path.lineTo(x(i), y(from[i]));
      ctx.fillStyle = fill;
      ctx.fill(path);
      ctx.strokeStyle = colour("surface");
      ctx.lineWidth = 1;
      ctx.stroke(upper);
    }
    ctx.globalAlpha = 1;
  }

  drawTotal(ctx, { x, y }) {
    ctx.strokeStyle = colour("ink");
    ctx.lineWidth = 1.5;
    ctx.lineJoin = "round";
    for (const [a, b] of this.runs()) {
      ctx.beginPath();
      for (let i = a; i <= b; i++) ctx.lineTo(x(i), y(this.data.total[i]));
      ctx.stroke();
    }
  }

  /** Write the name into the band where it is thick enough for long enough. */
  drawLabel(ctx, { x, y }, { from, to }, band) {
    const { name, label } = this.data.bands[band];
    if (this.focusBand !== null && this.focusBand !== name) return;
    const need = ctx.measureText(label).width + 14;
    const reach = Math.ceil((need / 2) / Math.max(0.01, x(1) - x(0)));
    let best = { room: 17, at: null };
    for (let i = reach; i < to.length - reach; i += Math.max(1, reach >> 2)) {
      let low = Infinity;
      let high = -Infinity;
      for (let k = i - reach; k <= i + reach; k++) {
        if (this.data.total[k] === null) { low = -Infinity; break; }
        low = Math.min(low, y(from[k]));
        high = Math.max(high, y(to[k]));
      }
      if (low - high > best.room) best = { room: low - high, at: i, y: (low + high) / 2 };
    }
    if (best.at === null) return;
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.fillStyle = colour("on-band");
    ctx.fillText(label, x(best.at), best.y + 0.5);
  }

  drawGrid(ctx, width, height, { step, top, bottom, x, y }) {
    const { firstMs, stepMs, total } = this.data;
    const kilo = top >= 1000;
    ctx.font = font(11.5);
    ctx.lineWidth = 1;
    ctx.textBaseline = "middle";
    ctx.textAlign = "right";
    for (let value = Math.ceil(bottom / step) * step; value <= top; value += step) {
      ctx.strokeStyle = colour(value === 0 ? "line-strong" : "line");
      ctx.beginPath();
      ctx.moveTo(PAD.left, Math.round(y(value)) + 0.5);
      ctx.lineTo(width, Math.round(y(value)) + 0.5);
      ctx.stroke();
      ctx.fillStyle = colour("muted");
      ctx.fillText(tickLabel(value, kilo), PAD.left - 8, y(value));
    }
    const spanMs = (total.length - 1) * stepMs;
    const tick = TICKS_MS.find((ms) => spanMs / ms <= Math.max(2, (width - PAD.left) / 86)) ?? TICKS_MS.at(-1);
    const zone = new Date(firstMs).getTimezoneOffset() * 60_000;
    ctx.textAlign = "center";
    for (let at = Math.ceil((firstMs - zone) / tick) * tick + zone; at <= firstMs + spanMs; at += tick) {
      const left = x((at - firstMs) / stepMs);
      if (left < PAD.left + 14 || left > width - 20) continue;
      ctx.fillText(timeLabel(at, tick), left, height - 9);
    }
  }

  drawCursor(ctx, { x, y }, height) {
    const left = Math.round(x(this.cursor)) + 0.5;
    ctx.strokeStyle = colour("ink");
    ctx.lineWidth = 1;
    ctx.beginPath();
    ctx.moveTo(left, PAD.top - 6);
    ctx.lineTo(left, height - PAD.bottom);
    ctx.stroke();
    const value = this.data.total[this.cursor];
    if (value === null) return;
    ctx.beginPath();
    ctx.arc(left, y(value), 4, 0, 7);
    ctx.fillStyle = colour("surface");
    ctx.fill();
    ctx.lineWidth = 2;
    ctx.stroke();
  }
}

function tickLabel(value, kilo) {
  if (value === 0) return "0";
  return kilo ? `${+(value / 1000).toFixed(2)} kW` : `${Math.round(value)} W`;
}

function timeLabel(ms, tick) {
  const at = new Date(ms);
  const two = (n) => String(n).padStart(2, "0");
  const minutes = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return tick < 60e3 ? `${minutes}:${two(at.getSeconds())}` : minutes;
}
