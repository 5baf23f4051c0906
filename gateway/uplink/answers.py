"""What the answer of an NGSI-LD broker means for a batch (CIM 009, 6.3.2 and 6.14 to 6.17), and whether it is its own.

A captive portal answers in the server's place: with a redirection, with a page, with 511 (RFC 6585), with a success
that the standard does not know. Such an answer is never taken for an acknowledgement nor for a refusal.
"""

from __future__ import annotations

from typing import Any

import orjson

from drivers.http1 import Response
from gateway.uplink.backoff import retry_after_s
from gateway.uplink.transport import BusyError, PortalError, RejectedError, TransportError

SPLIT = (400, 413, 422)  # statuses that may be about one entity of several
PAGE_OF_ANYONE = (401, 403, 404, 405, 413)  # a proxy before a broker answers these with a page of its own
PROBLEM_CHARS_MAX = 300


def check_origin(response: Response) -> None:
    """Raises PortalError for an answer that cannot be the server's."""
    status = response.status
    if 300 <= status < 400:
        raise PortalError(f"the answer leads elsewhere: {status} to {response.headers.get('location', 'no place')!r}")
    if status == 511:
        raise PortalError("the network asks for a login (511)")
    if is_page(response) and status < 500 and status not in PAGE_OF_ANYONE:
        raise PortalError(f"a web page comes instead of the server's answer (status {status})")


def check_written(response: Response, *good: int) -> None:
    """Raises PortalError for a success that CIM 009 does not know for this operation."""
    if response.status not in good:
        known = ", ".join(map(str, good))
        raise PortalError(f"the answer is {response.status} where {known} are the ones of a broker")
    if response.status == 201 and response.body and json_of(response) is None:
        raise PortalError("the answer is 201 with a body that is no JSON")


def is_page(response: Response) -> bool:
    """Whether it is HTML."""
    return response.headers.get("content-type", "").strip().lower().startswith(("text/html", "application/xhtml"))


def json_of(response: Response) -> Any:
    """The body, None where it is not JSON."""
    try:
        return orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return None


def failure(response: Response) -> TransportError:
    """The error for a status that says nothing about the entities."""
    status = response.status
    if status in (401, 403):
        return refused_token(response)
    if status in (408, 425, 429) or status >= 500:
        wait = retry_after_s(response.headers.get("retry-after"), response.headers.get("date"))
        return BusyError(f"the server answers {status}: {problem(response)}", wait)
    return RejectedError(f"the server answers {status}: {problem(response)}")


def refused_token(response: Response) -> RejectedError:
    """The error for 401 and 403."""
    fix = "Check uplink.token_file: it must hold a token that the server knows and that may write."
    return RejectedError(
        f"the server answers {response.status}: it does not accept the token", code="uplink.auth", fix=fix
    )


def entity_errors(response: Response) -> list[tuple[str, Any]]:
    """The (entity id, problem) of a BatchOperationResult (CIM 009, 5.2.16).

    Raises BusyError for another object or where the server failed at a part, PortalError for what is no JSON.
    """
    result = json_of(response)
    if result is None:
        raise PortalError("the answer is 207 with a result that cannot be read")
    try:
        errors = [(str(item["entityId"]), item.get("error")) for item in result["errors"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise BusyError("the server answers 207 with a result that cannot be read") from error
    for _, cause in errors:
        if isinstance(cause, dict) and str(cause.get("status", "")).startswith("5"):
            raise BusyError(f"the server failed at a part of the batch: {text(cause)}")
    return errors


def problem(response: Response) -> str:
    """The reason that an answer gives, in one line."""
    found = json_of(response)
    if found is not None:
        return text(found)
    if is_page(response):
        return "a web page"
    return response.body[:PROBLEM_CHARS_MAX].decode("utf-8", "replace").strip() or "no reason given"


def text(cause: object) -> str:
    """A problem+json object (RFC 9457) in one line."""
    if not isinstance(cause, dict):
        return str(cause)[:PROBLEM_CHARS_MAX]
    parts = [str(cause[key]) for key in ("title", "detail") if cause.get(key)]
    return ": ".join(parts)[:PROBLEM_CHARS_MAX] or "no reason given"
