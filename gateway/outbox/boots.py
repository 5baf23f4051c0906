"""The boots of the box as the outbox's file knows them: when each was, in UTC. Synchronous: the writer thread only."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from gateway.outbox import dating
from gateway.outbox.codec import Entry
from gateway.outbox.dating import Boot
from gateway.outbox.records import Moment

SECOND = 1_000_000_000


class Boots:
    """The rows of the table ``boot``. ``enter`` and ``learn`` run inside the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._boots: dict[str, Boot] = {}
        self._ids: dict[int, str] = {}

    def enter(self, now: Moment, ended: int, ended_mono_ns: int) -> int:
        """Note until when the boot before ran, and this one; returns its row."""
        self._db.execute("UPDATE boot SET last_mono_ns = max(last_mono_ns, ?) WHERE id = ?", (ended_mono_ns, ended))
        enter = "INSERT OR IGNORE INTO boot (boot_id, placed, last_mono_ns) VALUES (?, 0, ?)"
        self._db.execute(enter, (now.boot_id, now.mono_ns))
        self._forget()
        (row,) = self._db.execute("SELECT id FROM boot WHERE boot_id = ?", (now.boot_id,)).fetchone()
        return int(row)

    def load(self) -> None:
        """Read the table."""
        rows = self._db.execute("SELECT id, boot_id, offset_ns, placed, last_mono_ns FROM boot ORDER BY id").fetchall()
        self._boots = {row[1]: Boot(row[1], row[2], bool(row[3]), row[4]) for row in rows}
        self._ids = {row[0]: row[1] for row in rows}

    def offset_ns(self, boot_id: str) -> int | None:
        """UTC less monotonic time of a boot, as it is in the file."""
        boot = self._boots.get(boot_id)
        return boot.offset_ns if boot else None

    def of(self, row: int) -> Boot | None:
        """The boot of a row's number."""
        return self._boots.get(self._ids.get(row, ""))

    def unlearned(self, now: Moment) -> bool:
        """Whether this boot's offset is known now and not in the file."""
        return now.offset_ns is not None and self._boots[now.boot_id].offset_ns is None

    def learn(self, now: Moment) -> int:
        """Keep this boot's offset, and place the boots before it that never learned theirs; ``load`` again after it.

        Returns how many readings are dated by estimate because of it. Once kept, an offset does not change.
        """
        assert now.offset_ns is not None
        boots = dict(self._boots)
        boots[now.boot_id] = replace(boots[now.boot_id], offset_ns=dating.whole_microseconds(now.offset_ns))
        ordered = [boots[self._ids[number]] for number in sorted(self._ids)]
        for boot_id, offset_ns in dating.place(ordered).items():
            boots[boot_id] = replace(boots[boot_id], offset_ns=offset_ns, placed=True)
        placed = 0
        for number, boot_id in self._ids.items():
            boot = boots[boot_id]
            if boot == self._boots[boot_id]:
                continue
            if boot.placed:
                undated = "SELECT coalesce(sum(undated), 0) FROM block WHERE boot = ? AND acked = 0"
                placed += int(self._db.execute(undated, (number,)).fetchone()[0])
            fields = (boot.offset_ns, boot.placed, number)
            self._db.execute("UPDATE boot SET offset_ns = ?, placed = ? WHERE id = ?", fields)
        return placed

    def age_s(self, row: int, mono_ns: int, now: Moment) -> float | None:
        """How long ago an instant of a boot was, None where no trusted time says it."""
        boot = self.of(row)
        if boot is None:
            return None
        if boot.boot_id == now.boot_id:
            return (now.mono_ns - mono_ns) / SECOND
        if boot.offset_ns is None or boot.placed or now.offset_ns is None:
            return None
        return (now.mono_ns + now.offset_ns - mono_ns - boot.offset_ns) / SECOND

    def dated(self, entries: Sequence[Entry]) -> list[Entry]:
        """The entries up to the first that has no date yet."""
        dated: list[Entry] = []
        for entry in entries:
            readings = []
            for reading in entry.readings:
                if reading.clock is not None:
                    boot = self._boots.get(reading.clock.boot_id)
                    if boot is None or boot.offset_ns is None:
                        return dated
                    reading = dating.redate(reading, boot.offset_ns, boot.placed)
                readings.append(reading)
            dated.append(Entry(entry.seq, tuple(readings)))
        return dated

    def _forget(self) -> None:
        """Only the boots of what is still here count, and the last dated one before them."""
        oldest = "SELECT coalesce((SELECT boot FROM block ORDER BY first_seq LIMIT 1), (SELECT max(id) FROM boot))"
        before = "SELECT coalesce(max(id), ?1) FROM boot WHERE id < ?1 AND offset_ns IS NOT NULL"
        (number,) = self._db.execute(oldest).fetchone()
        if number is not None:
            (keep,) = self._db.execute(before, (number,)).fetchone()
            self._db.execute("DELETE FROM boot WHERE id < ?", (keep,))
