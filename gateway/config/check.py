"""Checks across the parts of a configuration: the site, what is reachable, and the files that are named.

They look at the file's tree, not at the validated model: so they find what they can in a file that has other mistakes,
and say where. What follows from a mistake that is reported already is not reported again.
"""

from __future__ import annotations

import ipaddress
import os
import stat
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from gateway.config.check_devices import check_devices
from gateway.config.check_links import check_links
from gateway.config.problem import Problem, meant
from gateway.config.schema import Config
from gateway.config.tree import Node, shown
from gateway.errors import Place

Role = Literal["edge", "server", "both"]
Mistyped = frozenset[tuple[str, ...]]
PLAIN, SECURE = frozenset({"http", "mqtt"}), frozenset({"https", "mqtts", "coap"})  # CoAP has OSCORE
SERVER_PORT, LOCAL_PORT = 9090, 9091  # the defaults of the schema


def check(root: Node, config: Config | None, folder: Path, mistyped: Mistyped, role: Role | None) -> list[Problem]:
    """All that is wrong across parts. ``mistyped``: paths of mappings with unknown keys, where nothing is missed."""
    return [
        *_empty_parts(root),
        *_time_zone(root),
        *_server(root, mistyped),
        *_uplink(root),
        *_pulled_models(root),
        *check_links(root),
        *_files(root, folder),
        *_role(root, mistyped, role),
        *check_devices(root, config, mistyped),
    ]


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this box."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _empty_parts(root: Node) -> Iterator[Problem]:
    for key in ("server", "uplink", "disaggregation"):
        node = root.get(key)
        if node is not None and node.data is None:
            yield Problem("config.empty", f"'{key}' is empty and so has no effect", root.key_place(key))


def _time_zone(root: Node) -> Iterator[Problem]:
    node = root.get("site", "time_zone")
    name = root.text("site", "time_zone")
    if node is None or name is None:
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = {zone.lower(): zone for zone in zoneinfo.available_timezones()}
        hint = meant(name, known, listed_max=0)
        for low, zone in known.items():
            hint = hint.replace(f"'{low}'", f"'{zone}'")
        yield Problem("config.time-zone", f"{shown(name)} is not a time zone", node.place(), hint)


def _server(root: Node, mistyped: Mistyped) -> Iterator[Problem]:
    for part, needs in (("server", ("tls", "token_file")), ("local", ())):
        host = root.text(part, "listen", "host")
        if host is None or is_loopback(host):
            continue
        place = _place(root, part, "listen", "host")
        if not needs:
            yield Problem("config.exposed", f"{shown(host)} is not loopback: metrics stay on this box", place)
            continue
        missing = [key for key in needs if root.get(part, key) is None or _is_null(root, part, key)]
        if missing and (part,) not in mistyped:
            cause = f"{shown(host)} can be reached from outside: {' and '.join(f'`{key}`' for key in missing)} needed"
            yield Problem("config.exposed", cause, place, fix="Add them, or listen on 127.0.0.1.")
    replica = root.get("server", "database_replica")
    if replica is not None and root.get("server", "database") is None:
        cause = "a replica without the database that it is one of"
        yield Problem("config.replica", cause, replica.place(), fix="Name that one in `server.database`.")
    broker = root.text("server", "mqtt", "host")
    if broker is not None and not is_loopback(broker) and root.get("server", "mqtt", "tls") is None:
        cause = f"all data would come unencrypted from {shown(broker)}"
        yield Problem("config.plain-http", cause, _place(root, "server", "mqtt", "host"), fix="Add `tls: true`.")
    ports = [_number(root, "server", default=SERVER_PORT), _number(root, "local", default=LOCAL_PORT)]
    if root.get("server") is not None and ports[0] == ports[1] != 0:
        part = "local" if root.get("local", "listen", "port") is not None else "server"
        cause = f"port {ports[0]} is taken by `{'server' if part == 'local' else 'local'}`"
        yield Problem("config.port-taken", cause, _place(root, part, "listen", "port"))


def _pulled_models(root: Node) -> Iterator[Problem]:
    """A key is of no use where models cannot be pulled."""
    node = root.get("disaggregation", "key")
    if node is None or node.data is None:
        return
    url = root.text("uplink", "url")
    if url is None or urlsplit(url).scheme not in ("http", "https"):
        cause = "models are pulled from `uplink.url`, which is " + ("not there" if url is None else "not http(s)")
        yield Problem("config.no-pull", cause, node.place())


