"""Batches as NGSI-LD over HTTP: ``POST /ngsi-ld/v1/entityOperations/upsert?options=update`` (CIM 009, 6.15).

What the broker refuses for good is set aside and counted, so that one bad entity never blocks the rest: a 207 names the
entities, and a 400, 413 or 422 for the whole is split until the bad ones stand alone. But where *nothing* of several
entities is taken the fault is not theirs (a wrong tenant, a broker that wants something else), and all is kept.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from drivers.http1 import HttpClient, HttpError, Response
from gateway.errors import UplinkError
from gateway.model import Ack, Batch, Reading
from gateway.uplink.backoff import retry_after_s
from gateway.uplink.transport import BusyError, Receipt, RejectedError, TransportError, UnreachableError

UPSERT = "/ngsi-ld/v1/entityOperations/upsert?options=update"
TIME = "/api/time"
PROBLEMS_MAX = 5
PROBLEM_CHARS_MAX = 300
HOPELESS = 8  # entities of several names refused one by one, and none taken: it is not the entities

Entities = Callable[[Sequence[Reading]], list[dict[str, object]]]
Group = tuple[Reading, ...]  # the readings of one device at one instant: one entity object


@dataclass(slots=True)
class _Tally:
    """What came of the parts of a batch so far."""

    taken: int = 0
    refused: int = 0
    unmapped: int = 0
    names: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def refuse(self, name: str, readings: int, problem: str) -> None:
        self.refused += readings
        self.names.add(name)
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(f"{name}: {problem}"[:PROBLEM_CHARS_MAX])

    def check(self, at_least: int = 1) -> None:
        """Raises RejectedError where the server takes nothing of several entities."""
        if not self.taken and len(self.names) > 1 and self.refused >= at_least:
            raise RejectedError(f"the server takes none of the entities; {self.problems[0]}")


class NgsiLdHttp:
    """Towards any NGSI-LD broker. ``entities`` maps readings in order; KeyError for a device it does not know.

    Raises UplinkError for an address or a CA file that cannot be used.
    """

    def __init__(
        self,
        url: str,
        tenant: str | None,
        token: str | None,
        ca_file: Path | None,
        timeout_s: float,
        entities: Entities,
    ) -> None:
        headers = {"Accept": "application/json"}
        if tenant:
            headers["NGSILD-Tenant"] = tenant
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            self._http = HttpClient(url, ca_file=ca_file, timeout_s=timeout_s, headers=headers)
        except HttpError as error:
            raise UplinkError(
                error.cause, code="uplink.bad-url", fix="Give uplink.url as http(s)://host:port."
            ) from error
        except OSError as error:
            fix = "uplink.ca_file must be a readable PEM file with the certificate of the authority."
            raise UplinkError(f"cannot use {ca_file}: {error}", code="uplink.bad-ca", fix=fix) from error
        self._entities = entities
        target = self._http.target
        self._authentic = bool(token) or target.secure or _is_loopback(target.host)

    @property
    def bytes_sent(self) -> int:
        """Bytes of HTTP sent so far."""
        return self._http.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes of HTTP received so far."""
        return self._http.bytes_received

    async def send(self, batch: Batch) -> Receipt:
        """Post the batch, in parts where the server wants that. Raises TransportError; then all of it is still due."""
        tally = _Tally()
        groups = [tuple(group) for _, group in groupby(batch.readings, lambda r: (r.device, r.observed_ns))]
        await self._send(groups, tally)
        tally.check()
        return Receipt(Ack(batch.stream, batch.ranges), tally.refused, tally.unmapped, tuple(tally.problems))

    async def server_time(self) -> int | None:
        """GET /api/time of a Lamppost server; only where nobody in between can answer for it."""
        if not self._authentic:
            return None
        response = await self._request("GET", TIME)
        if response.status in (401, 403):
            raise _refused_token(response)
        try:
            now_ns = orjson.loads(response.body)["now_ns"] if response.status == 200 else None
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None
        return now_ns if isinstance(now_ns, int) else None

    async def close(self) -> None:
        """Drop the connection at once."""
        await self._http.close()

    async def _send(self, groups: list[Group], tally: _Tally) -> None:
        """Send groups in order; halves, first half first, where the server refuses them together."""
        groups, entities = self._map(groups, tally)
        if not groups:
            return
        body = orjson.dumps(entities)
        response = await self._request("POST", UPSERT, body)
        if response.status == 207:
            self._count_207(response, groups, entities, tally)
        elif 200 <= response.status < 300:
            tally.taken += len(groups)
        elif response.status not in (400, 413, 422):
            raise _failure(response)
        elif len(groups) > 1:
            half = len(groups) // 2
            await self._send(groups[:half], tally)
            await self._send(groups[half:], tally)
        else:
            tally.refuse(str(entities[0].get("id")), len(groups[0]), _problem(response))
            tally.check(HOPELESS)

    def _map(self, groups: list[Group], tally: _Tally) -> tuple[list[Group], list[dict[str, object]]]:
        try:
            return groups, self._entities([reading for group in groups for reading in group])
        except KeyError:
            known = [group for group in groups if self._knows(group)]
            tally.unmapped += sum(map(len, groups)) - sum(map(len, known))
            return known, self._entities([reading for group in known for reading in group])

    def _knows(self, group: Group) -> bool:
        try:
            self._entities(group)
        except KeyError:
            return False
        return True

    def _count_207(
        self, response: Response, groups: list[Group], entities: list[dict[str, object]], tally: _Tally
    ) -> None:
        """BatchOperationResult (CIM 009, 5.2.16): count what is refused. Raises BusyError where the server failed."""
        errors = _errors(response)
        for _, problem in errors:
            if isinstance(problem, dict) and str(problem.get("status", "")).startswith("5"):
                raise BusyError(f"the server failed at a part of the batch: {_text(problem)}")
        average = sum(map(len, groups)) / max(1, len(entities))
        sizes = [len(group) for group in groups] if len(groups) == len(entities) else [average] * len(entities)
        left = list(zip((str(entity.get("id")) for entity in entities), sizes, strict=True))
        for name, problem in errors:
            size = next((item for item in left if item[0] == name), None)
            if size is not None:
                left.remove(size)
            tally.refuse(name, round(size[1] if size else average), _text(problem))
        tally.taken += max(0, len(entities) - len(errors))

    async def _request(self, method: str, path: str, body: bytes = b"") -> Response:
        try:
            headers = {"Content-Type": "application/ld+json"} if body else {}
            return await self._http.request(method, path, headers, body)
        except HttpError as error:
            raise UnreachableError(error.cause, code=f"uplink.{error.kind}") from error


