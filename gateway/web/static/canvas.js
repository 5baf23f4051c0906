// What both charts share: a sharp canvas that follows the size of its box and the theme, and the colours of the page.

export function fit(canvas, draw) {
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(canvas.parentElement);
  document.addEventListener("themechange", draw);
}

/** Clear the canvas at the screen's resolution. Returns {ctx, width, height} in CSS pixels, null while it is hidden. */
export function begin(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !height) return null;
  const ratio = Math.min(devicePixelRatio || 1, 3);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  return { ctx, width, height };
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function font(size, weight = 400) {
  return `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
}

/** Round steps (1, 2, 5 x 10^n) that cut 0..max into at most `count` parts. */
export function niceStep(max, count) {
  const raw = max / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= raw);
}