def _uplink(root: Node) -> Iterator[Problem]:
    node, url = root.get("uplink", "url"), root.text("uplink", "url")
    if node is None or url is None:
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in PLAIN | SECURE and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        yield Problem("config.url", f"{shown(url)} is not the address of a server", node.place())
        return
    if parts.username is not None or parts.password is not None:
        yield Problem("config.secret", "a login in the address", node.place(), fix="Use `token_file`.")
    if parts.query or parts.fragment:
        yield Problem("config.url", "an address with a query or a fragment", node.place())
    pair = [key for key in ("certificate_file", "key_file") if root.get("uplink", key) is not None]
    if len(pair) == 1:
        place = _place(root, "uplink", *pair)
        yield Problem("config.certificate-alone", f"`{pair[0]}` stands alone", place)
    if parts.scheme in PLAIN and not is_loopback(parts.hostname or ""):
        token = root.text("uplink", "token_file" if parts.scheme == "http" else "password_file") is not None
        code = "config.token-in-clear" if token else "config.plain-http"
        cause = f"{'the secret' if token else 'all data'} would go unencrypted to {shown(parts.hostname or '')}"
        yield Problem(code, cause, node.place(), f"did you mean '{parts.scheme}s'?")
    yield from _language(root, node, parts.scheme)


def _language(root: Node, url: Node, scheme: str) -> Iterator[Problem]:
    if scheme not in ("http", "https") and root.text("uplink", "language") != "compact":
        cause = f"NGSI-LD is not spoken over {scheme}"
        yield Problem("config.url", cause, url.place(), fix="Add `language: compact`, or give an https address.")
    if scheme == "coap" and root.get("uplink", "credentials_file") is None:
        cause = "CoAP without OSCORE keys"
        yield Problem("config.no-keys", cause, url.place(), fix="Give `credentials_file`.")


def _files(root: Node, folder: Path) -> Iterator[Problem]:
    buses = root.get("buses")
    paths = [("server", "token_file"), ("server", "tls", "key")]
    paths += [("uplink", key) for key in ("token_file", "password_file", "credentials_file", "key_file")]
    paths += [
        ("server", "mqtt", "password_file"),
        ("server", "database_password_file"),
        ("server", "mqtt", "key_file"),
        ("server", "coap", "credentials_file"),
    ]
    public = [("server", "tls", "certificate"), ("uplink", "ca_file"), ("uplink", "certificate_file")]
    public += [("server", "mqtt", key) for key in ("ca_file", "certificate_file")]
    for name, _ in buses.items() if buses is not None else ():
        paths += [("buses", name, key) for key in ("password_file", "credentials_file", "key_file")]
        public += [("buses", name, key) for key in ("ca_file", "certificate_file")]
    devices = root.get("devices")
    paths += [("devices", name, "key_file") for name, _ in (devices.items() if devices is not None else ())]
    for path in [*paths, *public]:
        node, text = root.get(*path), root.text(*path)
        if node is not None and text is not None:
            yield from _file(node, folder / text, secret=path in paths)
    links = root.get("links")
    for link in links.data if links is not None and isinstance(links.data, list) else ():
        for key in ("password_file", "pin_file"):
            node, text = link.get("modem", key), link.text("modem", key)
            if node is not None and text is not None:
                yield from _file(node, folder / text, secret=True)
    model, text = root.get("disaggregation", "model"), root.text("disaggregation", "model")
    if model is not None and text is not None and not (folder / text).exists():
        yield Problem("config.no-model", f"there is no model {shown(text, 120)} yet", model.place())


def _file(node: Node, path: Path, *, secret: bool) -> Iterator[Problem]:
    name = shown(str(path), 120)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.parent.exists():
            yield Problem("config.file-missing", f"there is no file {name}", node.place())
        else:  # nor its folder: most likely this is another box than the one that the file is for
            yield Problem("config.file-elsewhere", f"there is no folder {shown(str(path.parent), 120)}", node.place())
        return
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        yield Problem("config.file-elsewhere", f"{name} cannot be seen: {cause}", node.place())
        return
    if not stat.S_ISREG(status.st_mode):
        yield Problem("config.file-missing", f"{name} is not a file", node.place())
    elif secret and status.st_mode & stat.S_IROTH:
        fix = f"Run `chmod o-rwx {path}`."
        yield Problem("config.secret-readable", f"everybody on this box can read {name}", node.place(), fix=fix)
    elif not os.access(path, os.R_OK):
        yield Problem("config.file-elsewhere", f"{name} cannot be read by this user", node.place())


def _role(root: Node, mistyped: Mistyped, role: Role | None) -> Iterator[Problem]:
    if () in mistyped:
        return
    devices = root.get("devices")
    some = devices is not None and bool(devices.data)
    uplink, server = ((root.get(key) is not None and not _is_null(root, key)) for key in ("uplink", "server"))
    if not uplink and (role in ("edge", "both") or (role is None and some)):
        place = root.key_place("devices" if some else "")
        yield Problem("config.no-uplink", "there is no `uplink`: the readings have nowhere to go", place)
    if not some and (role in ("edge", "both") or (role is None and not server)):
        yield Problem("config.no-devices", "no devices: there is nothing to read", root.key_place("devices"))


def _is_null(root: Node, *path: str) -> bool:
    node = root.get(*path)
    return node is not None and node.data is None


def _number(root: Node, part: str, *, default: int) -> object:
    node = root.get(part, "listen", "port")
    return default if node is None else node.data


def _place(root: Node, *path: str) -> Place:
    node = root.get(*path)
    return root.place() if node is None else node.place()
