// A small trend line with thresholds.

import { begin, colour, fit, font } from "./canvas.js";

export class Spark {
  /** marks: values that get a labelled line; floor and ceiling: the least range shown. */
  constructor(canvas, { marks = [], floor = null, ceiling = null, tint = "accent" } = {}) {
    Object.assign(this, { canvas, marks, floor, ceiling, tint, samples: [] });
    fit(canvas, () => this.draw());
  }

  show(samples) {
    if (samples === this.samples) return;
    this.samples = samples;
    this.draw();
  }

  draw() {
    const area = begin(this.canvas);
    if (!area || this.samples.length < 2) return;
    const { ctx, width, height } = area;
    const values = this.samples.map(([, value]) => value);
    const spread = Math.max(...values) - Math.min(...values);
    const low = Math.min(this.floor ?? Infinity, Math.min(...values) - spread * 0.15 - 0.05);
    const high = Math.max(this.ceiling ?? -Infinity, Math.max(...values) + spread * 0.15 + 0.05);
    const [from] = this.samples[0];
    const to = this.samples.at(-1)[0];
    const x = (at) => ((at - from) / Math.max(1, to - from)) * (width - 6) + 1;
    const y = (value) => height - 3 - ((value - low) / (high - low)) * (height - 7);
    this.drawMarks(ctx, width, y, high);
    const line = new Path2D();
    this.samples.forEach(([at, value], index) => (index ? line.lineTo(x(at), y(value)) : line.moveTo(x(at), y(value))));
    const fill = new Path2D(line);
    fill.lineTo(x(to), height);
    fill.lineTo(x(from), height);
    ctx.fillStyle = colour(this.tint);
    ctx.globalAlpha = 0.12;
    ctx.fill(fill);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = colour(this.tint);
    ctx.lineWidth = 1.75;
    ctx.lineJoin = "round";
    ctx.stroke(line);
    ctx.fillStyle = colour(this.tint);
    ctx.beginPath();
    ctx.arc(x(to), y(values.at(-1)), 3, 0, 7);
    ctx.fill();
  }

  drawMarks(ctx, width, y, high) {
    ctx.font = font(11);
    ctx.setLineDash([2, 4]);
    for (const mark of this.marks.filter((value) => value <= high)) {
      ctx.strokeStyle = colour("line-strong");
      ctx.beginPath();
      ctx.moveTo(0, Math.round(y(mark)) + 0.5);
      ctx.lineTo(width, Math.round(y(mark)) + 0.5);
      ctx.stroke();
      ctx.fillStyle = colour("muted");
      ctx.fillText(String(mark), 0, y(mark) - 4);
    }
    ctx.setLineDash([]);
  }
}
