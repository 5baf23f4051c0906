"""The check of ``lamppost doctor`` of the server: resolve its name, connect, TLS, log in, ask it something."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gateway.cli.doctor import Finding
from gateway.cli.doctor_buses import NETWORK_S, daemon_status
from gateway.config.schema import Config, Uplink

ANSWER_S = 3.0
CONNECT_FIX = "Check the network, uplink.url, and uplink.ca_file for TLS."


def server(config: Config, uplink: Uplink) -> Sequence[Finding]:
    """Whether the server answers and takes this box, in the language and over the wire that the uplink speaks."""
    parts = urlsplit(uplink.url)
    try:
        socket.getaddrinfo(parts.hostname, None)
    except OSError as error:
        cause = f"the name {parts.hostname} cannot be resolved: {error.strerror or error}"
        return [Finding("server", "fail", cause, "Check uplink.url, and the name servers of this box.")]
    if parts.scheme in ("http", "https"):
        return _web(uplink)
    if parts.scheme == "coap":
        return _coap(config, uplink)
    return [asyncio.run(_asked(config, uplink))]


def _coap(config: Config, uplink: Uplink) -> Sequence[Finding]:
    """OSCORE numbers its requests, so nobody but the daemon and its user may ask under its keys."""
    outcome = asyncio.run(_ping(uplink.url))
    if outcome:
        fix = "Check the network, uplink.url, and that UDP gets through; the server needs `server.coap`."
        return [Finding("server", "fail", f"{uplink.url} cannot be reached: {outcome}", fix)]
    status = daemon_status(config)
    if status is not None:
        return [_as_the_daemon_says(uplink, status)]
    if (user := _stranger(uplink.credentials_file)) is not None:
        fix = f"Run it as that user: `sudo -u '#{user}' lamppost doctor`."
        seen = f"{uplink.url} answers; the keys belong to the user {user} and were not tried"
        return [Finding("server", "warn", seen, fix)]
    return [asyncio.run(_asked(config, uplink))]


async def _ping(url: str) -> str:
    """Why nobody answers, empty where somebody does."""
    from gateway.uplink.link_probe import Prober

    return (await Prober(url, None, None).ask()).cause


def _as_the_daemon_says(uplink: Uplink, status: dict[str, object]) -> Finding:
    link = status.get("link")
    if isinstance(link, dict) and link.get("up"):
        return Finding("server", "ok", f"{uplink.url} answers, and accepts what the daemon sends")
    cause = link.get("error") if isinstance(link, dict) else None
    seen = f"{uplink.url} answers, but the daemon says: {cause or 'nothing was sent yet'}"
    fix = "Check uplink.credentials_file: the server has the same secret, and the ids the other way round."
    return Finding("server", "fail" if cause else "warn", seen, fix)


def _stranger(credentials: Path | None) -> int | None:
    """The owner of what OSCORE remembers, where this user would leave files that the owner may not write."""
    if credentials is None or not credentials.exists():
        return None
    state = credentials.parent / "oscore"
    owner = (state if state.exists() else credentials).stat().st_uid
    return None if owner == os.geteuid() else owner


async def _asked(config: Config, uplink: Uplink) -> Finding:
    """Ask in the uplink's own way what the server has of this box."""
    from gateway.mapping.mapper import Mapper
    from gateway.model import Link
    from gateway.uplink.make import make_transport
    from gateway.uplink.transport import BusyError, TransportError

    settings = uplink.model_copy(update={"timeout": ANSWER_S})
    transport = make_transport(settings, Mapper(config.site.id, {}), Link("doctor"))
    try:
        await transport.held()
    except BusyError as error:
        return Finding("server", "warn", f"{uplink.url}: {error.cause}", "Wait, or look at the server's log.")
    except TransportError as error:
        if error.code == "uplink.timeout" and transport.connections and not uplink.url.startswith("coap"):
            fix = "Does the server run, does its `server.mqtt` name the same broker, and does the broker let"
            fix += f" {uplink.username or 'this box'} write and read below lamppost/v1/{config.site.id}/ ?"
            return Finding("server", "fail", f"{uplink.url} takes this box, but no server answers behind it", fix)
        return Finding("server", "fail", f"{uplink.url} cannot be used: {error.cause}", error.fix or CONNECT_FIX)
    finally:
        await transport.close()
    return Finding("server", "ok", f"{uplink.url} answers and accepts this box")


def _web(uplink: Uplink) -> Sequence[Finding]:
    """A query that returns nothing."""
    parts = urlsplit(uplink.url)
    headers = {"Accept": "application/json"}
    if uplink.token_file is not None:
        try:
            headers["Authorization"] = f"Bearer {uplink.token_file.read_text(encoding='utf-8').strip()}"
        except (OSError, UnicodeDecodeError) as error:
            return [Finding("server", "fail", f"{uplink.token_file} cannot be read: {error}", "Correct the file.")]
    if uplink.tenant is not None:
        headers["NGSILD-Tenant"] = uplink.tenant
    try:
        connection = _connection(uplink)
        connection.request("GET", f"{parts.path.rstrip('/')}/ngsi-ld/v1/entities?type=Device&limit=1", headers=headers)
        status = connection.getresponse().status
        connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = f"{uplink.url} cannot be reached: {error}"
        return [Finding("server", "fail", cause, CONNECT_FIX)]
    return list(_verdict(uplink, status))


def _verdict(uplink: Uplink, status: int) -> Iterator[Finding]:
    if status in (401, 403):
        yield Finding(
            "server", "fail", f"{uplink.url} refuses the token ({status})", "Get a new token for uplink.token_file."
        )
    elif status == 404 and uplink.tenant is not None:
        yield Finding(
            "server", "warn", f"{uplink.url} does not know the tenant yet ({status})", "Nothing, or correct it."
        )
    elif status >= 400:
        yield Finding("server", "fail", f"{uplink.url} answers {status}", "Is it a Lamppost server? See its log.")
    else:
        yield Finding("server", "ok", f"{uplink.url} answers and accepts this box")


def _connection(uplink: Uplink) -> http.client.HTTPConnection:
    parts = urlsplit(uplink.url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=NETWORK_S)
    context = ssl.create_default_context(cafile=str(uplink.ca_file) if uplink.ca_file is not None else None)
    if uplink.certificate_file is not None:
        context.load_cert_chain(uplink.certificate_file, uplink.key_file)
    return http.client.HTTPSConnection(host, parts.port, timeout=NETWORK_S, context=context)
