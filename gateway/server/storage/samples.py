"""The SQL of history."""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, get_args

import numpy as np
import orjson

from gateway.server.storage.base import Mark, Numbers, Sample, Span

MARKS: tuple[Mark, ...] = get_args(Mark)
SAMPLE = "sample.number, series, at_us, mark, created_us, modified_us, instance"
Row = tuple[int, int, int, int, int, int, bytes]
Key = tuple[int, str, str]  # series, attribute, dataset


class _Keyed(Protocol):
    @property
    def key(self) -> int: ...
    @property
    def live(self) -> bool: ...


class Samples:
    """Part of ``Tables``."""

    _sql: sqlite3.Connection

    @abstractmethod
    def _find_subject(self, tenant: str, entity_id: str) -> _Keyed | None: ...
    @abstractmethod
    def _series_key(self, subject: int, attribute: str, dataset: str) -> int: ...
    @abstractmethod
    def _drop_subject(self, tenant: str, entity_id: str) -> None: ...

    def history(self, tenant: str, entity_id: str, span: Span) -> list[Sample]:
        """Samples in the order of time."""
        keys = self._keys(tenant, entity_id, span.attributes, span.datasets)
        column, condition = _condition(span)
        since = -(2**62) if span.since_us is None else span.since_us
        until = 2**62 if span.until_us is None else span.until_us
        groups = [[key] for key in keys] if span.last_n is not None else [keys]
        order, limit = ("DESC", span.last_n) if span.last_n is not None else ("ASC", span.limit + 1)
        rows: list[Row] = []
        for group in groups:
            marks = ",".join("?" * len(group))
            rows += self._sql.execute(
                f"SELECT {SAMPLE} FROM sample WHERE series IN ({marks}) AND {condition} "  # noqa: S608
                f"AND {column} >= ? AND {column} < ? ORDER BY {column} {order}, series LIMIT ?",
                (*(key[0] for key in group), since, until, limit),
            ).fetchall()
        if span.last_n is not None:
            place = {"at_us": 2, "created_us": 4, "modified_us": 5}[column]
            rows.sort(key=lambda row: (row[place], row[1]))
        names = {key: (attribute, dataset) for key, attribute, dataset in keys}
        return [_sample(names, row) for row in rows]

    def numbers(
        self, tenant: str, entity_id: str, attribute: str, dataset: str, since_us: int | None, until_us: int | None
    ) -> Numbers | None:
        """Columns of a series of plain numbers."""
        span = Span((attribute,), since_us, until_us, None, 2**62, (dataset,))
        times: list[int] = []
        values: list[float] = []
        for sample in self.history(tenant, entity_id, span):
            instance = orjson.loads(sample.instance)
            value = instance.get("value")
            if instance["type"] != "Property" or isinstance(value, bool) or not isinstance(value, int | float):
                return None
            times.append(sample.at_us)
            values.append(value)
        return Numbers(np.array(times, np.int64), np.array(values, np.float64))

    def sample(self, tenant: str, entity_id: str, attribute: str, number: int) -> Sample | None:
        """One sample."""
        names = {key[0]: (key[1], key[2]) for key in self._keys(tenant, entity_id, (attribute,), None)}
        row = self._sql.execute(f"SELECT {SAMPLE} FROM sample WHERE number = ?", (number,)).fetchone()  # noqa: S608
        return None if row is None or row[1] not in names else _sample(names, row)

    def put_history(self, tenant: str, entity_id: str, samples: Sequence[Sample], now_us: int) -> None:
        """Insert or replace."""
        found = self._find_subject(tenant, entity_id)
        if found is None:
            raise ValueError(f"history of {entity_id!r}, which was never put")
        self._sql.executemany(
            "INSERT INTO sample (series, at_us, mark, created_us, modified_us, instance) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (series, at_us, mark) DO UPDATE SET modified_us = excluded.modified_us, "
            "instance = excluded.instance",
            [
                (
                    self._series_key(found.key, s.attribute, s.dataset),
                    s.at_us,
                    MARKS.index(s.mark),
                    now_us,
                    now_us,
                    s[3],
                )
                for s in samples
            ],
        )

    def replace_sample(self, tenant: str, entity_id: str, old: Sample, new: Sample, now_us: int) -> None:
        """Put the new one in place of the old one."""
        found = self._find_subject(tenant, entity_id)
        if found is None:
            raise ValueError(f"history of {entity_id!r}, which was never put")
        series = self._series_key(found.key, new.attribute, new.dataset)
        mark = MARKS.index(new.mark)
        self._sql.execute(
            "DELETE FROM sample WHERE series = ? AND at_us = ? AND mark = ? AND number != ?",
            (series, new.at_us, mark, old.number),
        )
        self._sql.execute(
            "UPDATE sample SET series = ?, at_us = ?, mark = ?, modified_us = ?, instance = ? WHERE number = ?",
            (series, new.at_us, mark, now_us, new.instance, old.number),
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
        attributes = () if attribute is None else (attribute,)
        keys = self._keys(tenant, entity_id, attributes, None if dataset is None else (dataset,))
        condition = "" if number is None else f"AND number = {number:d}"
        deleted = 0
        for key, _, _ in keys:
            deleted += self._sql.execute(f"DELETE FROM sample WHERE series = ? {condition}", (key,)).rowcount  # noqa: S608
        found = self._find_subject(tenant, entity_id)
        if found is not None and not found.live and not self._has_history(tenant, entity_id):
            self._drop_subject(tenant, entity_id)
        return deleted

    def _has_history(self, tenant: str, entity_id: str) -> bool:
        return bool(self.history(tenant, entity_id, Span(limit=0, time_property="createdAt"))) or bool(
            self.history(tenant, entity_id, Span(limit=0, time_property="deletedAt"))
        )

    def _keys(
        self, tenant: str, entity_id: str, attributes: Sequence[str], datasets: Sequence[str] | None
    ) -> list[Key]:
        found = self._find_subject(tenant, entity_id)
        if found is None:
            return []
        rows: list[Key] = self._sql.execute(
            "SELECT series.key, attribute.iri, ifnull(dataset.iri, '') FROM series "
            "JOIN name AS attribute ON attribute.key = series.attribute "
            "LEFT JOIN name AS dataset ON dataset.key = series.dataset WHERE subject = ?",
            (found.key,),
        ).fetchall()
        return [
            row for row in rows if (not attributes or row[1] in attributes) and (datasets is None or row[2] in datasets)
        ]


def _condition(span: Span) -> tuple[str, str]:
    """The column of the time property, and which marks have it."""
    if span.time_property == "any":
        return "at_us", "1"
    if span.time_property == "observedAt":
        return "at_us", "mark = 0"
    if span.time_property == "deletedAt":
        return "at_us", "mark = 2"
    return ("created_us" if span.time_property == "createdAt" else "modified_us"), "mark != 2"


def _sample(names: dict[int, tuple[str, str]], row: Row) -> Sample:
    number, series, at_us, mark, created_us, modified_us, instance = row
    return Sample(*names[series], at_us, instance, MARKS[mark], number, created_us, modified_us)