def _failure(response: Response) -> TransportError:
    """The error for a status that says nothing about the entities."""
    status = response.status
    if status in (401, 403):
        return _refused_token(response)
    if status in (408, 425, 429) or status >= 500:
        wait = retry_after_s(response.headers.get("retry-after"), response.headers.get("date"))
        return BusyError(f"the server answers {status}: {_problem(response)}", wait)
    return RejectedError(f"the server answers {status}: {_problem(response)}")


def _refused_token(response: Response) -> RejectedError:
    fix = "Check uplink.token_file: it must hold a token that the server knows and that may write."
    return RejectedError(
        f"the server answers {response.status}: it does not accept the token", code="uplink.auth", fix=fix
    )


def _errors(response: Response) -> list[tuple[str, Any]]:
    try:
        result = orjson.loads(response.body)
        return [(str(item["entityId"]), item.get("error")) for item in result["errors"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BusyError("the server answers 207 with a result that cannot be read") from error


def _problem(response: Response) -> str:
    try:
        return _text(orjson.loads(response.body))
    except orjson.JSONDecodeError:
        return response.body[:PROBLEM_CHARS_MAX].decode("utf-8", "replace").strip() or "no reason given"


def _text(problem: object) -> str:
    """A problem+json object (RFC 9457) in one line."""
    if not isinstance(problem, dict):
        return str(problem)[:PROBLEM_CHARS_MAX]
    parts = [str(problem[key]) for key in ("title", "detail") if problem.get(key)]
    return ": ".join(parts)[:PROBLEM_CHARS_MAX] or "no reason given"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
