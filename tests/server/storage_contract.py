"""A plain model of what ``storage.base`` promises, and a machine that compares an implementation with it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.server.storage.base import Reader, Sample, Selection, Span, Storage, Subject, TimeProperty, Writer

T = TypeVar("T")
Make = Callable[[Path], Storage]
Identity = tuple[str, str, int, str]
Name = tuple[str, str]
TENANTS = ("", "city")
IDS = tuple(f"urn:x:{n}" for n in range(4))
TYPES = ("urn:t:1", "urn:t:2", "urn:t:3")
ATTRIBUTES = ("urn:a:1", "urn:a:2")
DATASETS = ("", "urn:d:1")
PROPERTIES: tuple[TimeProperty, ...] = ("observedAt", "createdAt", "modifiedAt", "deletedAt", "any")


@dataclass
class Thing:
    """What has or had an entity id."""

    types: list[str]
    document: bytes | None = None
    expires_us: int | None = None
    history: dict[Identity, Sample] = field(default_factory=dict)


def identity(sample: Sample) -> Identity:
    return (sample.attribute, sample.dataset, sample.at_us, sample.mark)


def time_of(sample: Sample, time_property: TimeProperty) -> int | None:
    """What the time property says of the sample; None: it does not count."""
    if time_property == "any":
        return sample.at_us
    if time_property == "observedAt":
        return sample.at_us if sample.mark == "observed" else None
    if time_property == "deletedAt":
        return sample.at_us if sample.mark == "deleted" else None
    if sample.mark == "deleted":
        return None
    return sample.created_us if time_property == "createdAt" else sample.modified_us


def spanned(samples: Sequence[Sample], span: Span) -> list[tuple[int, Sample]]:
    """All that the span has, but for ``limit`` and ``last_n``."""
    found = []
    for one in samples:
        at = time_of(one, span.time_property)
        named = (not span.attributes or one.attribute in span.attributes) and (
            span.datasets is None or one.dataset in span.datasets
        )
        if at is not None and named:
            if span.since_us is not None and at < span.since_us:
                continue
            if span.until_us is None or at < span.until_us:
                found.append((at, one))
    return sorted(found, key=lambda pair: pair[0])


def check_span(things: Sequence[Sample], span: Span, got: list[Sample]) -> None:
    """Ties of time may come in any order, and at the edge of a limit any of them may be taken."""
    wanted = spanned(things, span)
    times = [time_of(one, span.time_property) for one in got]
    assert times == sorted(times, key=lambda at: at or 0), "the order of time"
    assert len({one.number for one in got}) == len(got), "numbers are unique"
    if span.last_n is not None:
        groups: dict[tuple[str, str], list[int]] = {}
        for at, one in wanted:
            groups.setdefault((one.attribute, one.dataset), []).append(at)
        expected = sorted(at for ats in groups.values() for at in ats[len(ats) - min(span.last_n, len(ats)) :])
    else:
        expected = [at for at, _ in wanted][: span.limit + 1]
    assert times == expected
    assert set(got) <= {one for _, one in wanted}


class Contract(RuleBasedStateMachine):
    """``make`` opens the implementation; ``in_files``: all that it has is in the folder."""

    make: Make
    in_files = True

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.loop = asyncio.new_event_loop()
        self.things: dict[Name, Thing] = {}
        self.tenants = {""}
        self.now = 1_000

    @initialize()
    def start(self) -> None:
        self.storage = type(self).make(self.folder)
        self.loop.run_until_complete(self.storage.start())

    def teardown(self) -> None:
        self.teardown_storage()
        self.loop.close()

    def teardown_storage(self) -> None:
        self.loop.run_until_complete(self.storage.close())
        shutil.rmtree(self.folder)

    def write(self, work: Callable[[Writer], T]) -> T:
        return self.loop.run_until_complete(self.storage.write(work))

    def read(self, work: Callable[[Reader], T]) -> T:
        return self.loop.run_until_complete(self.storage.read(work))

    def settle(self, name: Name) -> None:
        """A subject without state and history is gone."""
        thing = self.things.get(name)
        if thing is not None and thing.document is None and not thing.history:
            del self.things[name]

    names = st.tuples(st.sampled_from(TENANTS), st.sampled_from(IDS))
    types = st.lists(st.sampled_from(TYPES), min_size=1, max_size=2, unique=True)
    values = st.one_of(
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["on", True, None, [1, 2], {"value": 1}]),
    )
    samples = st.lists(
        st.builds(
            lambda attribute, dataset, at, mark, value: Sample(
                attribute, dataset, at, orjson.dumps({"type": "Property", "value": value}), mark
            ),
            st.sampled_from(ATTRIBUTES),
            st.sampled_from(DATASETS),
            st.integers(0, 30).map(lambda n: n * 1_000_000),
            st.sampled_from(["observed", "observed", "observed", "written", "deleted"]),
            values,
        ),
        min_size=1,
        max_size=12,
    )

    @rule(name=names, types=types, n=st.integers(0, 99), expires=st.none() | st.integers(1, 50))
    def put_entity(self, name: Name, types: list[str], n: int, expires: int | None) -> None:
        document = b'{"n":%d}' % n
        self.write(lambda w: w.put_entity(*name, types, document, expires))
        thing = self.things.setdefault(name, Thing(types))
        thing.types, thing.document, thing.expires_us = types, document, expires
        self.tenants.add(name[0])

    @rule(name=names)
    def delete_entity(self, name: Name) -> None:
        thing = self.things.get(name)
        was = thing is not None and thing.document is not None
        assert self.write(lambda w: w.delete_entity(*name)) is was
        if thing is not None:
            thing.document = thing.expires_us = None
        self.settle(name)

    def remember(self, name: Name, samples: Sequence[Sample]) -> None:
        """What the storage made of them; what was there keeps number and creation."""
        thing = self.things[name]
        stored = {identity(one): one for one in self.read(lambda r: everything(r, *name))}
        for sample in samples:
            made = stored[identity(sample)]
            old = thing.history.get(identity(sample))
            if old is not None:
                assert made.number == old.number, "a replaced sample keeps its number"
            else:
                taken = {s.number for key, s in thing.history.items() if key not in stored or s == stored[key]}
                assert made.number not in taken, "a number is used once"
            created = self.now if old is None else old.created_us
            thing.history[identity(sample)] = sample._replace(
                number=made.number, created_us=created, modified_us=self.now
            )

    @rule(name=names, types=types, samples=samples)
    def put_history(self, name: Name, types: list[str], samples: list[Sample]) -> None:
        self.now += 1_000

        def work(writer: Writer) -> None:
            writer.put_subject(*name, types)
            writer.put_history(*name, samples, self.now)

        self.write(work)
        thing = self.things.setdefault(name, Thing([]))
        thing.types = [*thing.types, *(one for one in types if one not in thing.types)]
        self.remember(name, samples)
        self.tenants.add(name[0])

    @rule(name=names, new=samples, data=st.data())
    def replace_sample(self, name: Name, new: list[Sample], data: st.DataObject) -> None:
        thing = self.things.get(name)
        if thing is None or not thing.history:
            return
        self.now += 1_000
        key = data.draw(st.sampled_from(sorted(thing.history)))
        old = thing.history.pop(key)
        self.write(lambda w: w.replace_sample(*name, old, new[0], self.now))
        thing.history[identity(new[0])] = new[0]._replace(
            number=old.number, created_us=old.created_us, modified_us=self.now
        )

    @rule(name=names, attribute=st.none() | st.sampled_from(ATTRIBUTES), dataset=st.none() | st.sampled_from(DATASETS))
    def delete_history(self, name: Name, attribute: str | None, dataset: str | None) -> None:
        thing = self.things.get(name)
        history = {} if thing is None else thing.history
        dataset = None if attribute is None else dataset
        gone = [k for k in history if attribute in (None, k[0]) and dataset in (None, k[1])]
        assert self.write(lambda w: w.delete_history(*name, attribute, dataset)) == len(gone)
        for key in gone:
            del history[key]
        self.settle(name)

    @rule(name=names, data=st.data())
    def trim_history(self, name: Name, data: st.DataObject) -> None:
        thing = self.things.get(name)
        history = {} if thing is None else thing.history
        times = sorted({key[2] for key in history} | {0})
        before_us = data.draw(st.sampled_from(times)) + data.draw(st.sampled_from((0, 1)))
        self.write(lambda w: w.trim_history(*name, before_us))
        for key in [key for key in history if key[2] < before_us]:
            del history[key]
        self.settle(name)

    @rule(name=names, data=st.data())
    def delete_sample(self, name: Name, data: st.DataObject) -> None:
        thing = self.things.get(name)
        if thing is None or not thing.history:
            return
        key = data.draw(st.sampled_from(sorted(thing.history)))
        number = thing.history.pop(key).number
        assert self.write(lambda w: w.delete_history(*name, key[0], None, number)) == 1
        self.settle(name)

    @rule(name=names, types=types, samples=samples)
    def fail(self, name: Name, types: list[str], samples: list[Sample]) -> None:
        """A work that raises leaves nothing."""

        def work(writer: Writer) -> None:
            writer.put_entity(*name, types, b'"lost"')
            writer.put_history(*name, samples, 7)
            writer.put_document("context", "lost", "urn:x:lost", b"{}")
            assert writer.entity(*name) == b'"lost"', "a writer sees what it has written"
            assert {identity(s) for s in samples} <= {identity(s) for s in everything(writer, *name)}
            writer.delete_history(*name)
            writer.delete_entity(*name)
            assert writer.subject(*name) is None
            raise ZeroDivisionError

        try:
            self.write(work)
        except ZeroDivisionError:
            return
        raise AssertionError("it has to be raised")

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.storage.close())
        self.start()

    @rule()
    def crash(self) -> None:
        """The files as they are now, opened by another one; of a database: another node, while this one is there."""
        if not self.in_files:
            old = self.storage
            self.start()
            self.loop.run_until_complete(old.close())
            return
        copy = Path(tempfile.mkdtemp(dir=self.folder.parent))
        shutil.copytree(self.folder, copy, dirs_exist_ok=True)
        self.teardown_storage()
        self.folder = copy
        self.start()

    @rule(
        name=names,
        attributes=st.lists(st.sampled_from(ATTRIBUTES), max_size=2).map(tuple),
        since=st.none() | st.integers(0, 30),
        until=st.none() | st.integers(0, 30),
        last_n=st.none() | st.integers(1, 5),
        limit=st.integers(0, 20),
        datasets=st.none() | st.lists(st.sampled_from(DATASETS), max_size=2).map(tuple),
        time_property=st.sampled_from(PROPERTIES),
    )
    def ask(self, name: Name, since: int | None, until: int | None, **rest: Any) -> None:
        unit = 1_000 if rest["time_property"] in ("createdAt", "modifiedAt") else 1_000_000
        span = Span(
            since_us=None if since is None else since * unit, until_us=None if until is None else until * unit, **rest
        )
        thing = self.things.get(name)
        got = self.read(lambda r: r.history(*name, span))
        check_span([] if thing is None else list(thing.history.values()), span, got)
        for one in got:
            assert self.read(lambda r, s=one: r.sample(*name, s.attribute, s.number)) == one

    @rule(
        name=names,
        attribute=st.sampled_from(ATTRIBUTES),
        dataset=st.sampled_from(DATASETS),
        since=st.none() | st.integers(0, 30),
        until=st.none() | st.integers(0, 30),
    )
    def numbers(self, name: Name, attribute: str, dataset: str, since: int | None, until: int | None) -> None:
        thing = self.things.get(name)
        since, until = (None if one is None else one * 1_000_000 for one in (since, until))
        span = Span((attribute,), since, until, datasets=(dataset,))
        wanted = spanned([] if thing is None else list(thing.history.values()), span)
        values = [orjson.loads(one.instance)["value"] for _, one in wanted]
        got = self.read(lambda r: r.numbers(*name, attribute, dataset, since, until))
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
            assert got is None
        else:
            assert got is not None
            assert (got.at_us.tolist(), got.values.tolist()) == ([at for at, _ in wanted], [float(v) for v in values])

    @rule(tenant=st.sampled_from(TENANTS), types=st.lists(st.sampled_from(TYPES), max_size=2).map(tuple))
    def select(self, tenant: str, types: tuple[str, ...]) -> None:
        selection = Selection(types=types)
        mine = {n[1]: t for n, t in self.things.items() if n[0] == tenant}
        fitting = {n: t for n, t in mine.items() if not types or set(types) & set(t.types)}
        documents = [t.document for t in fitting.values() if t.document is not None]
        assert self.read(lambda r: sorted(r.entities(tenant, selection))) == sorted(documents)
        assert self.read(lambda r: r.count(tenant, selection)) == len(documents)
        whole = self.read(lambda r: list(r.entities(tenant, selection)))
        assert self.read(lambda r: list(r.entities(tenant, selection, 2, 1))) == whole[1:3]
        subjects = self.read(lambda r: list(r.subjects(tenant, selection)))
        assert sorted(s.id for s in subjects) == sorted(fitting)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "storage"):
            return

        def work(reader: Reader) -> None:
            assert set(reader.tenants()) == self.tenants
            for tenant in TENANTS:
                mine = {n[1]: t for n, t in self.things.items() if n[0] == tenant}
                assert set(reader.types(tenant)) == {
                    x for t in mine.values() if t.document is not None for x in t.types
                }
                for entity_id in IDS:
                    thing = mine.get(entity_id)
                    assert reader.entity(tenant, entity_id) == (None if thing is None else thing.document)
                    expected = None if thing is None else Subject(entity_id, thing.types, thing.document is not None)
                    assert reader.subject(tenant, entity_id) == expected
                    history = {} if thing is None else thing.history
                    assert {identity(s): s for s in everything(reader, tenant, entity_id)} == history
            expired = {n for n, t in self.things.items() if t.expires_us is not None and t.expires_us <= 25}
            assert set(reader.expired(25, 100)) == expired

        self.read(work)
        for name, thing in self.things.items():
            assert self.loop.run_until_complete(self.storage.lookup(*name)) == thing.document


def everything(reader: Reader, tenant: str, entity_id: str) -> list[Sample]:
    """All samples of an entity."""
    return reader.history(tenant, entity_id, Span(time_property="any"))
