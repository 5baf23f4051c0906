"""Counts what the demo's server has in its history, through its public API, device by device."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from gateway.errors import LamppostError
from gateway.mapping.mapper import iso

WINDOW_NS = 300_000_000_000  # history is asked for in windows, so that no answer is large
PAGE = 100
TIMEOUT_S = 30.0
DEFAULT_CONTEXT = "https://uri.etsi.org/ngsi-ld/default-context/"


@dataclass(frozen=True, slots=True)
class Stored:
    """Readings of one entity in history, and how many of them share attribute, member and time with another."""

    readings: int
    twice: int


class Api:
    """The server's NGSI-LD API, as a city would use it."""

    def __init__(self, url: str) -> None:
        self._where = urlsplit(url)

    def get(self, path: str) -> Any:
        """The JSON of a GET, None for 404. Raises LamppostError for any other failure."""
        connection = http.client.HTTPConnection(self._where.hostname or "", self._where.port or 80, timeout=TIMEOUT_S)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
        except OSError as error:
            raise LamppostError(f"the server does not answer: {error}", code="demo.server") from error
        finally:
            connection.close()
        if answer.status == 404:
            return None
        if answer.status not in (200, 206):
            raise LamppostError(f"GET {path} gave {answer.status}: {body[:200]!r}", code="demo.server")
        return json.loads(body)

    def entity_ids(self) -> list[str]:
        """Ids of all entities, by pages."""
        ids: list[str] = []
        while True:
            page = self.get(f"/ngsi-ld/v1/entities?local=true&type=*&limit={PAGE}&offset={len(ids)}")
            ids += [entity["id"] for entity in page]
            if len(page) < PAGE:
                return ids

    def stored(self, entity_id: str, since_ns: int) -> Stored:
        """Count an entity's history from ``since_ns`` until now."""
        seen: Counter[tuple[str, str, str]] = Counter()
        start = since_ns
        while start < time.time_ns() + WINDOW_NS:
            window = f"timerel=between&timeAt={iso(start)}&endTimeAt={iso(start + WINDOW_NS)}"
            found = self.get(f"/ngsi-ld/v1/temporal/entities/{quote(entity_id)}?{window}")
            seen.update(_keys(found or {}))
            start += WINDOW_NS
        return Stored(len(seen), sum(seen.values()) - len(seen))


def _keys(entity: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, instances in entity.items():
        for instance in instances if isinstance(instances, list) else [instances]:
            if not isinstance(instance, dict) or "observedAt" not in instance:
                continue
            value = instance.get("value")
            members = value if isinstance(value, dict) and instance.get("type") != "GeoProperty" else {"": None}
            for member in members:
                yield name, member, instance["observedAt"]


def until(condition: Callable[[], bool], timeout_s: float, step_s: float = 0.2) -> bool:
    """Wait until a condition holds. Returns whether it did in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(step_s)
    return condition()
