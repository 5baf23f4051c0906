"""Checks of the links: what tells them apart, and what each needs so that its settings have an effect."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.config.problem import Problem
from gateway.config.tree import Node, shown

_SAME = {
    "name": ("config.duplicate-link", "two links are called {}"),
    "interface": ("config.shared-interface", "two links use the interface {}"),
    "connection": ("config.shared-interface", "two links use the connection {}"),
}


def check_links(root: Node) -> Iterator[Problem]:
    """All that is wrong with the links."""
    node = root.get("links")
    links = node.data if node is not None and isinstance(node.data, list) else []
    seen: dict[tuple[str, str], int] = {}
    for link in links:
        yield from _twins(link, seen)
        yield from _way(link, several=len(links) > 1)
        yield from _values(link)


def _twins(link: Node, seen: dict[tuple[str, str], int]) -> Iterator[Problem]:
    for key, (code, cause) in _SAME.items():
        node, text = link.get(key), link.text(key)
        if node is None or text is None:
            continue
        if (key, text) in seen:
            hint = f"it stands in line {seen[key, text]} already"
            yield Problem(code, cause.format(shown(text)), node.place(), hint)
        seen.setdefault((key, text), node.line + 1)


def _way(link: Node, *, several: bool) -> Iterator[Problem]:
    """Over which interface a link goes, and what only works where that is known."""
    connection, apn = link.get("connection"), link.get("modem", "apn")
    bound = link.get("interface") is not None or connection is not None or apn is not None
    if link.get("interface") is not None and connection is not None:
        yield Problem("config.link-way", "a link has an interface or a connection, not both", connection.place())
    if several and not bound:
        cause = "with several links each needs an interface or a connection"
        yield Problem("config.link-way", cause, link.place(), fix="Add `interface`, such as wlan0 or wwan0.")
    if connection is not None and apn is not None:
        fix = "Remove `apn`, or `connection`: with `apn` Lamppost has a connection of its own."
        yield Problem("config.link-way", "the connection has an access point already", apn.place(), fix=fix)
    budget, demand, idle = link.get("budget"), link.get("on_demand"), link.get("idle")
    if idle is not None and (demand is None or demand.data is not True):
        cause = "only a connection on demand is taken down when it is idle"
        yield Problem("config.link-way", cause, idle.place(), fix="Add `on_demand: true`, or remove `idle`.")
    if budget is not None and not bound:
        yield Problem("config.link-way", "bytes are counted on an interface, and none is named", budget.place())
    if demand is not None and demand.data is True and connection is None and apn is None:
        yield Problem("config.link-way", "only a connection can be brought up on demand", demand.place())


def _values(link: Node) -> Iterator[Problem]:
    for hours in _items(link, "hours"):
        begin, dash, end = str(hours.data).partition("-")
        if dash and begin == end:
            hint = "leave `hours` out where the link may always be used"
            yield Problem("config.value", f"{shown(str(hours.data))} begins when it ends", hours.place(), hint)
    for server in _items(link, "dns"):
        if isinstance(server.data, str) and not _is_address(server.data):
            cause = f"{shown(server.data)} is not the IP address of a name server"
            yield Problem("config.value", cause, server.place())
    node, probe = link.get("probe"), link.text("probe")
    if node is not None and probe is not None and not _is_web(probe):
        yield Problem("config.url", f"{shown(probe)} cannot be asked", node.place(), "http:// or https://, no login")


def _items(link: Node, key: str) -> list[Node]:
    node = link.get(key)
    return node.data if node is not None and isinstance(node.data, list) else []


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
    except ValueError:
        return False
