"""Indexes of values and places, made when they are first asked for: columns of numbers in memory.

What a column gives is never too little: entities that were written since it was made, and values that it cannot order,
are always among its hits. When too many were written it is dropped, and made again by who asks next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from gateway.server.storage.base import Area, Term
from gateway.server.storage.state import Members, Subject

COLUMNS_MAX = 32
WRITTEN_MAX = 2_000  # and a tenth of the column
SUBJECTS_MIN = 500  # fewer are looked at one by one
SELECTIVE = 1 / 8  # of all entities: where more fit, going through them in order finds the first page sooner
Mask: TypeAlias = NDArray[np.bool_]
Documents: TypeAlias = Callable[[], Iterator[tuple[Subject, bytes]]]
Key: TypeAlias = tuple[str, str, bool]  # tenant, attribute, whether of places
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": np.equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
}


class Column:
    """One attribute of a tenant as of commit ``seq``."""

    def __init__(self, seq: int, places: bool) -> None:
        self.seq = seq
        self.written: set[Subject] = set()
        self._places = places
        self._always: list[Subject] = []
        self._subjects: list[Subject] = []
        self._rows: list[Any] = []
        self._texts: dict[str, list[Subject]] = {}

    def __len__(self) -> int:
        return len(self._subjects)

    def fill(self, attribute: str, documents: Iterable[tuple[Subject, bytes]]) -> None:
        """From all entities of the tenant."""
        name = orjson.dumps(attribute)
        for subject, document in documents:
            found = orjson.loads(document).get(attribute) if name in document else None
            if found is not None:
                self._add(subject, found)
        rows = np.array(self._rows, np.float64).reshape(len(self._rows), 4 if self._places else 1)
        self._table = np.ascontiguousarray(rows.T)  # a column lies in one piece: it is what a question goes through
        self._rows.clear()

    def _add(self, subject: Subject, attribute: Any) -> None:
        value = attribute.get("value", attribute.get("object")) if isinstance(attribute, dict) else None
        row: tuple[float, ...] | None
        if self._places:
            row = box_of(value)
        elif type(value) is str:
            self._texts.setdefault(value, []).append(subject)
            return
        else:
            row = (float(value),) if isinstance(value, int | float) and not isinstance(value, bool) else None
        if row is None:
            self._always.append(subject)
        else:
            self._subjects.append(subject)
            self._rows.append(row)

    def hits(self, hints: Sequence[Term | Area], most: int) -> set[Subject] | None:
        """All that may fit each of them; None where they are more than ``most``."""
        masks = [self._mask(hint) for hint in hints if isinstance(hint, Area) or not isinstance(hint.value, str | bool)]
        texts = [hint for hint in hints if isinstance(hint, Term) and isinstance(hint.value, str)]
        found: list[Iterable[Subject]] = [self._always, list(self.written)]
        size = len(self._always) + len(self.written)
        if masks and not texts:  # no value is a number and a text
            mask = np.logical_and.reduce(masks)
            size += int(np.count_nonzero(mask))
            found.append(self._pick(mask) if size <= most else ())
        elif texts and not masks:
            equal = {hint.value for hint in texts if hint.operator == "=="}
            alike = [self._texts.get(str(value), []) for value in equal][:1] or list(self._texts.values())
            size += sum(len(subjects) for subjects in alike)
            found += alike
        return set().union(*found) if size <= most else None

    def _mask(self, hint: Term | Area) -> Mask:
        if isinstance(hint, Area):
            return self._inside(hint)
        mask: Mask = COMPARE[hint.operator](self._table[0], hint.value)
        return mask

    def _inside(self, area: Area) -> Mask:
        west, south, east, north = self._table
        inside: Mask = (north >= area.south) & (south <= area.north)
        if area.west <= area.east:
            inside &= (east >= area.west) & (west <= area.east)
        else:
            inside &= (east >= area.west) | (west <= area.east)
        return inside

    def _pick(self, mask: Mask) -> list[Subject]:
        return [self._subjects[place] for place in np.flatnonzero(mask).tolist()]


class Indexes:
    """Columns of all tenants; written to by one thread, made and asked by readers."""

    def __init__(self) -> None:
        self._columns: dict[Key, Column] = {}
        self._lock = threading.Lock()

    def written(self, subject: Subject) -> None:
        """There is a new version of it."""
        for key, column in list(self._columns.items()):
            if key[0] != subject.tenant:
                continue
            column.written.add(subject)
            if len(column.written) > WRITTEN_MAX + len(column) // 10:
                self._columns.pop(key, None)

    def hits(
        self, tenant: str, hints: Iterable[Term | Area], seq: int, everybody: Members, documents: Documents
    ) -> set[Subject] | None:
        """What may fit all hints as of commit ``seq``; None: no index helps."""
        asked: dict[Key, list[Term | Area]] = {}
        for hint in hints:
            asked.setdefault((tenant, hint.attribute, isinstance(hint, Area)), []).append(hint)
        made = [(self._column(key, seq, everybody, documents), its) for key, its in asked.items()]
        columns = [(column, its) for column, its in made if column is not None]
        most = int(len(everybody.list) * SELECTIVE)
        for bound in (most, len(everybody.list)) if len(columns) > 1 else (most,):  # all together may be selective
            found = [mine for column, its in columns if (mine := column.hits(its, bound)) is not None]
            if found:
                both = set.intersection(*found)
                return both if len(both) <= most else None
        return None

    def _column(self, key: Key, seq: int, everybody: Members, documents: Documents) -> Column | None:
        column = self._columns.get(key)
        if column is not None:
            return column if column.seq <= seq else None
        with self._lock:  # one is made at a time
            made = Column(seq, key[2])
            made.fill(key[1], documents())
            while len(self._columns) >= COLUMNS_MAX:
                self._columns.pop(next(iter(self._columns)), None)
            self._columns[key] = made  # from now on the writer tells what it writes; what it wrote meanwhile:
            made.written.update(one for one in everybody.list if one.head is not None and one.head.seq > seq)
        return made


def box_of(geometry: Any) -> tuple[float, float, float, float] | None:
    """West, south, east, north of a geometry; None where that is not plain."""
    if not isinstance(geometry, dict):
        return None
    points = list(_points(geometry.get("coordinates")))
    if not points:
        return None
    east = max(point[0] for point in points)
    west = min(point[0] for point in points)
    if east > 180 or west < -180 or east - west > 180:
        return None  # about the date line
    return west, min(point[1] for point in points), east, max(point[1] for point in points)


def _points(coordinates: Any) -> Iterator[tuple[float, float]]:
    if not isinstance(coordinates, list):
        return
    if len(coordinates) >= 2 and all(type(one) in (int, float) for one in coordinates[:2]):
        yield float(coordinates[0]), float(coordinates[1])
        return
    for part in coordinates:
        yield from _points(part)
