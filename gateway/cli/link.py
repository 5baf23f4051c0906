"""``lamppost link``: each way out as measured, and why the one in use was chosen and the others were not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gateway.cli.options import client, daemon_options
from gateway.cli.output import ago, plain, say_json, style, table

# The keys of a link, documented in docs/reference/status.md and stable as those of the status are.
KEYS: Mapping[str, str] = {
    "name": "Name of the link; the links stand in the order of preference.",
    "used": "true for the link in use.",
    "state": "`used`, `ready` (works, another is preferred), `untried`, `waits` (works again, not for long enough),"
    " `asleep` (in use, down until there is something to send), `weak`, `alarms-only` (its budget),"
    " `closed` (its hours), `down`, `portal`, `stalled` or `failing`.",
    "why": "The same in words.",
    "interface": "The network interface that it is bound to now; null: whatever the routing table says.",
    "connection": "The connection of NetworkManager, where it is one.",
    "up": "true where the interface is up and has an address.",
    "since_s": "Seconds since it came up or went down.",
    "last_ack_s": "Seconds since the server last acknowledged something over it; null: never.",
    "error": "What the last exchange or probe that failed said.",
    "rtt_s": "Round trip in seconds, smoothed; null: none yet.",
    "loss": "Share of the last 20 probes that were lost; null: too few.",
    "signal": "Signal, 0 to 1; null: not measured.",
    "operator": "Operator of the mobile network.",
    "technology": "Such as `lte`.",
    "roaming": "true in a foreign network; null: not known.",
    "addresses": "IP addresses of the interface.",
    "dns": "The name servers that are asked over this link.",
    "cost": "`free` or `metered`.",
    "holds": "true while what waited does not go over it, because of its budget or its `carries`.",
    "thin": "Of live readings of a series one in so many goes over it; the others wait with the backlog.",
    "carries": "What may travel on it now: `alarm`, `live`, `history`.",
    "month": "First day of the month that the bytes are counted in; null: the time is not known yet.",
    "bytes": "Bytes in this month, both ways, as the kernel counts them on the interface.",
    "budget": "Bytes that this month may have; null: no budget.",
}
HEAD = ("link", "state", "rtt", "loss", "signal", "operator", "acknowledged", "this month", "why")


@click.command("link", short_help="The ways out: how good each is, and why one is used.")
@daemon_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array; its keys are stable.")
def command(config_file: Path | None, data: Path | None, socket_path: Path | None, as_json: bool) -> int:
    """Say how good each link is, what it has cost this month, and why one is used and the others are not.

    Exit code 0: a link is in use, 1: there is none.
    """
    links: list[dict[str, Any]] = client(config_file, data, socket_path).ask("links")
    if as_json:
        say_json(links)
    else:
        for line in lines(links):
            click.echo(line)
    return 0 if any(link.get("used") for link in links) else 1


def lines(links: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The links for people."""
    used = next((link for link in links if link.get("used")), None)
    if used is None:
        yield style("no link can be used", "yellow", bold=True)
    else:
        yield style(plain(f"{used.get('name')} is used: {used.get('why')}"), "green", bold=True)
    yield "\n" + table(HEAD, (_row(link) for link in links))
    for link in links:
        if link.get("holds"):
            thin = link.get("thin") or 1
            live = f"; of live readings one in {thin} goes over it" if thin > 1 else ""
            yield f"\n{plain(str(link.get('name')))}: what waited is kept for another link{live}"
        if link.get("error"):
            yield f"\n{plain(str(link.get('name')))}: {plain(str(link['error']))}"


def _row(link: Mapping[str, Any]) -> tuple[object, ...]:
    rtt, operator = link.get("rtt_s"), " ".join(str(link.get(key) or "") for key in ("operator", "technology"))
    abroad = " (roaming)" if link.get("roaming") else ""
    return (
        link.get("name"),
        link.get("state"),
        "-" if rtt is None else f"{1000 * rtt:.0f} ms",
        _percent(link.get("loss")),
        _percent(link.get("signal")),
        (operator.strip() or "-") + abroad,
        ago(link.get("last_ack_s")),
        _bytes(link),
        link.get("why"),
    )


def _percent(share: Any) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _bytes(link: Mapping[str, Any]) -> str:
    used, budget = link.get("bytes") or 0, link.get("budget")
    if link.get("interface") is None:
        return "-"
    return f"{used / 1e6:.1f} MB" if budget is None else f"{used / 1e6:.1f} of {budget / 1e6:.0f} MB"
