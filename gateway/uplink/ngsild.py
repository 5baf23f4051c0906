"""Batches as NGSI-LD over HTTP, towards any broker (CIM 009).

What is new goes by batch upsert (6.15: ``POST entityOperations/upsert?options=update``). What is old depends on the
server, which is asked on each new connection:

- a Lamppost server (it answers ``GET /api/time``) takes it by upsert too and leaves the present values alone;
- a broker with the temporal API takes it there (6.18: ``POST temporal/entities/``, created or added to), and so does it
  get any value that is older than one of its series that was sent before: its upsert would set the present back;
- for a broker without, the sender keeps all in order.

What the broker refuses for good is set aside and counted, so that one bad entity never blocks the rest: a 207 names the
entities, and a 400, 413 or 422 for the whole is split until the bad ones stand alone. But where *nothing* of several
entities is taken the fault is not theirs (a wrong tenant, a broker that wants something else), and all is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, Protocol

import orjson

from drivers.http1 import HttpError, Response
from gateway.model import Ack, Batch, Priority, Range, Reading
from gateway.uplink import answers
from gateway.uplink.client import Access, is_loopback, open_client, unreachable
from gateway.uplink.coding import Coding
from gateway.uplink.transport import BusyError, Receipt, RejectedError

UPSERT = "/ngsi-ld/v1/entityOperations/upsert?options=update"
TEMPORAL = "/ngsi-ld/v1/temporal/entities/"
TIME = "/api/time"
PROBLEMS_MAX = 5
HOPELESS = 8  # entities of several names refused one by one, and none taken: it is not the entities
SERIES_MAX = 20_000

Json = dict[str, object]
Group = tuple[Reading, ...]  # the readings of one device at one instant: one entity object
Way = Literal["unknown", "lamppost", "temporal", "upsert"]  # for what is old


class Entities(Protocol):
    """Maps readings, in order, to entities; ``gateway.mapping.mapper.Mapper.entities`` is one."""

    def __call__(self, readings: Sequence[Reading], *, history: bool = False) -> list[Json]:
        """``history``: without what is said of the present. Raises KeyError for a device that it does not know."""


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
            self.problems.append(f"{name}: {problem}"[: answers.PROBLEM_CHARS_MAX])

    def check(self, at_least: int = 1) -> None:
        """Raises RejectedError where the server takes nothing of several entities."""
        if not self.taken and len(self.names) > 1 and self.refused >= at_least:
            raise RejectedError(f"the server takes none of the entities; {self.problems[0]}")


class NgsiLdHttp:
    """Towards any NGSI-LD broker; ``sparing``: bytes cost money.

    Raises UplinkError for an address, a CA file or a certificate that cannot be used.
    """

    def __init__(self, access: Access, entities: Entities, *, tenant: str | None = None, sparing: bool = False) -> None:
        headers = {"Accept": "application/json"} | ({"NGSILD-Tenant": tenant} if tenant else {})
        self._http = open_client(access, headers)
        self._entities = entities
        self._coding = Coding(sparing=sparing)
        self._way: Way = "unknown"
        self._newest: dict[tuple[str, str], int] = {}
        target = self._http.target
        self._authentic = bool(access.token) or target.secure or is_loopback(target.host)

    @property
    def bytes_sent(self) -> int:
        """Bytes of HTTP sent so far."""
        return self._http.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes of HTTP received so far."""
        return self._http.bytes_received

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._http.connections

    @property
    def orders_history(self) -> bool:
        """Whether old values may follow newer ones."""
        return self._way in ("lamppost", "temporal")

    async def held(self) -> dict[str, tuple[Range, ...]] | None:
        """Find out what server it is and how it takes what is old; NGSI-LD cannot tell what it has."""
        self._coding.renewed()
        self._way = "unknown"
        if await self._ask_time() is not None:
            self._way = "lamppost"
            return None
        response = await self._request("POST", TEMPORAL, b"{}")
        if response.status in (401, 403, 408, 425, 429, 503):
            raise answers.failure(response)
        self._way = "temporal" if response.status == 400 else "upsert"  # a bad entity is refused by who takes good ones
        return None

    async def send(self, batch: Batch) -> Receipt:
        """Post the batch, in parts where the server wants that. Raises TransportError; then all of it is still due."""
        tally = _Tally()
        groups = [tuple(group) for _, group in groupby(batch.readings, lambda r: (r.device, r.observed_ns))]
        history = batch.priority is Priority.HISTORY
        if self._way == "temporal":
            late = [group for group in groups if history or self._is_late(group)]
            groups = [group for group in groups if not history and not self._is_late(group)]
            await self._place(late, tally)
        old = batch.priority is not Priority.LIVE and self._way == "lamppost"  # an alarm goes at any age, too
        await self._send(groups, tally, history=old)
        tally.check()
        self._remember(groups)
        return Receipt(Ack(batch.stream, batch.ranges), tally.refused, tally.unmapped, tuple(tally.problems))

    async def server_time(self) -> int | None:
        """GET /api/time of a Lamppost server; only where nobody in between can answer for it."""
        return await self._ask_time() if self._authentic else None

    async def close(self) -> None:
        """Drop the connection at once."""
        await self._http.close()

    async def _ask_time(self) -> int | None:
        response = await self._request("GET", TIME)
        if response.status in (401, 403):
            raise answers.refused_token(response)
        found = answers.json_of(response) if response.status == 200 else None
        now_ns = found.get("now_ns") if isinstance(found, dict) else None
        return now_ns if isinstance(now_ns, int) else None

    def _is_late(self, group: Group) -> bool:
        return any(r.observed_ns < self._newest.get((r.device, r.quantity), r.observed_ns) for r in group)

    def _remember(self, groups: list[Group]) -> None:
        if self._way != "temporal":
            return
        if len(self._newest) > SERIES_MAX:
            self._newest.clear()
        for reading in (reading for group in groups for reading in group):
            series = (reading.device, reading.quantity)
            self._newest[series] = max(reading.observed_ns, self._newest.get(series, 0))

    async def _send(self, groups: list[Group], tally: _Tally, *, history: bool = False) -> None:
        """Upsert groups in order; halves, first half first, where the server refuses them together."""
        groups, entities = self._map(groups, tally, history)
        if not groups:
            return
        response = await self._request("POST", UPSERT, orjson.dumps(entities))
        if response.status == 207:
            _count_207(response, groups, entities, tally)
        elif 200 <= response.status < 300:
            answers.check_written(response, 201, 204, 207)
            tally.taken += len(groups)
        elif response.status not in answers.SPLIT:
            raise answers.failure(response)
        elif len(groups) > 1:
            half = len(groups) // 2
            await self._send(groups[:half], tally, history=history)
            await self._send(groups[half:], tally, history=history)
        else:
            _refuse(groups[0], entities[0], response, tally)

    async def _place(self, groups: list[Group], tally: _Tally) -> None:
        """Add groups to the history of their entities, one request each."""
        by_device: dict[str, list[Group]] = {}
        for group in groups:
            by_device.setdefault(group[0].device, []).append(group)
        for part in by_device.values():
            await self._place_one(part, tally)

    async def _place_one(self, groups: list[Group], tally: _Tally) -> None:
        groups, entities = self._map(groups, tally, True)
        if not groups:
            return
        response = await self._request("POST", TEMPORAL, orjson.dumps(evolution(entities)))
        if 200 <= response.status < 300:
            answers.check_written(response, 201, 204)
            tally.taken += len(groups)
        elif response.status in (404, 405, 501):
            self._way = "upsert"
            raise BusyError(f"the broker has no temporal API any more: it answers {response.status}")
        elif response.status not in answers.SPLIT:
            raise answers.failure(response)
        elif len(groups) > 1:
            half = len(groups) // 2
            await self._place_one(groups[:half], tally)
            await self._place_one(groups[half:], tally)
        else:
            _refuse(groups[0], entities[0], response, tally)

    def _map(self, groups: list[Group], tally: _Tally, history: bool) -> tuple[list[Group], list[Json]]:
        try:
            return groups, self._entities([reading for group in groups for reading in group], history=history)
        except KeyError:
            known = [group for group in groups if self._knows(group)]
            tally.unmapped += sum(map(len, groups)) - sum(map(len, known))
            return known, self._entities([reading for group in known for reading in group], history=history)

    def _knows(self, group: Group) -> bool:
        try:
            self._entities(group)
        except KeyError:
            return False
        return True

    async def _request(self, method: str, path: str, body: bytes = b"") -> Response:
        """One exchange, the body coded as the server takes it. Raises UnreachableError, PortalError."""
        while True:
            coding = self._coding.choose(len(body))
            headers = {"Content-Type": "application/ld+json"} if body else {}
            if coding != "identity":
                headers["Content-Encoding"] = coding
            try:
                response = await self._http.request(method, path, headers, self._coding.encode(body, coding))
            except HttpError as error:
                self._coding.broke(coding)
                raise unreachable(error) from error
            answers.check_origin(response)
            if not self._coding.answered(coding, response.status, response.headers.get("accept-encoding")):
                return response


