"""HTTP for the NGSI-LD routes: requests and answers as plain values, negotiation, pages (CIM 009 clause 6.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlencode

import orjson

from gateway.server.contexts import Context, Contexts
from gateway.server.errors import (
    BadRequestData,
    InvalidRequest,
    NotAcceptable,
    OperationNotSupported,
    Problem,
    TooManyResults,
    UnsupportedMediaType,
    UriTooLong,
)
from gateway.server.integers import check_integers
from gateway.server.settings import PAGE_DEFAULT, PAGE_MAX, PARAMETERS_MAX, QUERY_BYTES_MAX

Headers = list[tuple[bytes, bytes]]
Media = Literal["application/json", "application/ld+json", "application/geo+json"]
JSON: Media = "application/json"
LD: Media = "application/ld+json"
GEO: Media = "application/geo+json"
ROOT = "/ngsi-ld/v1"
CONTEXT_REL = "http://www.w3.org/ns/json-ld#context"
LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:\"[^\"]*\"|[^\s\",;]+))*)")
REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s\",;]+))")
VISIBLE = "".join(chr(c) for c in range(32, 127))
BOM = b"\xef\xbb\xbf"  # RFC 8259 clause 8.1: a parser may ignore it
TENANT = re.compile(r"[\x21-\x7e]{1,256}\Z")
# fmt: off
NOT_OFFERED = frozenset({
    "pick", "omit", "georel", "geometry", "coordinates", "geoproperty", "geometryProperty", "scopeQ", "csf", "lang",
    "datasetId", "join", "joinLevel", "containedBy", "orderBy", "collation", "orderFrom", "orderGeometry",
    "splitEntities", "entityMap", "entityMapLifetime", "expandValues", "jsonKeys", "details", "observedAt",
    "aggrMethods", "aggrPeriodDuration", "keep", "drop", "timeproperty",
})
# fmt: on


@dataclass(slots=True)
class Request:
    """One request with its body read. ``params``: parts of the path, percent-decoded.

    ``snapshot``: the one that it works on; then ``tenant`` is the hidden one of its data.
    """

    method: str
    path: str
    headers: Headers
    query_string: bytes
    body: bytes = b""
    params: dict[str, str] = field(default_factory=dict)
    snapshot: str = ""

    def header(self, name: bytes) -> str | None:
        """The value of a header, the last where it is repeated."""
        found = None
        for key, value in self.headers:
            if key == name:
                found = value
        return None if found is None else found.decode("latin-1")

    @property
    def tenant(self) -> str:
        """The tenant asked for; "" is the default one. Raises BadRequestData."""
        name = self.header(b"ngsild-tenant")
        if name is not None and not TENANT.match(name):
            raise BadRequestData("NGSILD-Tenant must be 1 to 256 visible ASCII characters")
        return f"{name or ''} {self.snapshot}" if self.snapshot else name or ""

    def query(self, allowed: Iterable[str]) -> dict[str, str]:
        """The query parameters. Raises for those that are unknown, repeated or not offered."""
        if not self.query_string:
            return {}
        if len(self.query_string) > QUERY_BYTES_MAX:
            raise UriTooLong(f"the query is longer than {QUERY_BYTES_MAX} bytes")
        try:
            pairs = parse_qsl(
                self.query_string.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=PARAMETERS_MAX,
            )
        except ValueError as error:
            raise BadRequestData(f"the query cannot be read: {error}") from None
        found: dict[str, str] = {}
        for name, value in pairs:
            if name in found:
                raise BadRequestData(f"the parameter {name} is given twice")
            if name not in allowed:
                if name in NOT_OFFERED:
                    raise OperationNotSupported(f"the parameter {name} is not offered by this version here")
                raise InvalidRequest(f"the parameter {name!r} does not exist here")
            found[name] = value
        return found


@dataclass(frozen=True, slots=True)
class Response:
    """An answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


