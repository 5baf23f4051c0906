"""A registration as it is kept: what its author gave in expanded names, what forwards need, and its counters."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import orjson

from gateway.server.broker.model import CORE, time_text
from gateway.server.contexts import Context
from gateway.server.sources.model import Registration

Json = dict[str, Any]
GEOMETRIES = ("location", "observationSpace", "operationSpace")
INTERVALS = ("observationInterval", "managementInterval")


class Interval(NamedTuple):
    """Microseconds since 1970; ``end_us`` None: it goes on."""

    start_us: int
    end_us: int | None


@dataclass(slots=True)
class Counters:
    """What became of the requests that were forwarded; times are DateTimes, "" for never."""

    sent: int = 0
    failed: int = 0
    last_success: str = ""
    last_failure: str = ""
    ok: bool = True

    def count(self, now_us: int, *, ok: bool) -> None:
        """One more request."""
        self.sent += 1
        self.ok = ok
        if ok:
            self.last_success = time_text(now_us)
        else:
            self.failed += 1
            self.last_failure = time_text(now_us)


@dataclass(slots=True)
class Record:
    """``raw``: names of types and attributes, and members that the standard does not know, are IRIs.

    ``properties``: those members as an entity has them, for ``csf``.
    """

    tenant: str
    raw: Json
    registration: Registration
    intervals: dict[str, Interval]
    scopes: tuple[str, ...]
    datasets: frozenset[str] | None
    properties: Json
    created: str
    modified: str
    counters: Counters = field(default_factory=Counters)

    @property
    def id(self) -> str:
        """Of the registration."""
        return self.registration.id

    def as_entity(self) -> Json:
        """What ``csf`` looks at: all that it says, as if it were properties of an entity."""
        plain = {
            CORE + name: {"type": "Property", "value": value} for name, value in self.raw.items() if ":" not in name
        }
        return {"id": self.id, "type": [], **plain, **self.properties}

    def dump(self) -> bytes:
        """The document of the storage."""
        return orjson.dumps(
            {
                "raw": self.raw,
                "created": self.created,
                "modified": self.modified,
                "counters": asdict(self.counters),
            }
        )


def shown(record: Record, context: Context, *, system: bool, only: frozenset[int] | None = None) -> Json:
    """As a client sees it, in the names of a context; ``only``: these elements of ``information``."""
    raw = record.raw
    result: Json = {"id": record.id, "type": "ContextSourceRegistration"}
    for name, value in raw.items():
        if name == "information":
            parts = [part for index, part in enumerate(value) if only is None or index in only]
            result[name] = [_compacted(part, context) for part in parts]
        else:
            result[context.compact_name(name) if ":" in name else name] = value
    counters = record.counters
    if counters.sent:  # before, no request can have gone well (clause 5.2.9)
        result["status"] = "ok" if counters.ok else "failed"
        result |= {"timesSent": counters.sent, "timesFailed": counters.failed}
        dates = {"lastSuccess": counters.last_success, "lastFailure": counters.last_failure}
        result |= {name: date for name, date in dates.items() if date}
    if system:
        result |= {"createdAt": record.created, "modifiedAt": record.modified}
    return result


def _compacted(part: Json, context: Context) -> Json:
    result = dict(part)
    for name in ("propertyNames", "relationshipNames", "attributeNames"):
        if name in part:
            result[name] = [context.compact_name(iri) for iri in part[name]]
    if "entities" in part:
        result["entities"] = [entity | {"type": _types(entity["type"], context)} for entity in part["entities"]]
    return result


def _types(value: str | list[str], context: Context) -> str | list[str]:
    return context.compact_name(value) if isinstance(value, str) else [context.compact_name(iri) for iri in value]
