"""The Writer over PostgreSQL: one transaction of one node, for one work after the other.

Puts wait until something is read that they may change, then go in few statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

from gateway.server.storage.base import Sample
from gateway.server.storage.changes import MARK_NUMBERS
from gateway.server.storage.chunks import number_of
from gateway.server.storage.postgres.held import Name
from gateway.server.storage.postgres.hints import hints_of
from gateway.server.storage.postgres.partitions import Known, Series, partition, year_of
from gateway.server.storage.postgres.queues import Queues
from gateway.server.storage.postgres.session import Session, count_of

LINE = "\n"  # between type IRIs: it is in none
OF_SUBJECT = "subject.key = series.subject AND series.key = sample.series AND subject.tenant = $1 AND subject.id = $2"


class _Put(NamedTuple):
    types: list[str]
    document: bytes | None
    expires_us: int | None


class _Sample(NamedTuple):
    instance: bytes
    created_us: int
    modified_us: int
    number: int | None  # None: the next one


Place: TypeAlias = tuple[str, str, int, int]  # attribute, dataset, at_us, mark


class PostgresWriter(Queues):
    """See ``base.Writer``."""

    def __init__(self, session: Session, node: str, known: Known) -> None:
        super().__init__(session, node)
        self._known = known
        self._keys: dict[Name, int] = {}
        self._series: dict[Series, int] = {}
        self._years: set[int] = set()
        self._puts: dict[Name, _Put] = {}
        self._samples: dict[Name, dict[Place, _Sample]] = {}

    @contextmanager
    def work(self, *, alone: bool) -> Iterator[None]:
        """Frame one work; what it raises leaves nothing. ``alone``: the transaction has no other one."""
        locks, tenants, told = set(self._locks), set(self._tenants), len(self._told)
        undos = len(self._undos)
        if not alone:
            self._sql.execute("SAVEPOINT work")
        kept = False
        try:
            yield
            self._flush()
            kept = True
        finally:
            if not kept:
                self.undo(undos)
                self._forget()
                self._puts, self._samples, self._waiting, self._locks, self._tenants = {}, {}, {}, locks, tenants
                del self._told[told:]
                if not alone:
                    self._sql.execute("ROLLBACK TO SAVEPOINT work")
        self._first = False
        if not alone:
            self._sql.execute("RELEASE SAVEPOINT work")

    def _forget(self) -> None:
        super()._forget()
        self._keys, self._series, self._years = {}, {}, set()

    def kept(self) -> None:
        """It is committed."""
        self._known.learn(self._series, self._years)

    # entities

    def put_entity(
        self, tenant: str, entity_id: str, types: Sequence[str], document: bytes, expires_us: int | None = None
    ) -> None:
        """Insert or replace."""
        self._touch(tenant)
        self._puts[tenant, entity_id] = _Put(list(types), document, expires_us)
        self._entities[tenant, entity_id] = document

    def delete_entity(self, tenant: str, entity_id: str) -> bool:
        """Delete the current state."""
        self._see(tenant)
        done = self._sql.execute(
            "UPDATE subject SET document = NULL, expires_us = NULL, hints = NULL "
            "WHERE tenant = $1 AND id = $2 AND document IS NOT NULL",
            tenant,
            entity_id,
        )
        self._entities[tenant, entity_id] = None
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
        self._keys.pop((tenant, entity_id), None)
        self._sql.execute(
            "DELETE FROM subject WHERE tenant = $1 AND id = $2 AND document IS NULL AND NOT EXISTS (SELECT FROM series "
            "JOIN sample ON sample.series = series.key WHERE series.subject = subject.key)",
            tenant,
            entity_id,
        )

    # history

    def put_history(self, tenant: str, entity_id: str, samples: Sequence[Sample], now_us: int) -> None:
        """Insert, or replace by identity."""
        self._stage(tenant, entity_id, samples, lambda one: _Sample(one.instance, now_us, now_us, None))

    def restore_history(self, tenant: str, entity_id: str, samples: Sequence[Sample]) -> None:
        """Insert with the numbers and system dates that they have: what comes from another storage."""

        def kept(one: Sample) -> _Sample:
            return _Sample(one.instance, one.created_us, one.modified_us, one.number)

        self._stage(tenant, entity_id, samples, kept)

    def _stage(self, tenant: str, entity_id: str, samples: Sequence[Sample], what: Callable[[Sample], _Sample]) -> None:
        self._own(tenant)
        name = (tenant, entity_id)
        if name not in self._puts and name not in self._keys:
            row = self._head(*name)
            if row is None:
                raise ValueError(f"history of {entity_id!r}, which was never put")
            self._keys[name] = row["key"]
        waiting = self._samples.setdefault(name, {})
        for one in samples:
            waiting[one.attribute, one.dataset, one.at_us, MARK_NUMBERS[one.mark]] = what(one)

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
        self._put_documents()

    def _put_subjects(self, puts: dict[Name, _Put]) -> None:
        rows = self._sql.rows(
            "INSERT INTO subject (tenant, id, types, document, expires_us, hints) "
            "SELECT tenant, id, string_to_array(types, $7), document, expires_us, hints FROM unnest($1::text[], "
            "$2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::jsonb[]) WITH ORDINALITY "
            "AS put (tenant, id, types, document, expires_us, hints, n) ORDER BY n "
            "ON CONFLICT (tenant, id) DO UPDATE SET types = excluded.types, document = excluded.document, "
            "expires_us = excluded.expires_us, hints = excluded.hints RETURNING tenant, id, key",
            [tenant for tenant, _ in puts],
            [entity_id for _, entity_id in puts],
            [LINE.join(put.types) for put in puts.values()],
            [put.document for put in puts.values()],
            [put.expires_us for put in puts.values()],
            [None if put.document is None else hints_of(put.document) for put in puts.values()],
            LINE,
        )
        self._keys.update({(row["tenant"], row["id"]): row["key"] for row in rows})

    def _put_samples(self, samples: dict[Name, dict[Place, _Sample]]) -> None:
        rows = [
            ((self._key(*name), attribute, dataset), *rest, *value)
            for name, some in samples.items()
            for (attribute, dataset, *rest), value in some.items()
        ]
        if not rows:
            return
        series, at_us, marks, instances, created, modified, numbers = map(list, zip(*rows, strict=True))
        self._make_partitions(at_us)
        self._make_series(series)
        self._sql.execute(
            "INSERT INTO sample (series, at_us, mark, number, created_us, modified_us, value, instance) "
            "SELECT series, at_us, mark, coalesce(number, nextval('sample_number')), created_us, modified_us, value, "
            "instance FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bytea[], $5::bigint[], "
            "$6::bigint[], $7::bigint[], $8::float8[]) "
            "AS put (series, at_us, mark, instance, created_us, modified_us, number, value) "
            "ON CONFLICT (series, at_us, mark) DO UPDATE SET modified_us = excluded.modified_us, "
            "value = excluded.value, instance = excluded.instance",
            [self._series[one] for one in series],
            at_us,
            marks,
            instances,
            created,
            modified,
            numbers,
            list(map(number_of, instances)),
        )

    def _key(self, tenant: str, entity_id: str) -> int:
        """Of a subject that is there."""
        key = self._keys.get((tenant, entity_id))
        if key is None:
            row = self._head(tenant, entity_id)
            assert row is not None, "it was there when its history was put"
            key = self._keys[tenant, entity_id] = row["key"]
        return key

    def _make_series(self, wanted: Iterable[Series]) -> None:
        """The keys of all of them are in ``_series`` then."""
        new = [one for one in dict.fromkeys(wanted) if one not in self._series]
        self._series.update({one: self._known.series[one] for one in new if one in self._known.series})
        new = [one for one in new if one not in self._series]
        if not new:
            return
        columns = [list(column) for column in zip(*new, strict=True)]
        self._sql.execute(
            "INSERT INTO series (subject, attribute, dataset) SELECT * FROM unnest($1::bigint[], $2::text[], "
            "$3::text[]) ON CONFLICT DO NOTHING",
            *columns,
        )
        rows = self._sql.rows(  # row by row: a join would be planned by statistics, which new tables have not
            "SELECT (SELECT key FROM series WHERE subject = put.subject AND attribute = put.attribute AND "
            "dataset = put.dataset) AS key FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY "
            "AS put (subject, attribute, dataset, n) ORDER BY n",
            *columns,
        )
        self._series.update({one: row["key"] for one, row in zip(new, rows, strict=True)})

    def _make_partitions(self, at_us: Iterable[int]) -> None:
        """Attached, not made in place: that would wait for every reader."""
        for year in sorted({year_of(at) for at in at_us} - self._known.years - self._years):
            self._years.add(year)
            name, first, last = partition(year)
            if self._sql.value("SELECT to_regclass($1)", name) is not None:
                continue
            self._lock("a partitions")
            if self._sql.value("SELECT to_regclass($1)", name) is None:
                self._sql.execute(f"CREATE TABLE {name} (LIKE sample INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
                self._sql.execute(f"ALTER TABLE sample ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({last})")
