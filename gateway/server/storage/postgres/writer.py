"""The Writer over PostgreSQL: one transaction of one node, for one work after the other.

Who writes holds the lock of the tenant until the commit, whichever node it is on: what a work has read stays true until
it is done, as with one writer. Puts wait until something is read that they may change, then go in few statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from gateway.model import Range
from gateway.server.storage.base import Kind, Note, Sample
from gateway.server.storage.changes import MARK_NUMBERS
from gateway.server.storage.postgres.hints import hints_of
from gateway.server.storage.postgres.reader import NOTE, PostgresReader
from gateway.server.storage.postgres.session import Session, count_of

Name = tuple[str, str]
CHANNEL = "lamppost"
YEARS = range(1970, 2100)  # with a partition each; what is before and after has one together
LINE = "\n"  # between type IRIs: it is in none
# Looked up row by row: a join would be planned by statistics, which new tables have not.
KEY_OF_SUBJECT = "(SELECT key FROM subject WHERE subject.tenant = put.tenant AND subject.id = put.id)"
OF_SUBJECT = "subject.key = series.subject AND series.key = sample.series AND subject.tenant = $1 AND subject.id = $2"


class BusyError(Exception):
    """Another node writes to this tenant, and to wait for it here could be to wait for ever: in a transaction anew."""


class _Put(NamedTuple):
    types: list[str]
    document: bytes | None
    expires_us: int | None


class PostgresWriter(PostgresReader):
    """See ``base.Writer``. ``node``: whose notifications of changed documents these are."""

    def __init__(self, session: Session, node: str) -> None:
        super().__init__(session)
        self._node = node
        self._locks: set[str] = set()
        self._first = True
        self._puts: dict[Name, _Put] = {}
        self._samples: dict[Name, dict[tuple[str, str, int, int], tuple[bytes, int]]] = {}
        self._tenants: set[str] = set()

    @contextmanager
    def work(self, *, alone: bool) -> Iterator[None]:
        """Frame one work; what it raises leaves nothing. ``alone``: the transaction has no other one."""
        locks, tenants = set(self._locks), set(self._tenants)
        if not alone:
            self._sql.execute("SAVEPOINT work")
        try:
            yield
            self._flush()
        except Exception:
            self._puts, self._samples, self._locks, self._tenants = {}, {}, locks, tenants
            if not alone:
                self._sql.execute("ROLLBACK TO SAVEPOINT work")
            raise
        self._first = False
        if not alone:
            self._sql.execute("RELEASE SAVEPOINT work")

    # locks

    def _lock(self, name: str) -> None:
        """Only a transaction that holds nothing of its kind yet may wait: so no two ever wait for each other."""
        if name in self._locks:
            return
        kind = name[0]
        if self._first and not any(held[0] >= kind for held in self._locks):
            self._sql.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)
        elif not self._sql.value("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", name):
            raise BusyError(name)
        self._locks.add(name)

    def _own(self, tenant: str) -> None:
        self._lock(f"t{tenant}")

    def _see(self, tenant: str) -> None:
        self._own(tenant)
        self._flush()

    def _touch(self, tenant: str) -> None:
        """It is written to: it comes into being."""
        self._own(tenant)
        if tenant and tenant not in self._tenants:
            self._sql.execute("INSERT INTO tenant (name) VALUES ($1) ON CONFLICT DO NOTHING", tenant)
            self._tenants.add(tenant)

    # entities

    def entity(self, tenant: str, entity_id: str) -> bytes | None:
        """The document of an entity."""
        self._own(tenant)
        put = self._puts.get((tenant, entity_id))
        return super().entity(tenant, entity_id) if put is None else put.document

    def put_entity(
        self, tenant: str, entity_id: str, types: Sequence[str], document: bytes, expires_us: int | None = None
    ) -> None:
        """Insert or replace."""
        self._touch(tenant)
        self._puts[tenant, entity_id] = _Put(list(types), document, expires_us)

    def delete_entity(self, tenant: str, entity_id: str) -> bool:
        """Delete the current state."""
        self._see(tenant)
        done = self._sql.execute(
            "UPDATE subject SET document = NULL, expires_us = NULL, hints = NULL "
            "WHERE tenant = $1 AND id = $2 AND document IS NOT NULL",
            tenant,
            entity_id,
        )
        self._settle(tenant, entity_id)
        return count_of(done) > 0

    def put_subject(self, tenant: str, entity_id: str, types: Sequence[str]) -> None:
        """Something of which there is history only."""
        self._touch(tenant)
        put = self._puts.get((tenant, entity_id))
        if put is None and (row := self._head(tenant, entity_id)) is not None:
            known: list[str] = list(row["types"])
            added = [*known, *(iri for iri in types if iri not in known)]
            if added != known:
                self._sql.execute("UPDATE subject SET types = $2 WHERE key = $1", row["key"], added)
            return
        put = put or _Put([], None, None)
        added = [*put.types, *(iri for iri in types if iri not in put.types)]
        self._puts[tenant, entity_id] = put._replace(types=added)

    def _settle(self, tenant: str, entity_id: str) -> None:
        """What has neither a state nor history is gone."""
        self._sql.execute(
            "DELETE FROM subject WHERE tenant = $1 AND id = $2 AND document IS NULL AND NOT EXISTS (SELECT FROM series "
            "JOIN sample ON sample.series = series.key WHERE series.subject = subject.key)",
            tenant,
            entity_id,
        )

    # history

    def put_history(self, tenant: str, entity_id: str, samples: Sequence[Sample], now_us: int) -> None:
        """Insert, or replace by identity."""
        self._own(tenant)
        name = (tenant, entity_id)
        if name not in self._puts and self._head(*name) is None:
            raise ValueError(f"history of {entity_id!r}, which was never put")
        waiting = self._samples.setdefault(name, {})
        for one in samples:
            key = (one.attribute, one.dataset, one.at_us, MARK_NUMBERS[one.mark])
            waiting[key] = (one.instance, now_us)

    def replace_sample(self, tenant: str, entity_id: str, old: Sample, new: Sample, now_us: int) -> None:
        """Put the new one in place of the old one."""
        self._see(tenant)
        self._sql.execute(
            f"DELETE FROM sample USING series, subject WHERE {OF_SUBJECT} AND attribute = $3 AND number = $4",  # noqa: S608
            tenant,
            entity_id,
            old.attribute,
            old.number,
        )
        self.put_history(tenant, entity_id, [new], now_us)
        self._flush()
        self._sql.execute(
            f"UPDATE sample SET number = $7, created_us = $8 FROM series, subject WHERE {OF_SUBJECT} "  # noqa: S608
            "AND attribute = $3 AND dataset = $4 AND at_us = $5 AND mark = $6",
            tenant,
            entity_id,
            new.attribute,
            new.dataset,
            new.at_us,
            MARK_NUMBERS[new.mark],
            old.number,
            old.created_us,
        )

    def delete_history(
        self,
        tenant: str,
        entity_id: str,
        attribute: str | None = None,
        dataset: str | None = None,
        number: int | None = None,
    ) -> int:
        """Delete samples; returns how many."""
        self._see(tenant)
        done = self._sql.execute(
            f"DELETE FROM sample USING series, subject WHERE {OF_SUBJECT} AND ($3::text IS NULL OR attribute = $3) "  # noqa: S608
            "AND ($4::text IS NULL OR dataset = $4) AND ($5::bigint IS NULL OR number = $5)",
            tenant,
            entity_id,
            attribute,
            dataset,
            number,
        )
        self._settle(tenant, entity_id)
        return count_of(done)

    def trim_history(self, tenant: str, entity_id: str, before_us: int) -> None:
        """Delete samples of before."""
        self._see(tenant)
        self._sql.execute(
            f"DELETE FROM sample USING series, subject WHERE {OF_SUBJECT} AND at_us < $3",  # noqa: S608
            tenant,
            entity_id,
            before_us,
        )
        self._settle(tenant, entity_id)

    # what waits

    def _flush(self) -> None:
        puts, self._puts = self._puts, {}
        samples, self._samples = self._samples, {}
        if puts:
            self._put_subjects(puts)
        if samples:
            self._put_samples(samples)

    def _put_subjects(self, puts: dict[Name, _Put]) -> None:
        self._sql.execute(
            "INSERT INTO subject (tenant, id, types, document, expires_us, hints) "
            "SELECT tenant, id, string_to_array(types, $7), document, expires_us, hints FROM unnest($1::text[], "
            "$2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::jsonb[]) WITH ORDINALITY "
            "AS put (tenant, id, types, document, expires_us, hints, n) ORDER BY n "
            "ON CONFLICT (tenant, id) DO UPDATE SET types = excluded.types, document = excluded.document, "
            "expires_us = excluded.expires_us, hints = excluded.hints",
            [tenant for tenant, _ in puts],
            [entity_id for _, entity_id in puts],
            [LINE.join(put.types) for put in puts.values()],
            [put.document for put in puts.values()],
            [put.expires_us for put in puts.values()],
            [None if put.document is None else hints_of(put.document) for put in puts.values()],
            LINE,
        )

    def _put_samples(self, samples: dict[Name, dict[tuple[str, str, int, int], tuple[bytes, int]]]) -> None:
        rows = [(*name, *key, *value) for name, some in samples.items() for key, value in some.items()]
        if not rows:
            return
        tenants, ids, attributes, datasets, at_us, marks, instances, now_us = map(list, zip(*rows, strict=True))
        self._make_partitions(at_us)
        self._sql.execute(
            f"INSERT INTO series (subject, attribute, dataset) SELECT DISTINCT {KEY_OF_SUBJECT}, attribute, dataset "  # noqa: S608
            "FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS put (tenant, id, attribute, dataset) "
            "ON CONFLICT DO NOTHING",
            tenants,
            ids,
            attributes,
            datasets,
        )
        self._sql.execute(
            "INSERT INTO sample (series, at_us, mark, number, created_us, modified_us, instance) SELECT "  # noqa: S608
            f"(SELECT key FROM series WHERE subject = {KEY_OF_SUBJECT} AND attribute = put.attribute "
            "AND dataset = put.dataset), at_us, mark, nextval('sample_number'), now_us, now_us, instance "
            "FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::smallint[], $7::bytea[], "
            "$8::bigint[]) AS put (tenant, id, attribute, dataset, at_us, mark, instance, now_us) "
            "ON CONFLICT (series, at_us, mark) "
            "DO UPDATE SET modified_us = excluded.modified_us, instance = excluded.instance",
            tenants,
            ids,
            attributes,
            datasets,
            at_us,
            marks,
            instances,
            now_us,
        )

    def _make_partitions(self, at_us: Iterable[int]) -> None:
        """Attached, not made in place: that would wait for every reader."""
        for year in sorted({year_of(at) for at in at_us}):
            name, first, last = partition(year)
            if self._sql.value("SELECT to_regclass($1)", name) is not None:
                continue
            self._lock("a partitions")
            if self._sql.value("SELECT to_regclass($1)", name) is None:
                self._sql.execute(f"CREATE TABLE {name} (LIKE sample INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
                self._sql.execute(f"ALTER TABLE sample ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({last})")

    # documents and notes

    def put_document(self, kind: Kind, tenant: str, document_id: str, document: bytes) -> None:
        """Insert or replace."""
        self._touch(tenant)
        self._sql.execute(
            "INSERT INTO document (kind, tenant, id, document) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (kind, tenant, id) DO UPDATE SET document = excluded.document",
            kind,
            tenant,
            document_id,
            document,
        )
        self._tell(kind, tenant, document_id)

    def delete_document(self, kind: Kind, tenant: str, document_id: str) -> bool:
        """Returns whether it was there."""
        self._own(tenant)
        done = self._sql.execute(
            "DELETE FROM document WHERE kind = $1 AND tenant = $2 AND id = $3", kind, tenant, document_id
        )
        if kind in ("subscription", "csource-subscription"):
            self._sql.execute("DELETE FROM note WHERE tenant = $1 AND subscription = $2", tenant, document_id)
        self._tell(kind, tenant, document_id)
        return count_of(done) > 0

    def _tell(self, kind: Kind, tenant: str, document_id: str) -> None:
        """The other nodes, at the commit. A payload has at most 8,000 bytes: a long name is told without its id."""
        said = orjson.dumps([self._node, kind, tenant, document_id]).decode()
        short = orjson.dumps([self._node, kind, "", ""]).decode()
        self._sql.execute("SELECT pg_notify($1, $2)", CHANNEL, said if len(said.encode()) < 8_000 else short)

    def put_notes(self, notes: Sequence[Note]) -> None:
        """Add, or replace by id."""
        unique = {note.id: note for note in notes}
        columns = [list(column) for column in zip(*unique.values(), strict=True)] if unique else []
        if columns:
            self._sql.execute(
                f"INSERT INTO note ({NOTE}) SELECT {NOTE} FROM unnest($1::text[], $2::text[], $3::text[], "  # noqa: S608
                f"$4::bigint[], $5::int[], $6::bytea[], $7::text[]) WITH ORDINALITY AS put ({NOTE}, n) ORDER BY n "
                "ON CONFLICT (id) DO UPDATE SET due_us = excluded.due_us, attempts = excluded.attempts, "
                "why = excluded.why, held_by = '', held_until_us = 0",
                *columns,
            )

    def claim_notes(self, node: str, now_us: int, until_us: int, limit: int) -> list[Note]:
        """What is due and free is this node's."""
        rows = self._sql.rows(
            "UPDATE note SET held_by = $1, held_until_us = $3 WHERE key IN (SELECT key FROM note WHERE NOT dead "
            "AND due_us <= $2 AND held_until_us <= $2 ORDER BY due_us, key LIMIT $4 FOR UPDATE SKIP LOCKED) "
            "RETURNING key, id, tenant, subscription, due_us, attempts, body, why",
            node,
            now_us,
            until_us,
            limit,
        )
        return [Note(*row[1:]) for row in sorted(rows, key=lambda row: (row["due_us"], row["key"]))]

    def extend_notes(self, node: str, until_us: int) -> None:
        """A node goes on holding what it holds."""
        self._sql.execute("UPDATE note SET held_until_us = $2 WHERE held_by = $1 AND NOT dead", node, until_us)

    def settle_notes(self, ids: Sequence[str]) -> None:
        """Delivered."""
        self._sql.execute("DELETE FROM note WHERE id = ANY($1::text[])", list(ids))

    def bury_notes(self, ids: Sequence[str], why: str) -> None:
        """Given up."""
        self._sql.execute(
            "UPDATE note SET dead = true, why = $2, held_by = '', held_until_us = 0 WHERE id = ANY($1::text[])",
            list(ids),
            why,
        )

    def revive_notes(self, tenant: str, subscription: str, now_us: int, ids: Sequence[str] | None = None) -> int:
        """Due again."""
        done = self._sql.execute(
            "UPDATE note SET dead = false, attempts = 0, due_us = $3 WHERE tenant = $1 AND subscription = $2 "
            "AND dead AND ($4::text[] IS NULL OR id = ANY($4::text[]))",
            tenant,
            subscription,
            now_us,
            None if ids is None else list(ids),
        )
        return count_of(done)

    def drop_notes(self, tenant: str, subscription: str, *, dead: bool, keep: int) -> int:
        """Only the newest stay."""
        done = self._sql.execute(
            "DELETE FROM note WHERE key IN (SELECT key FROM note WHERE tenant = $1 AND subscription = $2 AND dead = $3 "
            "ORDER BY key DESC OFFSET $4)",
            tenant,
            subscription,
            dead,
            keep,
        )
        return count_of(done)

    # the compact protocol

    def received(self, gateway: str, stream: str) -> list[Range]:
        """What is here of a stream; nobody else changes it meanwhile."""
        self._lock(f"g{gateway}")
        return super().received(gateway, stream)

    def put_received(self, gateway: str, stream: str, ranges: Sequence[Range], used_us: int, keep: int) -> None:
        """Insert or replace the ranges of a stream."""
        self._lock(f"g{gateway}")
        self._sql.execute(
            "INSERT INTO stream (gateway, id, used_us, ranges) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (gateway, id) DO UPDATE SET used_us = excluded.used_us, ranges = excluded.ranges",
            gateway,
            stream,
            used_us,
            orjson.dumps([(one.first, one.last) for one in ranges]),
        )
        self._sql.execute(
            "DELETE FROM stream WHERE gateway = $1 AND id IN (SELECT id FROM stream WHERE gateway = $1 "
            "ORDER BY (id = $2) DESC, used_us DESC OFFSET $3)",
            gateway,
            stream,
            keep,
        )

    def put_profiles(self, gateway: str, digest: str, document: bytes, put_us: int, keep: int) -> None:
        """Insert or replace a gateway's profiles."""
        self._lock(f"g{gateway}")
        self._sql.execute(
            "INSERT INTO profiles (gateway, hash, put_us, document) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (gateway, hash) DO UPDATE SET put_us = excluded.put_us, document = excluded.document",
            gateway,
            digest,
            put_us,
            document,
        )
        self._sql.execute(
            "DELETE FROM profiles WHERE gateway = $1 AND hash IN (SELECT hash FROM profiles WHERE gateway = $1 "
            "ORDER BY (hash = $2) DESC, put_us DESC OFFSET $3)",
            gateway,
            digest,
            keep,
        )


def year_of(at_us: int) -> int:
    """The year of UTC, as far as there are partitions of years."""
    if at_us < _start_us(YEARS.start):
        return YEARS.start - 1
    if at_us >= _start_us(YEARS.stop):
        return YEARS.stop
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).year


def partition(year: int) -> tuple[str, str, str]:
    """Name and bounds of the partition."""
    if year < YEARS.start:
        return "sample_before", "MINVALUE", str(_start_us(YEARS.start))
    if year >= YEARS.stop:
        return "sample_after", str(_start_us(YEARS.stop)), "MAXVALUE"
    return f"sample_{year}", str(_start_us(year)), str(_start_us(year + 1))


def _start_us(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
