"""``lamppost status``: one line that says what to do, then the tables behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import client, daemon_options
from gateway.cli.output import ago, plain, say_json, style, table

# The keys of the status, `*` standing for a name; documented in docs/reference/status.md and stable: keys are added,
# never renamed or removed within version 1 of the control socket.
KEYS: Mapping[str, str] = {
    "role": "Role of the daemon: `edge`, `server` or `both`.",
    "version": "Version of the daemon.",
    "site": "`site.id` of the configuration.",
    "summary": "All is well, or the one thing to do.",
    "ok": "true while all is well.",
    "uptime_s": "Seconds since the daemon started.",
    "clock.source": "Who vouches for the time: `none`, `configured`, `kernel` or `server`.",
    "clock.boot_id": "The kernel's id of this boot.",
    "devices.*.state": "`starting`, `up`, `down` (it fails) or `silent` (it does not speak).",
    "devices.*.bus": "Its bus.",
    "devices.*.template": "Its template.",
    "devices.*.place": "Where it hangs.",
    "devices.*.evidence": "How far its template is proven: `captured`, `agreed`, `one source` or `manual`.",
    "devices.*.last_s": "Seconds since it last answered; null: never.",
    "devices.*.made": "Readings put into the outbox since the stream began.",
    "devices.*.error.code": "Code of the last error; `error` is null while all is well.",
    "devices.*.error.cause": "Its cause.",
    "devices.*.error.fix": "What to do about it.",
    "devices.*.failed": "Reads that failed since the start.",
    "devices.*.outages": "Times that it went down since the start.",
    "devices.*.skipped": "Polls left out because the bus was busy.",
    "devices.*.late_ms_max": "The latest that a poll began after its time, in milliseconds.",
    "devices.*.counters.*": "What is added to what the device itself says, by quantity, where its count began again.",
    "devices.*.passed.*": "Messages that gave no reading, by reason: `damaged`, `dropped` (nobody took it in time),"
    " `thinned` (a later one of the same period replaced it), `repeated` and others.",
    "disaggregation": "Null where disaggregation is not configured.",
    "disaggregation.ready": "Whether the worker tells appliances apart.",
    "disaggregation.compiled": "Whether it is compiled; else slower and smaller.",
    "disaggregation.model": "File of the model in use.",
    "disaggregation.serial": "Serial of a pulled model; null where none was pulled.",
    "disaggregation.expires_s": "When that expires, UTC seconds.",
    "disaggregation.expired": "Whether it has: it goes on, and a new one should be published.",
    "disaggregation.unexplained": "Share of the mains that the model leaves unexplained.",
    "disaggregation.refused": "Serials of models that gave way to the one before.",
    "disaggregation.restarts": "Restarts of the worker.",
    "disaggregation.problem": "Why there is no result or no new model; null while all is well.",
    "disaggregation.problem.code": "Its stable code.",
    "disaggregation.problem.cause": "Its cause.",
    "disaggregation.problem.fix": "What to do about it.",
    "buses.*.passed.*": "The same of messages that came on a bus and reached no device: `dropped`, `flooded`.",
    "outbox.stream": "Id of the outbox's stream.",
    "outbox.depth": "Readings not acknowledged by the server yet.",
    "outbox.age_s": "Age of the oldest of them in seconds.",
    "outbox.bytes": "Size of the outbox on disk.",
    "outbox.kept_bytes": "Of them, what the server has and might lose: it stays for a day at most.",
    "outbox.deferred": "Live readings that a link short of its budget passed over, since the start: they wait.",
    "outbox.volatile": "Readings that only memory holds, because the disk takes nothing; a crash takes them.",
    "outbox.made.*": "Readings put into the outbox since the stream began, by device.",
    "outbox.dropped.*": "Readings dropped, by reason.",
    "outbox.crash_cost": "Readings that crashes cost, at most.",
    "outbox.crashes": "Crashes since the stream began.",
    "outbox.problem": "Why the outbox cannot be written now; empty: it can.",
    "link.name": "The link in use; `link` is null without an uplink.",
    "link.up": "true while the server answers.",
    "link.rtt_s": "Seconds that the last exchange took; null: none yet.",
    "link.bytes_sent": "Bytes sent since the start.",
    "link.bytes_received": "Bytes received since the start.",
    "link.error": "Why the link is down.",
    "uplink.live_age_s": "Seconds since new values were last acknowledged; null: never. `uplink` is null without one.",
    "uplink.backlog": "true while what waited is being sent, or waits for its turn.",
    "uplink.holds": "true while what waited does not go over the link in use, because of its budget or its `carries`.",
    "uplink.thin": "Of live readings of a series one in so many goes over the link in use; the others wait.",
    "uplink.drain_per_s": "Readings of the backlog that the server took, per second, of late.",
    "server.listen": "Address of the server role; `server` is null without it.",
}
_MAPS = (
    "devices", "devices.*.counters", "devices.*.passed", "buses", "buses.*.passed", "outbox.made", "outbox.dropped",
)  # fmt: skip


@click.command("status", short_help="Is all well, and if not, what is to be done?")
@daemon_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; its keys are stable.")
def command(config_file: Path | None, data: Path | None, socket_path: Path | None, as_json: bool) -> int:
    """Say whether all is well, or the one thing to do; then devices, outbox and link.

    Exit code 0: all is well, 1: it is not.
    """
    status: dict[str, Any] = client(config_file, data, socket_path).ask("status")
    if as_json:
        say_json(status)
    else:
        for line in lines(status):
            click.echo(line)
    return 0 if status.get("ok") else 1


def lines(status: Mapping[str, Any]) -> Iterator[str]:
    """The status for people."""
    yield style(plain(str(status.get("summary", ""))), "green" if status.get("ok") else "yellow", bold=True)
    yield plain(
        f"{status.get('site', '')}: {status.get('role', '')}, version {status.get('version', '')},"
        f" up {ago(status.get('uptime_s'))}, clock: {(status.get('clock') or {}).get('source', '')}"
    )
    devices = status.get("devices") or {}
    if devices:
        head = ("device", "state", "last", "made", "bus", "place", "evidence", "what to do")
        yield "\n" + table(head, (_row(name, device) for name, device in devices.items()))
    yield ""
    yield from _ways(status)


def _row(name: str, device: Mapping[str, Any]) -> tuple[object, ...]:
    last = ago(device.get("last_s"))
    error = device.get("error") or {}
    what = error.get("fix", "") if device.get("state") != "up" else ""
    where = device.get("bus"), device.get("place") or "", device.get("evidence") or ""
    return name, device.get("state"), last, device.get("made"), *where, what


def _ways(status: Mapping[str, Any]) -> Iterator[str]:
    outbox, link, uplink, server = (status.get(part) or {} for part in ("outbox", "link", "uplink", "server"))
    if outbox:
        dropped = sum(count for count in (outbox.get("dropped") or {}).values() if isinstance(count, int))
        yield (
            f"outbox: {outbox.get('depth')} readings wait, the oldest {ago(outbox.get('age_s'))};"
            f" {dropped} dropped, crashes cost {outbox.get('crash_cost')} at most"
        )
    if link:
        state = "up" if link.get("up") else f"down ({plain(str(link.get('error') or 'no answer'))})"
        yield f"link {plain(str(link.get('name')))}: {state}"
    if uplink:
        yield f"uplink: new values were acknowledged {ago(uplink.get('live_age_s'))} ago{_backlog(uplink)}"
    if server:
        yield f"server: {plain(str(server.get('listen')))}"


def _backlog(uplink: Mapping[str, Any]) -> str:
    if uplink.get("holds"):
        thin = uplink.get("thin") or 1
        live = f", so are {thin - 1} of {thin} live readings" if thin > 1 else ""
        return f"; what waited is kept for another link{live}"
    return f"; the backlog goes at {uplink.get('drain_per_s')} readings/s" if uplink.get("backlog") else ""


def undocumented(status: Mapping[str, Any]) -> list[str]:
    """Keys of a status that KEYS does not have: there must be none."""
    return sorted({key for key in _flat(status) if key not in KEYS})


def _flat(part: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in part.items():
        path = f"{prefix}.*" if prefix in _MAPS else f"{prefix}.{key}" if prefix else key
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        elif value is not None or path in KEYS or not any(known.startswith(f"{path}.") for known in KEYS):
            yield path