def answer(
    status: int, content: object = None, media: str = JSON, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with JSON content (bytes are JSON already), or none."""
    encoded = [(name.lower().encode("ascii"), _header_value(value)) for name, value in (headers or {}).items()]
    if content is None:
        return Response(status, b"", tuple(encoded))
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return Response(status, body, ((b"content-type", media.encode("ascii")), *encoded))


def _header_value(value: str) -> bytes:
    """Header values are visible ASCII: everything else is percent-encoded, as URIs have it."""
    return quote(value, safe=VISIBLE).encode("ascii")


def problem(error: Problem, more: Mapping[str, str] | None = None) -> Response:
    """An RFC 7807 answer; ``more``: headers."""
    headers = dict(more or {})
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return answer(error.status, error.body(), "application/problem+json", headers)


# contexts and media types


def link_context(request: Request) -> str | None:
    """The URL of the JSON-LD context in the Link headers. Raises BadRequestData for more than one."""
    found: list[str] = []
    for name, value in request.headers:
        if name == b"link":
            found += _context_links(value.decode("latin-1"))
    if len(found) > 1:
        raise BadRequestData("more than one JSON-LD context in Link headers")
    return found[0] if found else None


@lru_cache(maxsize=256)
def _context_links(header: str) -> list[str]:
    rels = ((match[1], REL.search(match[2])) for match in LINK.finditer(header))
    return [url for url, rel in rels if rel and CONTEXT_REL in (rel[1] or rel[2]).split()]


async def context_of(request: Request, contexts: Contexts) -> Context:
    """The context of a request without a body. Raises BadRequestData, LdContextNotAvailable."""
    spec = link_context(request)
    return contexts.known(spec) or await contexts.context_for(spec)


@lru_cache(maxsize=256)
def negotiate(accept: str | None, *, geo: bool = False) -> Media:
    """The media type of the answer; ``geo``: GeoJSON can be given, too. Raises NotAcceptable."""
    best: tuple[float, bool, Media] | None = None
    asked = [_asked(part) for part in (accept or "*/*").lower().split(",")]
    refused = {media for media, weight in asked if weight <= 0}  # RFC 9110, 12.4.2: also where a range would allow it
    for media, weight in asked:
        kind: Media | None = LD if media == LD else None
        if media == JSON or media in ("application/*", "*/*"):
            kind = JSON if JSON not in refused else LD if LD not in refused else None
        if media == GEO and geo:
            kind = GEO
        exact = media in (JSON, LD, GEO)
        if kind is not None and weight > 0 and (best is None or (weight, exact) > best[:2]):
            best = (weight, exact, kind)
    if best is None:
        raise NotAcceptable(f"nothing of {accept!r} can be given")
    return best[2]


def _asked(part: str) -> tuple[str, float]:
    """A media type (or range) and its weight."""
    media, *parameters = (piece.strip() for piece in part.split(";"))
    return media, next((_weight(p[2:]) for p in parameters if p.startswith("q=")), 1.0)


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def json_body(request: Request) -> Any:  # any JSON
    """The decoded body. Raises InvalidRequest for what is not JSON, BadRequestData for integers of over 64 bits."""
    body = request.body.removeprefix(BOM)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    check_integers(body)
    return found


def body_media(request: Request, *, patch: bool = False) -> Media:
    """The media type of the body. Raises UnsupportedMediaType."""
    media = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if media == LD:
        return LD
    if media == JSON or (patch and media == "application/merge-patch+json"):
        return JSON
    raise UnsupportedMediaType(f"{media or 'no Content-Type'} is not understood here")


async def context_of_part(part: object, request: Request, media: Media, contexts: Contexts) -> Context:
    """The context of one JSON object of a body (clause 6.3.5). Raises BadRequestData, LdContextNotAvailable."""
    inline = part.get("@context") if isinstance(part, dict) else None
    if media == JSON:
        if inline is not None:
            raise BadRequestData("@context in a body of application/json; send it as application/ld+json")
        return await context_of(request, contexts)
    if link_context(request) is not None:
        raise BadRequestData("a JSON-LD context in a Link header together with application/ld+json")
    if inline is None:
        raise BadRequestData("@context is missing in a body of application/ld+json")
    return contexts.known(inline) or await contexts.context_for(inline)


def context_header(context: Context) -> str:
    """The Link header of an answer in application/json."""
    return f'<{context.link}>; rel="{CONTEXT_REL}"; type="{LD}"'


# parameters


def boolean(parameters: Mapping[str, str], name: str) -> bool:
    """A parameter that is true or false, false where it is missing. Raises BadRequestData."""
    value = parameters.get(name, "false")
    if value not in ("true", "false"):
        raise BadRequestData(f"{name} must be true or false")
    return value == "true"


def natural(parameters: Mapping[str, str], name: str, default: int, least: int = 0) -> int:
    """A whole number. Raises BadRequestData."""
    value = parameters.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdecimal()) or len(value) > 9 or int(value) < least:
        raise BadRequestData(f"{name} must be a whole number of at least {least}")
    return int(value)


def comma_list(parameters: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The parts of a comma list; none where the parameter is missing. Raises BadRequestData for empty parts."""
    value = parameters.get(name)
    if value is None:
        return ()
    parts = tuple(part.strip() for part in value.split(","))
    if not all(parts):
        raise BadRequestData(f"{name} has an empty element")
    return parts


def options(parameters: Mapping[str, str], allowed: Iterable[str]) -> frozenset[str]:
    """The words of ``options``. Raises InvalidRequest for those that do not apply.

    ``count`` was a word of older versions, and clients still say it: ``paging`` looks at it.
    """
    words = frozenset(comma_list(parameters, "options")) - {"count"}
    if not words <= frozenset(allowed):
        raise InvalidRequest(f"options: {', '.join(sorted(words - frozenset(allowed)))} does not apply here")
    return words


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a result: limit 0 is the count alone."""

    limit: int
    offset: int
    count: bool


def paging(parameters: Mapping[str, str]) -> Paging:
    """limit, offset, count. Raises BadRequestData, TooManyResults."""
    count = boolean(parameters, "count") or "count" in comma_list(parameters, "options")
    limit = natural(parameters, "limit", PAGE_DEFAULT, 0 if count else 1)
    if limit > PAGE_MAX:
        raise TooManyResults(f"limit must be at most {PAGE_MAX}")
    return Paging(limit, natural(parameters, "offset", 0), count)


def page_headers(
    request: Request, parameters: Mapping[str, str], page: Paging, more: bool, total: int | None, media: str
) -> dict[str, str]:
    """NGSILD-Results-Count, and the links to the pages before and after (to be put into Link)."""
    links: list[str] = []
    targets = []
    if page.limit and page.offset:
        targets.append(("prev", max(page.offset - page.limit, 0)))
    if page.limit and more:
        targets.append(("next", page.offset + page.limit))
    for rel, offset in targets:
        query = urlencode({**parameters, "limit": page.limit, "offset": offset})
        links.append(f'<{quote(request.path)}?{query}>; rel="{rel}"; type="{media}"')
    headers = {} if total is None else {"NGSILD-Results-Count": str(total)}
    return {**headers, "Link": ", ".join(links)} if links else headers
