"""What the server role may answer instead of a result.

::

    LamppostError
    ├── ServerError            start-up: the server does not run (code, cause, fix)
    └── Problem                a request: RFC 7807 body, type and status of CIM 009 clause 5.5.2 / 6.3.2
        ├── InvalidRequest 400 ├── BadRequestData 400 ├── AlreadyExists 409 ├── OperationNotSupported 422
        ├── ResourceNotFound 404 ├── NonexistentTenant 404 ├── TooComplexQuery 403 ├── TooManyResults 403
        ├── LdContextNotAvailable 504 ├── InternalError 500 ├── Conflict 409
        ├── BadGateway 502, GatewayTimeout 504, LoopDetected 508: of other sources; no types in NGSI-LD
        ├── Unauthorized 401, MethodNotAllowed 405, NotAcceptable 406, LengthRequired 411, TooLarge 413,
        │   UriTooLong 414, UnsupportedMediaType 415, RequestTimeout 408: NGSI-LD has no type for them, so they
        │   carry types of Lamppost
        ├── BadMessage 400: of the compact protocol
        └── Overloaded, StorageAway 503 (Retry-After), StorageFull 507, StorageFailed 500
"""

from __future__ import annotations

from typing import ClassVar

from gateway.errors import LamppostError

ETSI = "https://uri.etsi.org/ngsi-ld/errors/"
OWN = "urn:lamppost:errors:"


class ServerError(LamppostError):
    """The server role cannot start."""

    code = "server.failed"
    fix = "See the cause; run `lamppost doctor`."


class Problem(LamppostError):  # noqa: N818  (the word of RFC 7807)
    """A request that is refused or failed. ``name`` becomes the problem's type, ``status`` the HTTP status."""

    code = "server.problem"
    fix = "Correct the request."
    status: ClassVar[int] = 400
    name: ClassVar[str] = "BadRequestData"
    title: ClassVar[str] = "The request is refused"
    base: ClassVar[str] = ETSI
    retry_after_s: ClassVar[int | None] = None

    def body(self) -> dict[str, object]:
        """The RFC 7807 members."""
        return {
            "type": self.base + self.name,
            "title": self.title,
            "detail": self.cause,
            "status": self.status,
            "code": self.code,
            "fix": self.fix,
        }


class InvalidRequest(Problem):
    """The body is not JSON, or a parameter does not apply."""

    code, name, title = "server.invalid-request", "InvalidRequest", "The request cannot be understood"


class BadRequestData(Problem):
    """Data or a parameter value breaks a rule of the API."""

    code, name, title = "server.bad-data", "BadRequestData", "The data breaks a rule of NGSI-LD"


class BadMessage(Problem):
    """A message of the compact protocol that cannot be read, or breaks one of its rules."""

    code, name, title, base = "server.bad-message", "BadMessage", "The message cannot be taken", OWN
    fix = "See docs/reference/compact-protocol.md; gateway and server should be of about the same version."


class AlreadyExists(Problem):
    """The id is in use."""

    code, status, name, title = "server.exists", 409, "AlreadyExists", "It exists already"
    fix = "Use another id, or update what is there."


class Conflict(Problem):
    """It clashes with a registration of a context source (CIM 009 clause 5.5.2)."""

    code, status, name, title = "server.conflict", 409, "Conflict", "It conflicts with a registration"
    fix = "See the registration named in the detail."


class OperationNotSupported(Problem):
    """Part of the standard that this version does not offer; better refused than half done."""

    code, status, name, title = "server.not-offered", 422, "OperationNotSupported", "Not offered by this version"
    fix = "Leave out that part of the request."


class ResourceNotFound(Problem):
    """Nothing has that id."""

    code, status, name, title = "server.not-found", 404, "ResourceNotFound", "There is no such thing"
    fix = "Check the id and the tenant."


class NonexistentTenant(Problem):
    """No entity was ever written for that tenant."""

    code, status, name, title = "server.no-tenant", 404, "NonexistentTenant", "There is no such tenant"
    fix = "Check the NGSILD-Tenant header; the first write makes a tenant."


class TooComplexQuery(Problem):
    """The query takes longer than the server allows."""

    code, status, name, title = "server.too-complex", 403, "TooComplexQuery", "The query is too complex"
    fix = "Narrow the query: by type, id or attributes."