def evolution(entities: Sequence[Json]) -> Json:
    """Objects of one entity as its temporal evolution (CIM 009, 5.2.20): each attribute a list of its instances."""
    whole: Json = {key: entities[0][key] for key in ("id", "type", "@context") if key in entities[0]}
    instances: dict[str, list[object]] = {}
    for entity in entities:
        for name, value in entity.items():
            if isinstance(value, dict) and "observedAt" in value:
                instances.setdefault(name, []).append(value)
    return whole | instances


def _refuse(group: Group, entity: Json, response: Response, tally: _Tally) -> None:
    if answers.is_page(response):  # nobody's word on an entity
        raise answers.failure(response)
    tally.refuse(str(entity.get("id")), len(group), answers.problem(response))
    tally.check(HOPELESS)


def _count_207(response: Response, groups: list[Group], entities: list[Json], tally: _Tally) -> None:
    """Count what a BatchOperationResult says is refused. Raises BusyError where the server failed."""
    errors = answers.entity_errors(response)
    average = sum(map(len, groups)) / max(1, len(entities))
    sizes = [len(group) for group in groups] if len(groups) == len(entities) else [average] * len(entities)
    left = list(zip((str(entity.get("id")) for entity in entities), sizes, strict=True))
    for name, cause in errors:
        size = next((item for item in left if item[0] == name), None)
        if size is not None:
            left.remove(size)
        tally.refuse(name, round(size[1] if size else average), answers.text(cause))
    tally.taken += max(0, len(entities) - len(errors))
