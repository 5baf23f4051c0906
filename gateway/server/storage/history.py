"""History read: chunks, then the changes that are not in chunks yet. Works on one state of the tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from gateway.server.storage import changes as ch
from gateway.server.storage import chunks
from gateway.server.storage.base import Numbers, Sample, Span
from gateway.server.storage.changes import Change, Row, Rows, Series

FIRST, LAST = chunks.FIRST, chunks.LAST
OBSERVED, DELETED = chunks.OBSERVED, 2
MARK_OF = {"observedAt": OBSERVED, "deletedAt": DELETED}


class History:
    """Of one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def samples(self, subject: int, pending: Sequence[Change], span: Span) -> list[Sample]:
        """Samples of a subject in the order of time; ``pending`` are the changes that are in no table."""
        by_time = span.time_property not in ("createdAt", "modifiedAt")
        changes = self.changes(subject, pending, span.until_us if by_time else None)
        found: list[tuple[int, Series, Row]] = []
        for series in self._series(subject, changes, span):
            mine = [one for one in changes if ch.names(one, series)]
            found += ((_time(row, span), series, row) for row in self._rows(subject, series, mine, span))
        found.sort(key=lambda one: (one[0], one[2][2]))
        if span.last_n is None:
            del found[span.limit + 1 :]
        return [ch.sample(series, row) for _, series, row in found]

    def numbers(
        self, subject: int, pending: Sequence[Change], series: Series, since_us: int | None, until_us: int | None
    ) -> Numbers | None:
        """Observed values of a series."""
        since, until = FIRST if since_us is None else since_us, LAST if until_us is None else until_us
        attribute, dataset = series
        changes = [
            one
            for one in self.changes(subject, pending, until)
            if (
                (since <= one[3] < until and one[1] == attribute and one[2] == dataset)
                if one[0] <= ch.SET  # nearly all of them
                else ch.names(one, series)
            )
        ]
        if changes:
            return _numbers(self._rows(subject, series, changes, Span(since_us=since, until_us=until, limit=2**62)))
        parts: list[Numbers] = []
        for first_us, last_us, body in self._chunks(subject, series, since, until):
            columns = chunks.decode_numbers(body)
            if columns is None:
                inside = [row for row in chunks.decode(body) if row[1] == OBSERVED and since <= row[0] < until]
                columns = _numbers(inside)
            elif first_us < since or last_us >= until:
                low, high = np.searchsorted(columns.at_us, [since, until])
                columns = Numbers(columns.at_us[low:high], columns.values[low:high])
            if columns is None:
                return None
            parts.append(columns)
        if not parts:
            return _numbers([])
        return Numbers(np.concatenate([p.at_us for p in parts]), np.concatenate([p.values for p in parts]))

    def exists(self, subject: int, pending: Sequence[Change]) -> bool:
        """Whether there is any sample."""
        changes = self.changes(subject, pending)
        if all(one[0] == ch.PUT for one in changes):
            row = self._sql.execute("SELECT 1 FROM chunk WHERE subject = ? LIMIT 1", (subject,)).fetchone()
            return bool(changes) or row is not None
        return bool(self.samples(subject, pending, Span(limit=0, time_property="any")))

    def changes(self, subject: int, pending: Sequence[Change], until_us: int | None = None) -> list[Change]:
        """All that are not in chunks, in their order. What can only touch samples from ``until_us`` on may be missing.

        It is passed over by rows, of which many are younger than what is asked for.
        """
        rows = self._sql.execute(
            "SELECT body FROM recent WHERE subject = ? AND first_us <= ? ORDER BY key",
            (subject, LAST if until_us is None else until_us - 1),
        )
        found = [change for (body,) in rows for change in ch.decode(body)]
        found.extend(pending)
        return found

    def stored_series(self, subject: int) -> list[Series]:
        """Series with chunks."""
        return self._sql.execute(
            "SELECT DISTINCT attribute.iri, ifnull(dataset.iri, '') FROM chunk "
            "JOIN name AS attribute ON attribute.key = chunk.attribute "
            "LEFT JOIN name AS dataset ON dataset.key = chunk.dataset WHERE subject = ?",
            (subject,),
        ).fetchall()

    def _series(self, subject: int, changes: Iterable[Change], span: Span) -> list[Series]:
        known = dict.fromkeys(self.stored_series(subject))
        known.update(dict.fromkeys((one[1], one[2]) for one in changes if one[0] not in ch.TAKE_AWAY))
        return [
            one
            for one in known
            if (not span.attributes or one[0] in span.attributes) and (span.datasets is None or one[1] in span.datasets)
        ]

    def _chunks(self, subject: int, series: Series, first_us: int, until_us: int) -> list[tuple[int, int, bytes]]:
        """(first, last, body) of those that touch the time, in order."""
        return self._sql.execute(
            "SELECT first_us, last_us, body FROM chunk WHERE subject = ? "
            "AND attribute = (SELECT key FROM name WHERE iri = ?) "
            "AND dataset = iif(? = '', 0, (SELECT key FROM name WHERE iri = ?)) "
            "AND last_us >= ? AND first_us < ? ORDER BY first_us, last_us",
            (subject, *series, series[1], first_us, until_us),
        ).fetchall()

    def _rows(self, subject: int, series: Series, changes: Sequence[Change], span: Span) -> list[Row]:
        """What fits of one series, in the order of the time property; of the newest where ``last_n`` is set."""
        if span.time_property in ("createdAt", "modifiedAt"):
            rows = self._merged(self._chunks(subject, series, FIRST, LAST), changes, series, FIRST, LAST)
            return _cut(sorted(filter(_fits(span), rows), key=lambda row: _time(row, span)), span)
        since = FIRST if span.since_us is None else span.since_us
        until = LAST if span.until_us is None else span.until_us
        if span.last_n is not None:
            return self._newest(subject, series, changes, span, since, until)
        touched = self._chunks(subject, series, since, until)
        return _cut(list(filter(_fits(span), self._merged(touched, changes, series, since, until))), span)

    def _newest(
        self, subject: int, series: Series, changes: Sequence[Change], span: Span, since: int, until: int
    ) -> list[Row]:
        """Chunks are read from the end until there is enough."""
        starts: list[int] = [
            first
            for (first,) in self._sql.execute(
                "SELECT first_us FROM chunk WHERE subject = ? AND attribute = (SELECT key FROM name WHERE iri = ?) "
                "AND dataset = iif(? = '', 0, (SELECT key FROM name WHERE iri = ?)) AND last_us >= ? AND first_us < ? "
                "ORDER BY first_us DESC",
                (subject, *series, series[1], since, until),
            )
        ]
        back = 1
        while True:
            low = max(since, starts[back - 1]) if back < len(starts) else since
            touched = self._chunks(subject, series, low, until)
            if changes:
                rows = list(filter(_fits(span), self._merged(touched, changes, series, low, until)))
            else:
                mark = MARK_OF.get(span.time_property)
                rows = [row for _, _, body in touched for row in chunks.decode(body, low, until, mark, span.last_n)]
            if low == since or len(rows) >= (span.last_n or 0):
                return _cut(rows, span)
            back *= 2

    @staticmethod
    def _merged(
        touched: Sequence[tuple[int, int, bytes]], changes: Sequence[Change], series: Series, since: int, until: int
    ) -> list[Row]:
        """Rows from ``since`` to before ``until``, in the order of time."""
        if not changes:
            return [row for _, _, body in touched for row in chunks.decode(body, since, until)]
        rows: Rows = {(row[0], row[1]): row for _, _, body in touched for row in chunks.decode(body)}
        ch.apply(rows, (one for one in changes if one[0] in ch.TAKE_AWAY or since <= one[3] < until), series)
        return sorted(row for row in rows.values() if since <= row[0] < until)


def _time(row: Row, span: Span) -> int:
    if span.time_property == "createdAt":
        return row[3]
    return row[4] if span.time_property == "modifiedAt" else row[0]


def _fits(span: Span) -> Callable[[Row], bool]:
    since = FIRST if span.since_us is None else span.since_us
    until = LAST if span.until_us is None else span.until_us
    if span.time_property == "observedAt":
        return lambda row: row[1] == OBSERVED
    if span.time_property == "deletedAt":
        return lambda row: row[1] == DELETED
    if span.time_property == "any":
        return lambda row: True
    return lambda row: row[1] != DELETED and since <= _time(row, span) < until


def _cut(rows: list[Row], span: Span) -> list[Row]:
    if span.last_n is not None:
        return rows[max(0, len(rows) - span.last_n) :]
    return rows[: span.limit + 1]


def _numbers(rows: Iterable[Row]) -> Numbers | None:
    at_us: list[int] = []
    values: list[float] = []
    for row in rows:
        value = chunks.number_of(row[5])
        if value is None:
            return None
        at_us.append(row[0])
        values.append(float(value))
    return Numbers(np.array(at_us, np.int64), np.array(values, np.float64))
