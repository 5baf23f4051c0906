"""``lamppost models score --plot``: the scores as one HTML page without scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gateway.cli.appliances_page import COLOURS, STYLE

if TYPE_CHECKING:
    from gateway.pipeline.nilm.batch import Array
    from gateway.pipeline.nilm.evaluate import Evaluation

WIDTH, HEIGHT, LEFT, POINTS = 1000, 130, 170, 800
DAY_S = 86400
HEAD = ("appliance", "MAE W", "NDE", "SAE", "EA", "F1", "event F1", "on from W")


def page(result: Evaluation) -> str:
    """The HTML: scores, energies, calibration, and the day in which the labelled appliances used most."""
    title = f"<title>Scores of {html.escape(result.recording.name)}</title><meta charset='utf-8'>"
    parts = [
        f"<h1>{html.escape(result.recording.name)}</h1><p>EA {_text(result.report.ea)}; predicting zero "
        f"{_text(result.report.ea_zero)}, the mean {_text(result.report.ea_mean)}</p>",
        f"<h2>Scores</h2>{_scores(result)}<h2>Energy, true (dark) and estimated (light), kWh</h2>{_energies(result)}",
        f"<h2>Calibration</h2>{_calibration(result.report.calibration)}",
        f"<h2>A day: true (dark) and estimated (light), W</h2>{_day(result)}",
    ]
    head = f"<head>{title}<style>{STYLE}</style></head>"
    return f"<!doctype html><html lang='en'>{head}<body>{''.join(parts)}</body></html>"


def telling_day(truth: Mapping[str, Array], period_s: float) -> slice:
    """The rows of the day in which the labelled appliances used most energy; days count from the first row."""
    rows = max(1, round(DAY_S / period_s))
    used = np.sum([np.nan_to_num(np.abs(own)) for own in truth.values()], axis=0)
    sums = np.add.reduceat(used, np.arange(0, len(used), rows))
    first = int(np.argmax(sums)) * rows
    return slice(first, min(first + rows, len(used)))


def _scores(result: Evaluation) -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in (html.escape(name), *map(_text, values))) + "</tr>"
        for name, one in sorted(result.report.appliances.items(), key=lambda item: item[0])
        for values in [(one.mae_w, one.nde, one.sae, one.ea, one.f1, one.event_f1, one.threshold_w)]
    )
    return f"<table><tr>{''.join(f'<th>{title}</th>' for title in HEAD)}</tr>{rows}</table>"


def _energies(result: Evaluation) -> str:
    """A pair of bars for each appliance, over the rows of which the truth and the mains are known."""
    hours, mains = result.recording.period_s / 3.6e6, result.recording.mains
    pairs = {}
    for name, true in result.recording.appliances.items():
        known = ~np.isnan(true) & ~np.isnan(mains)
        guess = result.estimate.get(name, np.zeros(len(true)))
        pairs[name] = (float(true[known].sum()) * hours, float(guess[known].sum()) * hours)
    most = max([1e-9, *(value for pair in pairs.values() for value in pair)])
    out = [f"<svg viewBox='0 0 {WIDTH} {40 * len(pairs)}' role='img' aria-label='Energy'>"]
    for row, (name, pair) in enumerate(pairs.items()):
        out.append(f"<text x='{LEFT - 10}' y='{40 * row + 22}' text-anchor='end'>{html.escape(name)}</text>")
        for k, value in enumerate(pair):
            width, y = max(0.0, value) / most * (WIDTH - LEFT - 100), 40 * row + 4 + 15 * k
            fill = f"height='14' fill='{COLOURS[row % len(COLOURS)]}' opacity='{1 - 0.5 * k}'"
            out.append(f"<rect x='{LEFT}' y='{y}' width='{width:.1f}' {fill}/>")
            out.append(f"<text x='{LEFT + width + 6:.1f}' y='{y + 12}'>{value:.3f}</text>")
    return "".join([*out, "</svg>"])


def _calibration(bins: Sequence[tuple[float, float, int]]) -> str:
    """How often on or off was right, over the confidence in it; the line is where the two are alike."""
    if not bins:
        return "<p>No confidence to compare: nothing was estimated.</p>"
    side = 300
    dots = "".join(
        f"<circle cx='{20 + told * side:.1f}' cy='{20 + (1 - right) * side:.1f}' r='5' fill='{COLOURS[0]}'>"
        f"<title>told {told:.3f}, right {right:.3f}, {count} samples</title></circle>"
        for told, right, count in bins
    )
    line = f"<line class='grid' x1='20' y1='{20 + side}' x2='{20 + side}' y2='20'/>"
    return f"<svg viewBox='0 0 {WIDTH} {side + 40}' role='img' aria-label='Calibration'>{line}{dots}</svg>"


def _day(result: Evaluation) -> str:
    """Mains, then each appliance: a row each, its own scale."""
    rows = telling_day(result.recording.appliances, result.recording.period_s)
    lines = [("mains", [result.recording.mains[rows]])]
    for name, true in result.recording.appliances.items():
        lines.append((name, [true[rows], result.estimate.get(name, np.zeros(len(true)))[rows]]))
    out = [f"<p>Rows {rows.start} to {rows.stop - 1}: where the labelled appliances used most.</p>"]
    out.append(f"<svg viewBox='0 0 {WIDTH} {HEIGHT * len(lines)}' role='img' aria-label='Power over a day'>")
    for k, (name, curves) in enumerate(lines):
        most = max([1.0, *(float(np.nanmax(own)) for own in curves if not np.isnan(own).all())])
        label = f"{html.escape(name)}, to {most:.0f}"
        out.append(f"<text x='{LEFT - 10}' y='{HEIGHT * k + 20}' text-anchor='end'>{label}</text>")
        for n, own in enumerate(curves):
            stroke = f"stroke='{COLOURS[k % len(COLOURS)]}' opacity='{1 - 0.5 * n}'"
            out.append(f"<path d='{_path(own, most, HEIGHT * k)}' fill='none' {stroke}/>")
    return "".join([*out, "</svg>"])


def _path(watts: Array, most: float, top: int) -> str:
    """The highest of each of at most POINTS parts; a gap interrupts the line."""
    step = max(1, math.ceil(len(watts) / POINTS))
    out, pen = [], "M"
    for first in range(0, len(watts), step):
        part = watts[first : first + step]
        if np.isnan(part).all():
            pen = "M"
            continue
        x = LEFT + first / len(watts) * (WIDTH - LEFT)
        y = top + HEIGHT - 10 - max(0.0, float(np.nanmax(part))) / most * (HEIGHT - 20)
        out.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return "".join(out)


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"
