"""The Reader over PostgreSQL. In a transaction that reads one state (or, for the Writer, what is committed by now)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import asyncpg
import numpy as np
import orjson

from gateway.model import Range
from gateway.server.storage.base import Kind, Mark, Note, Numbers, Sample, Selection, Span, Subject
from gateway.server.storage.changes import MARKS
from gateway.server.storage.postgres.hints import conditions
from gateway.server.storage.postgres.session import Session

FETCH = 500  # documents at once
DELETED = 2
NOTE = "id, tenant, subscription, due_us, attempts, body, why"
TIMES = {"createdAt": "created_us", "modifiedAt": "modified_us"}
CHOSEN = {"observedAt": "mark = 0", "deletedAt": "mark = 2", "any": "true"}
EVER_MAX = 2**62


class PostgresReader:
    """See ``base.Reader``."""

    def __init__(self, session: Session) -> None:
        self._sql = session

    def _see(self, tenant: str) -> None:
        """Something of this tenant is going to be read: the Writer takes its lock, and writes what waits."""

    # entities

    def tenants(self) -> list[str]:
        """Every tenant."""
        return [row["name"] for row in self._sql.rows("SELECT name FROM tenant ORDER BY key")]

    def entity(self, tenant: str, entity_id: str) -> bytes | None:
        """The document of an entity."""
        found: bytes | None = self._sql.value(
            "SELECT document FROM subject WHERE tenant = $1 AND id = $2", tenant, entity_id
        )
        return found

    def entities(self, tenant: str, selection: Selection, limit: int | None = None, offset: int = 0) -> Iterator[bytes]:
        """Documents in the order of creation."""
        self._see(tenant)
        rows = self._selected(tenant, selection, "document", "document IS NOT NULL", limit, offset)
        return (row["document"] for row in rows)

    def count(self, tenant: str, selection: Selection) -> int:
        """How many entities the selection has."""
        self._see(tenant)
        where, arguments = _condition(tenant, selection)
        return int(self._sql.value(f"SELECT count(*) FROM subject WHERE {where} AND document IS NOT NULL", *arguments))  # noqa: S608

    def types(self, tenant: str) -> list[str]:
        """Type IRIs in use."""
        self._see(tenant)
        rows = self._sql.rows(
            "SELECT DISTINCT unnest(types) AS iri FROM subject WHERE tenant = $1 AND document IS NOT NULL", tenant
        )
        return sorted(row["iri"] for row in rows)

    def expired(self, now_us: int, limit: int) -> list[tuple[str, str]]:
        """What is to be removed."""
        rows = self._sql.rows(
            "SELECT tenant, id FROM subject WHERE expires_us <= $1 ORDER BY expires_us LIMIT $2", now_us, limit
        )
        return [(row["tenant"], row["id"]) for row in rows]

    def subject(self, tenant: str, entity_id: str) -> Subject | None:
        """What exists, or did and left history."""
        self._see(tenant)
        row = self._head(tenant, entity_id)
        return None if row is None else Subject(entity_id, list(row["types"]), row["live"])

    def subjects(self, tenant: str, selection: Selection) -> Iterator[Subject]:
        """All that exist or left history."""
        self._see(tenant)
        rows = self._selected(tenant, selection, "id, types, document IS NOT NULL AS live", "true", None, 0)
        return (Subject(row["id"], list(row["types"]), row["live"]) for row in rows)

    def _head(self, tenant: str, entity_id: str) -> asyncpg.Record | None:
        return self._sql.row(
            "SELECT key, types, document IS NOT NULL AS live, expires_us FROM subject WHERE tenant = $1 AND id = $2",
            tenant,
            entity_id,
        )

    def _selected(
        self, tenant: str, selection: Selection, columns: str, more: str, limit: int | None, offset: int
    ) -> Iterator[asyncpg.Record]:
        """In pages by the key, so that nothing is held open while the caller thinks."""
        where, arguments = _condition(tenant, selection)
        last, left = 0, EVER_MAX if limit is None else limit
        while left > 0:
            size = min(FETCH, left)
            rows = self._sql.rows(
                f"SELECT key, {columns} FROM subject WHERE {where} AND {more} AND key > {last} "  # noqa: S608
                f"ORDER BY key LIMIT {size} OFFSET {offset}",
                *arguments,
            )
            yield from rows
            if len(rows) < size:
                return
            last, offset, left = rows[-1]["key"], 0, left - size

    # history

    def history(self, tenant: str, entity_id: str, span: Span) -> list[Sample]:
        """Samples in the order of time."""
        self._see(tenant)
        time = TIMES.get(span.time_property, "at_us")
        conditions = [CHOSEN.get(span.time_property, f"mark <> {DELETED}")]
        arguments: list[Any] = [tenant, entity_id]
        for bound, sign in ((span.since_us, ">="), (span.until_us, "<")):
            if bound is not None:
                arguments.append(bound)
                conditions.append(f"{time} {sign} ${len(arguments)}")
        series = ["subject.tenant = $1 AND subject.id = $2"]
        for column, names in (("attribute", span.attributes or None), ("dataset", span.datasets)):
            if names is not None:
                arguments.append(list(names))
                series.append(f"series.{column} = ANY(${len(arguments)}::text[])")
        newest = "" if span.last_n is None else f"ORDER BY {time} DESC LIMIT {int(span.last_n)}"
        limit = "" if span.last_n is not None else f"LIMIT {min(span.limit, EVER_MAX) + 1}"
        rows = self._sql.rows(
            f"SELECT attribute, dataset, one.* FROM subject JOIN series ON series.subject = subject.key "  # noqa: S608
            "CROSS JOIN LATERAL (SELECT at_us, instance, mark, number, created_us, modified_us FROM sample "
            f"WHERE sample.series = series.key AND {' AND '.join(conditions)} {newest}) AS one "
            f"WHERE {' AND '.join(series)} ORDER BY one.{time}, one.number {limit}",
            *arguments,
        )
        return [_sample(row) for row in rows]

    def numbers(
        self, tenant: str, entity_id: str, attribute: str, dataset: str, since_us: int | None, until_us: int | None
    ) -> Numbers | None:
        """Observed values of one series as columns."""
        self._see(tenant)
        row = self._sql.row(
            "SELECT string_agg(int8send(at_us), '' ORDER BY at_us) AS at_us, bool_and(value IS NOT NULL) AS plain, "
            "string_agg(float8send(value), '' ORDER BY at_us) AS value FROM sample WHERE series = (SELECT series.key "
            "FROM series JOIN subject ON subject.key = series.subject "
            "WHERE tenant = $1 AND id = $2 AND attribute = $3 AND dataset = $4) "
            "AND mark = 0 AND at_us >= $5 AND at_us < $6",
            tenant,
            entity_id,
            attribute,
            dataset,
            -(2**63) if since_us is None else since_us,
            2**63 - 1 if until_us is None else until_us,
        )
        if row is None or row["at_us"] is None:
            return Numbers(np.array([], np.int64), np.array([], np.float64))
        if not row["plain"]:
            return None
        at_us, values = np.frombuffer(row["at_us"], ">i8"), np.frombuffer(row["value"], ">f8")
        return Numbers(at_us.astype(np.int64), values.astype(np.float64))

    def sample(self, tenant: str, entity_id: str, attribute: str, number: int) -> Sample | None:
        """One sample by its number."""
        self._see(tenant)
        row = self._sql.row(
            "SELECT attribute, dataset, at_us, instance, mark, number, created_us, modified_us FROM subject "
            "JOIN series ON series.subject = subject.key JOIN sample ON sample.series = series.key "
            "WHERE tenant = $1 AND id = $2 AND attribute = $3 AND number = $4",
            tenant,
            entity_id,
            attribute,
            number,
        )
        return None if row is None else _sample(row)

    def aged(self, before_us: int, limit: int) -> list[tuple[str, str]]:
        """Some with old samples."""
        rows = self._sql.rows(
            "SELECT DISTINCT tenant, id FROM (SELECT series FROM sample WHERE at_us < $1 LIMIT 10000) AS old "
            "JOIN series ON series.key = old.series JOIN subject ON subject.key = series.subject LIMIT $2",
            before_us,
            limit,
        )
        return [(row["tenant"], row["id"]) for row in rows]

    # documents and notes

    def document(self, kind: Kind, tenant: str, document_id: str) -> bytes | None:
        """One document."""
        self._see(tenant)
        found: bytes | None = self._sql.value(
            "SELECT document FROM document WHERE kind = $1 AND tenant = $2 AND id = $3", kind, tenant, document_id
        )
        return found

    def documents(self, kind: Kind, tenant: str | None = None) -> list[tuple[str, str, bytes]]:
        """(tenant, id, document) in the order of creation."""
        if tenant is not None:
            self._see(tenant)
        rows = self._sql.rows(
            "SELECT tenant, id, document FROM document WHERE kind = $1 AND ($2::text IS NULL OR tenant = $2) "
            "ORDER BY key",
            kind,
            tenant,
        )
        return [tuple(row) for row in rows]

    def notes(self, tenant: str, subscription: str, *, dead: bool, limit: int) -> list[Note]:
        """Oldest first."""
        rows = self._sql.rows(
            f"SELECT {NOTE} FROM note WHERE tenant = $1 AND subscription = $2 AND dead = $3 "  # noqa: S608
            "ORDER BY key LIMIT $4",
            tenant,
            subscription,
            dead,
            limit if limit >= 0 else EVER_MAX,
        )
        return [Note(*row) for row in rows]

    def note_counts(self) -> dict[tuple[str, str], tuple[int, int, int]]:
        """Waiting, dead, the date of the oldest that waits."""
        rows = self._sql.rows(
            "SELECT tenant, subscription, count(*) FILTER (WHERE NOT dead) AS waiting, "
            "count(*) FILTER (WHERE dead) AS given_up, min(due_us) FILTER (WHERE NOT dead) AS first_us "
            "FROM note GROUP BY tenant, subscription"
        )
        return {(t, name): (waiting, dead, first_us or 0) for t, name, waiting, dead, first_us in rows}

    # the compact protocol

    def received(self, gateway: str, stream: str) -> list[Range]:
        """What is here of a stream."""
        found = self._sql.value("SELECT ranges FROM stream WHERE gateway = $1 AND id = $2", gateway, stream)
        return [] if found is None else _ranges(found)

    def gateways(self) -> list[str]:
        """Those of whom a stream was received."""
        return [row["gateway"] for row in self._sql.rows("SELECT DISTINCT gateway FROM stream ORDER BY gateway")]

    def streams(self, gateway: str) -> list[tuple[str, list[Range]]]:
        """The same of every stream."""
        rows = self._sql.rows("SELECT id, ranges FROM stream WHERE gateway = $1 ORDER BY id", gateway)
        return [(row["id"], _ranges(row["ranges"])) for row in rows]

    def profiles(self, gateway: str, digest: str) -> bytes | None:
        """What a gateway said of its devices."""
        found: bytes | None = self._sql.value(
            "SELECT document FROM profiles WHERE gateway = $1 AND hash = $2", gateway, digest
        )
        return found


def _condition(tenant: str, selection: Selection) -> tuple[str, list[Any]]:
    where = "tenant = $1"
    arguments: list[Any] = [tenant]
    for column, sign, names in (("types", "&&", selection.types), ("id", "= ANY", selection.ids)):
        if names:
            arguments.append(list(names))
            place = f"${len(arguments)}::text[]"
            where += f" AND {column} {sign} {place}" if sign == "&&" else f" AND {column} {sign}({place})"
    return " AND ".join([where, *conditions(selection, arguments)]), arguments


def _sample(row: asyncpg.Record) -> Sample:
    mark: Mark = MARKS[row["mark"]]
    return Sample(
        row["attribute"],
        row["dataset"],
        row["at_us"],
        row["instance"],
        mark,
        row["number"],
        row["created_us"],
        row["modified_us"],
    )


def _ranges(document: bytes) -> list[Range]:
    return [Range(first, last) for first, last in orjson.loads(document)]
