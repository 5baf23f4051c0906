"""``lamppost appliances page``: the day as coloured bands, and a way to correct a label.

A small web server of the user's own, on loopback, for as long as the command runs: who may ask the daemon may see it.
The address has a random part, so nobody else on the box, and no page of another site, finds it.
"""

from __future__ import annotations

import html
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from gateway.errors import LamppostError

Run = Mapping[str, Any]
Runs = Callable[[float, float], Sequence[Run]]
Names = Callable[[], Sequence[str]]
Correct = Callable[[str, float, str], str]
BODY_MAX = 4096
WIDTH, ROW, LEFT, TOP = 1000, 34, 150, 30
COLOURS = ("#2a6f97", "#f6b26b", "#58b9ab", "#9a95e0", "#ee8a72", "#93cf97", "#d89bc8", "#c9b387", "#86a8e7")
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:66rem;padding:0 1rem}"
    "svg{width:100%;height:auto}text{fill:currentColor;font-size:14px}.grid{stroke:currentColor;opacity:.15}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;text-align:left;border-bottom:1px solid #8884}"
    "form{display:flex;gap:.5rem}input,button{font:inherit}.said{font-weight:600}nav{display:flex;gap:1rem}"
)


def page(day: date, zone: ZoneInfo, runs: Sequence[Run], names: Sequence[str], said: str = "") -> str:
    """The HTML of a day in a time zone: bands, and a table of its runs with a form each."""
    head = f"<title>Appliances, {day}</title><meta name='viewport' content='width=device-width'><style>{STYLE}</style>"
    before, after = day - timedelta(days=1), day + timedelta(days=1)
    nav = (
        f"<nav><a href='?day={before}'>&larr; {before}</a><b>{day} ({html.escape(zone.key)})</b>"
        f"<a href='?day={after}'>{after} &rarr;</a></nav>"
    )
    told = f"<p class='said' role='status'>{html.escape(said)}</p>" if said else ""
    body = (
        _bands(day, zone, runs) + _table(day, zone, runs, names)
        if runs
        else "<p>No appliance ran, as far as is known.</p>"
    )
    return f"<!doctype html><html lang='en'><head>{head}</head><body><h1>Appliances</h1>{nav}{told}{body}</body></html>"


def _bands(day: date, zone: ZoneInfo, runs: Sequence[Run]) -> str:
    """One row an appliance, time to the right; a day of 23 or 25 hours is drawn as long as it is."""
    start_s, day_s = _start(day, zone), _start(day + timedelta(days=1), zone) - _start(day, zone)
    names = sorted({str(run["name"]) for run in runs})
    height = TOP + ROW * len(names)
    parts = [f"<svg viewBox='0 0 {WIDTH} {height}' role='img' aria-label='When each appliance was on'>"]
    for hour in range(0, 25, 3):
        x = LEFT + (WIDTH - LEFT - 20) * min(1.0, hour * 3600 / day_s)
        parts.append(f"<line class='grid' x1='{x:.1f}' x2='{x:.1f}' y1='{TOP - 6}' y2='{height}'/>")
        parts.append(f"<text x='{x:.1f}' y='16' text-anchor='middle'>{hour:02d}</text>")
    for row, name in enumerate(names):
        y = TOP + ROW * row
        parts.append(f"<text x='{LEFT - 10}' y='{y + 20}' text-anchor='end'>{html.escape(name)}</text>")
        for run in (run for run in runs if run["name"] == name):
            first = max(0.0, (run["start_s"] - start_s) / day_s)
            last = min(1.0, (run["end_s"] - start_s) / day_s)
            x, width = LEFT + (WIDTH - LEFT - 20) * first, max(2.0, (WIDTH - LEFT - 20) * (last - first))
            title = html.escape(
                f"{name}: {_clock(run['start_s'], zone)} to {_clock(run['end_s'], zone)}, {run['kwh']:.3f} kWh"
            )
            parts.append(
                f"<rect x='{x:.1f}' y='{y + 4}' width='{width:.1f}' height='{ROW - 10}' rx='3' "
                f"fill='{COLOURS[row % len(COLOURS)]}'><title>{title}</title></rect>"
            )
    return "".join([*parts, "</svg>"])


def _table(day: date, zone: ZoneInfo, runs: Sequence[Run], names: Sequence[str]) -> str:
    listed = "".join(f"<option value='{html.escape(name, quote=True)}'>" for name in names)
    rows = []
    for run in sorted(runs, key=lambda run: -float(run["start_s"])):
        name = html.escape(str(run["name"]), quote=True)
        was = f" <small>(was {html.escape(str(run['was']))})</small>" if run.get("was") else ""
        seconds = float(run["end_s"]) - float(run["start_s"])
        watts = f"{run['kwh'] * 3.6e6 / seconds:.0f}" if seconds > 0 else ""
        form = (
            f"<form method='post' action='correct?day={day}'><input type='hidden' name='name' value='{name}'>"
            f"<input type='hidden' name='start_s' value='{run['start_s']!r}'>"
            "<input name='right' list='names' required maxlength='64' aria-label='What it was' placeholder='it was...'>"
            "<button>Correct</button></form>"
        )
        cells = (name + was, _clock(run["start_s"], zone), _clock(run["end_s"], zone), watts, f"{run['kwh']:.3f}", form)
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{title}</th>" for title in ("appliance", "from", "to", "W", "kWh", "wrong?"))
    return f"<datalist id='names'>{listed}</datalist><table><tr>{head}</tr>{''.join(rows)}</table>"


def serve(
    port: int, zone: ZoneInfo, runs: Runs, names: Callable[[], Sequence[str]], correct: Correct
) -> tuple[ThreadingHTTPServer, str]:
    """A server that listens, and its address; ``correct`` returns what to say. The caller runs and closes it."""
    path = f"/{secrets.token_urlsafe(16)}/"

    class Handler(BaseHTTPRequestHandler):
        """One request."""

        def do_GET(self) -> None:
            """The page of a day."""
            self._answer("")

        def do_POST(self) -> None:
            """A correction, then the page again."""
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > BODY_MAX or not self.path.startswith(f"{path}correct"):
                self.send_error(400)
                return
            given = parse_qs(self.rfile.read(int(length)).decode("utf-8", "replace"))
            values = [given.get(name, [""])[0] for name in ("name", "start_s", "right")]
            try:
                said = correct(values[0], float(values[1]), values[2].strip())
            except (LamppostError, ValueError) as error:
                said = f"{error}. {getattr(error, 'fix', '')}"
            self._answer(said)

        def _answer(self, said: str) -> None:
            parts = urlsplit(self.path)
            if not parts.path.startswith(path):
                self.send_error(404)
                return
            asked = parse_qs(parts.query).get("day", [""])[0]
            try:
                day = date.fromisoformat(asked) if asked else datetime.now(zone).date()
                found = runs(_start(day, zone), _start(day + timedelta(days=1), zone))
                status, text = 200, page(day, zone, found, names(), said)
            except (LamppostError, ValueError, OverflowError) as error:
                status, text = 400, f"<!doctype html><p>{html.escape(str(error))}</p>"
            body = text.encode("utf-8")
            self.send_response(status)
            for name, value in {**HEADERS, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the address holds the secret."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    return server, f"http://127.0.0.1:{server.server_address[1]}{path}"


def _start(day: date, zone: ZoneInfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _clock(seconds: float, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(seconds, zone).strftime("%H:%M:%S")
