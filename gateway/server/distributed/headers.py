"""Headers of forwarded requests: Via, tenant, what the registration says (CIM 009 clauses 6.3.14, 6.3.18, 5.2.22).

Via holds the pseudonyms of the brokers that a request has passed; one that finds itself there ends the loop.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from gateway.server import wire
from gateway.server.broker.represent_filter import CURRENT, Version
from gateway.server.contexts import Context
from gateway.server.sources.model import Registration
from gateway.server.sources.parse import COPY
from gateway.server.wire import Headers, Request

HOPS_MAX = 16
DEFAULT_ALIAS = "lamppost"
VERSION = re.compile(r"(\d)\.(\d{1,2})(?:\.\d+)?\Z")
NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z")
SPECIAL = frozenset({"jsonldcontext", "ngsildconformance", "accept", "contenttype"})
OWN = frozenset(  # of the binding, or of the connection: not for registrations to set
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "link", "via", "ngsild-tenant"}
    | {"upgrade", "te", "trailer", "keep-alive", "proxy-connection", "expect", "accept", "accept-encoding"}
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: what of a request matters to what is forwarded because of it."""

    tenant: str
    alias: str
    via: tuple[str, ...]
    headers: Headers
    context: Context

    @property
    def looped(self) -> bool:
        """Whether this broker, or too many, passed it on before."""
        return self.alias.lower() in _names(self.via) or len(self.via) > HOPS_MAX

    def passed(self, registration: Registration) -> bool:
        """Whether it has been at that source already."""
        return registration.host_alias is not None and registration.host_alias.lower() in _names(self.via)


def caller_of(request: Request, alias: str, context: Context) -> Caller:
    """Raises BadRequestData for a tenant that is no name."""
    tenant = request.tenant
    via: list[str] = []
    for name, value in request.headers:
        if name == b"via":
            via += [part.strip() for part in value.decode("latin-1").split(",") if part.strip()]
    return Caller(tenant, alias_of(alias, tenant), tuple(via), request.headers, context)


def alias_of(alias: str, tenant: str) -> str:
    """The pseudonym of a tenant (clause 6.33)."""
    return f"{alias}-{tenant}" if tenant else alias


def own_alias(alias: str, data: Path) -> str:
    """What the server calls itself: as it was told; else a name that no other server has by chance.

    Two servers of one name would take each other's requests for their own that come back.
    """
    if alias != DEFAULT_ALIAS:
        return alias
    place = f"{uuid.getnode()} {data.resolve()}"
    return f"{alias}-{uuid.uuid5(uuid.NAMESPACE_URL, place).hex[:8]}"


def headers_for(registration: Registration, caller: Caller, context: Context, *, body: str = "") -> dict[str, str]:
    """The headers of one forward, in the context of the source; ``body``: the media type of the body, if any."""
    accept = wire.LD if _asked_for(registration, "accept", caller) == wire.LD else wire.JSON
    headers: dict[str, str] = {"Accept": accept, "Via": ", ".join([*caller.via, f"1.1 {caller.alias}"])}
    if registration.tenant:
        headers["NGSILD-Tenant"] = registration.tenant
    for key, value in registration.source_info:
        name = key.lower()
        if name in SPECIAL or name in OWN or not NAME.match(key):
            continue
        given: str | None = _header(caller.headers, name) if value == COPY else value
        if given is not None and given.isprintable() and given.isascii():
            headers[key] = given
    if body:
        headers["Content-Type"] = body
    if body != wire.LD:
        headers["Link"] = wire.context_header(context)
    return headers


def info_of(registration: Registration, key: str) -> str | None:
    """One of the special keys of contextSourceInfo, whatever its case; None, too, where it is as in the request."""
    found = next((value for name, value in registration.source_info if name.lower() == key.lower()), None)
    return None if found == COPY else found


def conformance_of(registration: Registration) -> Version | None:
    """The version of the API that a source says it has; None for the current one."""
    found = VERSION.match(info_of(registration, "ngsildConformance") or "")
    version = (int(found[1]), int(found[2])) if found else CURRENT
    return version if version < CURRENT else None


def media_for(registration: Registration, caller: Caller) -> str:
    """The media type of bodies for a source."""
    return wire.LD if _asked_for(registration, "contentType", caller) == wire.LD else wire.JSON


def _asked_for(registration: Registration, key: str, caller: Caller) -> str | None:
    """A media type of contextSourceInfo, or that of the request where it says so."""
    found = next((value for name, value in registration.source_info if name.lower() == key.lower()), None)
    if found == COPY:
        given = _header(caller.headers, "content-type" if key == "contentType" else key)
        return None if given is None else given.partition(";")[0].strip()
    return found


def _names(via: tuple[str, ...]) -> set[str]:
    """Pseudonyms: what stands behind the protocol (``1.1 alias (comment)``)."""
    return {parts[1 if len(parts) > 1 else 0].lower() for entry in via if (parts := entry.split())}


def _header(headers: Headers, name: str) -> str | None:
    wanted = name.encode("ascii")
    return next((value.decode("latin-1") for key, value in reversed(headers) if key == wanted), None)