class TooManyResults(Problem):
    """The page asked for is larger than the server gives."""

    code, status, name, title = "server.too-many", 403, "TooManyResults", "Too many results"
    fix = "Ask for smaller pages (limit, offset)."


class LdContextNotAvailable(Problem):
    """The @context cannot be fetched."""

    code, status, name, title = "server.no-context", 504, "LdContextNotAvailable", "The @context is not available"
    fix = "Use a context that this server knows, or make its URL reachable."


class InternalError(Problem):
    """A fault of the server."""

    code, status, name, title = "server.internal", 500, "InternalError", "The server failed"
    fix = "Try again; if it stays, report it with the lines of the journal around it."


class Unauthorized(Problem):
    """No token, or the wrong one."""

    code, status, name, title, base = "server.unauthorized", 401, "Unauthorized", "A token is needed", OWN
    fix = "Send `Authorization: Bearer <token>`, or open /login?token=<token> in the browser."


class Forbidden(Problem):
    """A host name that this server does not answer to, or a write by cookie."""

    code, status, name, title, base = "server.forbidden", 403, "Forbidden", "Not allowed", OWN


class MethodNotAllowed(Problem):
    """The path is known, the method is not."""

    code, status, name, title, base = "server.method", 405, "MethodNotAllowed", "The method is not offered here", OWN
    fix = "Use a method of the Allow header."


class NotAcceptable(Problem):
    """No representation asked for can be given."""

    code, status, name, title, base = "server.accept", 406, "NotAcceptable", "No such representation", OWN
    fix = "Accept application/json or application/ld+json."


class RequestTimeout(Problem):
    """The body came too slowly."""

    code, status, name, title, base = "server.slow-body", 408, "RequestTimeout", "The body came too slowly", OWN


class LengthRequired(Problem):
    """A body without Content-Length."""

    code, status, name, title, base = "server.length", 411, "LengthRequired", "Content-Length is missing", OWN


class TooLarge(Problem):
    """A body beyond the bound."""

    code, status, name, title, base = "server.too-large", 413, "TooLarge", "The body is too large", OWN
    fix = "Send less at once, or raise server.body_max."


class UriTooLong(Problem):
    """A query string beyond the bound."""

    code, status, name, title, base = "server.uri-too-long", 414, "UriTooLong", "The URL is too long", OWN


class UnsupportedMediaType(Problem):
    """A body in a format that is not understood."""

    code, status, name, title, base = (
        "server.media-type",
        415,
        "UnsupportedMediaType",
        "The media type is not known",
        OWN,
    )
    fix = "Send application/json or application/ld+json."


class BadGateway(Problem):
    """A context source failed, or gave an answer that is none."""

    code, status, name, title, base = "server.bad-gateway", 502, "BadGateway", "A context source failed", OWN
    fix = "Look at the source; see its registration for its state."


class GatewayTimeout(Problem):
    """A context source did not answer in time."""

    code, status, name, title, base = "server.source-timeout", 504, "GatewayTimeout", "A source did not answer", OWN
    fix = "Try again later, or raise management.timeout of the registration."


class LoopDetected(Problem):
    """The request has passed this broker (or the source that it would go to) before."""

    code, status, name, title, base = "server.loop", 508, "LoopDetected", "The request goes round in a loop", OWN
    fix = "Look for registrations that point at each other; give each broker an alias of its own (server.alias)."


class Overloaded(Problem):
    """More work waits than the server takes on."""

    code, status, name, title, base = "server.overloaded", 503, "Overloaded", "The server is behind", OWN
    fix = "Send it again after Retry-After seconds."
    retry_after_s = 1


class StorageFailed(Problem):
    """SQLite says no."""

    code, status, name, title, base = "server.storage", 500, "StorageFailed", "The storage failed", OWN
    fix = "Check disk and permissions of the data folder; see the journal."
    retry_after_s = 5


class StorageAway(Problem):
    """The database cannot be reached, or the connection to it was lost.

    What was under way then may be stored or not: who repeats it with the same ids gets the same state.
    """

    code, status, name, title, base = "server.storage-away", 503, "StorageAway", "The database does not answer", OWN
    fix = "Send it again in a few seconds; see whether PostgreSQL runs and is reached (server.database)."
    retry_after_s = 2


class StorageFull(Problem):
    """The disk, or the share of it that is granted, is full."""

    code, status, name, title, base = "server.storage-full", 507, "StorageFull", "The storage is full", OWN
    fix = "Free disk space in the data folder."
    retry_after_s = 60
