"""Every promise of ``storage.base``, for each implementation."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from gateway.server.storage import chunks, engine, indexes, write_behind
from gateway.server.storage.base import Area, Note, Reader, Sample, Selection, Span, Storage, Term, Writer
from gateway.server.storage.postgres.storage import PostgresStorage
from gateway.server.storage.sqlite import SqliteStorage
from gateway.server.subscriptions.matching import Matching, State
from gateway.server.subscriptions.model import Counters, Subscription
from tests.server.postgres_server import Databases, postgres
from tests.server.storage_contract import Contract

Make = Callable[[Path], Storage]


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    with postgres() as url:
        yield Databases(url)


@pytest.fixture(params=["sqlite", "sqlite-moving", "postgres"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Make:
    """ "moving": everything goes to the tables and to tiny chunks at once, and nothing is kept in memory."""
    if request.param == "sqlite":
        return SqliteStorage
    if request.param == "postgres":
        databases: Databases = request.getfixturevalue("databases")
        return databases.storage
    monkeypatch.setattr(engine, "LAG_SECONDS", -1.0)
    monkeypatch.setattr(write_behind, "COMPACT_CHANGES", 6)
    monkeypatch.setattr(chunks, "SIZE", 4)
    monkeypatch.setattr(indexes, "SUBJECTS_MIN", 0)
    monkeypatch.setattr(indexes, "WRITTEN_MAX", 3)
    return lambda folder: SqliteStorage(folder, cache_bytes=0)


@pytest.fixture
async def storage(make: Make, tmp_path: Path) -> AsyncIterator[Storage]:
    storage = make(tmp_path)
    await storage.start()
    yield storage
    await storage.close()


def test_it_behaves_as_the_model(make: Make) -> None:
    in_files = not isinstance(make(Path("/nowhere")), PostgresStorage)
    machine = type("Machine", (Contract,), {"make": staticmethod(make), "in_files": in_files})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60 if in_files else 15,  # a database is slow to start
            stateful_step_count=25,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_documents_of_kinds_and_tenants_are_apart_and_in_order(storage: Storage) -> None:
    def work(writer: Writer) -> None:
        for tenant in ("b", "a"):
            for name in ("urn:2", "urn:1"):
                writer.put_document("context", tenant, name, f"{tenant}{name}".encode())
        writer.put_document("subscription", "a", "urn:1", b"s")
        writer.put_document("context", "b", "urn:2", b"new")

    await storage.write(work)
    assert await storage.read(lambda r: r.tenants()) == ["", "b", "a"]
    assert await storage.read(lambda r: r.documents("context", "b")) == [
        ("b", "urn:2", b"new"),
        ("b", "urn:1", b"burn:1"),
    ]
    assert [d[:2] for d in await storage.read(lambda r: r.documents("context"))] == [
        ("b", "urn:2"),
        ("b", "urn:1"),
        ("a", "urn:2"),
        ("a", "urn:1"),
    ]
    assert await storage.write(lambda w: w.delete_document("context", "a", "urn:1"))
    assert not await storage.write(lambda w: w.delete_document("context", "a", "urn:1"))
    assert await storage.read(lambda r: r.document("context", "a", "urn:1")) is None
    assert await storage.read(lambda r: r.document("subscription", "a", "urn:1")) == b"s"


def note(number: int, due_us: int = 0, subscription: str = "urn:s") -> Note:
    return Note(f"n{number}", "t", subscription, due_us or number, 0, b"%d" % number)


async def test_notes_are_claimed_by_one_until_the_lease_ends(storage: Storage) -> None:
    await storage.write(lambda w: w.put_notes([note(n) for n in (3, 1, 2, 90)]))
    first = await storage.write(lambda w: w.claim_notes("a", 50, 60, 2))
    assert [n.id for n in first] == ["n1", "n2"]
    assert [n.id for n in await storage.write(lambda w: w.claim_notes("b", 50, 60, 9))] == ["n3"]
    assert await storage.write(lambda w: w.claim_notes("b", 59, 70, 9)) == []
    assert [n.id for n in await storage.write(lambda w: w.claim_notes("b", 61, 70, 9))] == ["n1", "n2", "n3"]
    again = first[0]._replace(due_us=65, attempts=1, why="refused")
    await storage.write(lambda w: w.put_notes([again]))
    assert await storage.write(lambda w: w.claim_notes("b", 66, 80, 9)) == [again], "put again frees it"
    await storage.write(lambda w: w.settle_notes(["n1", "n2"]))
    assert await storage.read(lambda r: r.note_counts()) == {("t", "urn:s"): (2, 0, 3)}


async def test_a_node_goes_on_holding_and_lets_go(storage: Storage) -> None:
    notes = [Note(f"urn:n:{n}", "", "urn:s", 10, 0, b"{}") for n in range(3)]
    await storage.write(lambda w: w.put_notes(notes))
    assert len(await storage.write(lambda w: w.claim_notes("a", 10, 20, 2))) == 2
    await storage.write(lambda w: w.extend_notes("a", 40))
    assert [one.id for one in await storage.write(lambda w: w.claim_notes("b", 30, 50, 9))] == ["urn:n:2"]
    assert await storage.write(lambda w: w.claim_notes("b", 39, 50, 9)) == []
    await storage.write(lambda w: w.free_notes())
    assert len(await storage.write(lambda w: w.claim_notes("b", 39, 50, 9))) == 3


async def test_dead_notes_are_kept_and_come_back(storage: Storage) -> None:
    await storage.write(lambda w: w.put_notes([note(n) for n in range(1, 6)] + [note(9, subscription="urn:o")]))
    await storage.write(lambda w: w.bury_notes(["n1", "n2", "n3"], "gone"))
    assert [n.id for n in await storage.write(lambda w: w.claim_notes("a", 99, 100, 9))] == ["n4", "n5", "n9"]
    dead = await storage.read(lambda r: r.notes("t", "urn:s", dead=True, limit=2))
    assert [(n.id, n.why) for n in dead] == [("n1", "gone"), ("n2", "gone")]
    assert await storage.read(lambda r: r.note_counts()) == {("t", "urn:s"): (2, 3, 4), ("t", "urn:o"): (1, 0, 9)}
    assert await storage.write(lambda w: w.revive_notes("t", "urn:s", 200, ["n2", "n9"])) == 1
    assert await storage.write(lambda w: w.drop_notes("t", "urn:s", dead=True, keep=1)) == 1
    assert [n.id for n in await storage.read(lambda r: r.notes("t", "urn:s", dead=True, limit=9))] == ["n3"]
    assert await storage.write(lambda w: w.revive_notes("t", "urn:s", 300)) == 1
    assert [n.id for n in await storage.write(lambda w: w.claim_notes("a", 250, 300, 9))] == ["n4", "n5", "n9", "n2"]
    await storage.write(lambda w: w.put_document("subscription", "t", "urn:s", b"{}"))
    await storage.write(lambda w: w.delete_document("subscription", "t", "urn:s"))
    assert await storage.read(lambda r: r.note_counts()) == {("t", "urn:o"): (1, 0, 9)}


async def test_entities_come_in_the_order_of_creation(storage: Storage) -> None:
    ids = [f"urn:x:{(n * 7) % 100}" for n in range(100)]
    for part in (ids[:50], ids[50:]):
        await storage.write(lambda w, p=part: [w.put_entity("", i, ["urn:t"], i.encode()) for i in p] and None)
    await storage.write(lambda w: w.put_entity("", ids[30], ["urn:t"], ids[30].encode()))
    expected = [i.encode() for i in ids]
    for selection in (Selection(), Selection(types=("urn:t",)), Selection(ids=tuple(sorted(ids)))):
        assert await storage.read(lambda r, s=selection: list(r.entities("", s))) == expected
        assert await storage.read(lambda r, s=selection: list(r.entities("", s, 10, 20))) == expected[20:30]


async def test_a_reader_sees_one_state_while_the_writer_goes_on(storage: Storage) -> None:
    def put(n: int) -> Callable[[Writer], None]:
        def work(writer: Writer) -> None:
            for number in range(10):
                writer.put_entity("", f"urn:x:{number}", ["urn:t"], b"%d" % n)
                sample = Sample("urn:a", "", n, b'{"type":"Property","value":%d}' % n)
                writer.put_history("", f"urn:x:{number}", [sample], n)
            writer.put_document("context", "", "urn:c", b"%d" % n)

        return work

    await storage.write(put(1))
    inside, on = threading.Event(), threading.Event()

    def look(reader: Reader) -> tuple[object, ...]:
        return (
            list(reader.entities("", Selection())),
            [reader.entity("", f"urn:x:{n}") for n in range(12)],
            [len(reader.history("", f"urn:x:{n}", Span())) for n in range(12)],
            reader.document("context", "", "urn:c"),
            reader.count("", Selection(types=("urn:t",))),
            reader.types(""),
        )

    def twice(reader: Reader) -> tuple[object, object]:
        first = look(reader)
        inside.set()
        assert on.wait(20)
        return first, look(reader)

    reading = asyncio.ensure_future(storage.read(twice))
    assert await asyncio.to_thread(inside.wait, 20)
    for n in range(2, 30):
        await storage.write(put(n))
    await storage.write(lambda w: w.delete_entity("", "urn:x:3"))
    await storage.write(lambda w: w.delete_history("", "urn:x:3") and None)
    await storage.write(lambda w: w.put_entity("", "urn:x:11", ["urn:new"], b"new"))
    assert await storage.lookup("", "urn:x:4") == b"29"
    on.set()
    first, second = await reading
    assert first == second
    assert (await storage.read(look))[2] == [29, 29, 29, 0, 29, 29, 29, 29, 29, 29, 0, 0]


async def test_hints_leave_nothing_out(storage: Storage) -> None:
    def work(writer: Writer) -> None:
        for n in range(50):
            value = n if n % 5 else f'"{n}"'
            place = f'{{"type":"GeoProperty","value":{{"type":"Point","coordinates":[{n},{n - 20}]}}}}'
            document = f'{{"urn:a:v":{{"type":"Property","value":{value}}},"urn:a:g":{place}}}'
            writer.put_entity("", f"urn:x:{n}", ["urn:t"], document.encode())

    await storage.write(work)
    for operator, wanted in {"==": [7], ">": range(8, 50), ">=": range(7, 50), "<": range(7), "<=": range(8)}.items():
        selection = Selection(types=("urn:t",), terms=(Term("urn:a:v", operator, 7),))  # type: ignore[arg-type]
        got = await storage.read(lambda r, s=selection: list(r.entities("", s)))
        values = {n for n in wanted if n % 5}
        assert values <= {n for n in range(50) for document in got if f'"value":{n}}}'.encode() in document}
        assert await storage.read(lambda r, s=selection: r.count("", s)) >= len(values)
    area = Selection(areas=(Area("urn:a:g", 9.5, -30, 12.5, 30),))
    got = await storage.read(lambda r: list(r.entities("", area)))
    assert sum(b"[10,-10]" in d or b"[11,-9]" in d or b"[12,-8]" in d for d in got) == 3


def placed(value: float, x: float) -> bytes:
    place = f'{{"type":"GeoProperty","value":{{"type":"Point","coordinates":[{x},1]}}}}'
    return f'{{"urn:a:v":{{"type":"Property","value":{value}}},"urn:a:g":{place}}}'.encode()


async def test_hints_follow_what_is_written(storage: Storage) -> None:
    term = Selection(terms=(Term("urn:a:v", "==", 7.0),))
    area = Selection(areas=(Area("urn:a:g", 179, 0, -179, 2),))
    model: dict[str, tuple[float, float]] = {}
    for turn in range(12):
        new = {f"urn:x:{(turn * 13 + n * 5) % 40}": ((turn + n) % 9 + 0.0, [180, -179.5, 0][n % 3]) for n in range(6)}
        await storage.write(
            lambda w, m=new: [w.put_entity("", i, ["urn:t"], placed(*v)) for i, v in m.items()] and None
        )
        model |= new
        gone = sorted(model)[turn % len(model)]
        await storage.write(lambda w, i=gone: w.delete_entity("", i))
        del model[gone]
        for selection, wanted in (
            (term, [v for v in model.values() if v[0] == 7.0]),
            (area, [v for v in model.values() if v[1] != 0]),
        ):
            got = await storage.read(lambda r, s=selection: list(r.entities("", s)))
            assert Counter(placed(*v) for v in wanted) <= Counter(got) <= Counter(placed(*v) for v in model.values())
            assert await storage.read(lambda r, s=selection: r.count("", s)) >= len(wanted)


async def test_an_index_finds_few_among_many(storage: Storage) -> None:
    def work(writer: Writer) -> None:
        for n in range(2_000):
            writer.put_entity("", f"urn:x:{n}", ["urn:t"], placed(n, n / 100))

    await storage.write(work)
    narrow = Selection(terms=(Term("urn:a:v", ">=", 500), Term("urn:a:v", "<", 505)), types=("urn:t",))
    assert await storage.read(lambda r: list(r.entities("", narrow))) == [placed(n, n / 100) for n in range(500, 505)]
    near = Selection(areas=(Area("urn:a:g", 3.0, 0, 3.045, 2),))
    assert await storage.read(lambda r: r.count("", near)) == 5
    both = Selection(terms=(Term("urn:a:v", ">=", 900),), areas=(Area("urn:a:g", 0.0, 0, 9.045, 2),))  # halves
    assert await storage.read(lambda r: r.count("", both)) == 5


async def test_what_a_work_changes_in_memory_goes_with_it(storage: Storage) -> None:
    told: list[int] = []

    def work(writer: Writer, number: int) -> None:
        writer.put_document("context", "", f"urn:{number}", b"{}")
        for part in (0, 1):
            writer.on_undo(lambda: told.append(10 * number + part))  # noqa: B023
        if number % 2:
            raise ZeroDivisionError

    works = [storage.write(lambda w, n=n: work(w, n)) for n in range(4)]  # type: ignore[misc]
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    assert [type(one) for one in outcomes] == [type(None), ZeroDivisionError] * 2
    assert len(told) == 4 and {one // 10 for one in told} == {1, 3}
    assert [name for _, name, _ in await storage.read(lambda r: r.documents("context"))] == ["urn:0", "urn:2"]


async def test_a_notification_that_was_not_kept_throttles_nothing(storage: Storage) -> None:
    subscription = cast(Subscription, SimpleNamespace(tenant="t", id="urn:s", counters=Counters()))
    state = State(subscription)
    matching = Matching({("t", "urn:s"): state}, {}, lambda: 0)

    def work(writer: Writer, *, fails: bool) -> None:
        matching.put(writer, state, note(1), 7)
        assert (state.notified_us, state.waiting) == (7, 1)
        if fails:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await storage.write(lambda w: work(w, fails=True))
    assert (state.notified_us, state.waiting) == (0, 0)
    await storage.write(lambda w: work(w, fails=False))
    assert (state.notified_us, state.waiting) == (7, 1)
    assert await storage.read(lambda r: r.note_counts()) == {("t", "urn:s"): (1, 0, 1)}
