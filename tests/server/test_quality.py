"""Quality of data: counters against a plain reference, over restarts, through the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.server.broker.parse import parse_entity
from gateway.server.contexts import Contexts
from gateway.server.platform import Platform
from gateway.server.quality import service
from gateway.server.quality.model import GAPS_MAX, OTHER_STEP, State, Track
from gateway.server.settings import ServerSettings
from gateway.server.storage.base import Sample
from tests.server.support import LINK, ROOT, meter, serving, until, upsert

A, B = "urn:a:1", "urn:a:2"


def sample(at: int, name: str = A, unit: str | None = "WTT", **more: Any) -> Sample:
    instance = {"type": "Property", "value": 1, **({} if unit is None else {"unitCode": unit})}
    return Sample(name, more.get("dataset", ""), at, orjson.dumps(instance), more.get("mark", "observed"))


def track(*times: int) -> Track:
    made = Track(times[0], times[0])
    for at in times[1:]:
        made.take(at)
    return made


def test_in_order_without_gaps() -> None:
    found = track(*range(0, 1000, 10))
    assert (found.samples, found.late, found.repeated, found.gaps, found.step_us) == (100, 0, 0, [], 10)
    assert found.completeness() == 1.0


def test_some_jitter_is_no_gap() -> None:
    found = track(0, 10, 21, 29, 42, 50, 60)
    assert found.gaps == [] and 7 <= found.step_us <= 12


def test_another_step_is_learned() -> None:
    found = track(*range(0, 100, 10), *range(190, 1000, 100))
    assert found.step_us == 100 and found.gaps == [] and found.completeness() == 1.0
    few = track(*range(0, 100, 10), *(190 + 100 * number for number in range(OTHER_STEP - 1)))
    assert few.step_us == 10 and len(few.gaps) == OTHER_STEP - 1


def test_a_gap_is_known_and_filled() -> None:
    found = track(*range(0, 100, 10), *range(200, 300, 10))
    assert found.gaps == [[90, 200]] and found.missing() == 10
    assert found.completeness() == pytest.approx(20 / 30)
    for at in range(100, 200, 10):
        found.take(at)
    assert found.gaps == [] and found.missing() == 0 and found.completeness() == 1.0
    assert (found.samples, found.late, found.repeated) == (30, 10, 0)


def test_sent_again_counts_as_repeated_only() -> None:
    found = track(*range(0, 100, 10))
    for at in range(0, 100, 10):
        found.take(at)
    assert (found.samples, found.late, found.repeated, found.last_us) == (10, 0, 10, 90)


def test_older_than_everything() -> None:
    found = track(1000, 1010, 1020)
    found.take(900)
    assert found.first_us == 900 and found.gaps == [[900, 1000]] and found.late == 1


def test_gaps_are_bounded_and_still_counted() -> None:
    found = track(0, 10)
    for number in range(1, GAPS_MAX + 11):
        found.take(number * 1000)
        found.take(number * 1000 + 10)
    assert len(found.gaps) == GAPS_MAX and found.past_gaps == 10
    assert found.missing() == 98 * (GAPS_MAX + 9) + 98


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, 59)), st.randoms())
def test_whatever_comes_late_the_end_is_the_same(lost: set[int], random: Any) -> None:
    """A regular series of which some values come only later, in any order: complete in the end."""
    every = [number * 10 for number in range(5)] + [(number + 5) * 10 for number in range(60) if number not in lost]
    every += [650, 660]
    found = track(*every)
    late = [(number + 5) * 10 for number in lost]
    random.shuffle(late)
    for at in late:
        found.take(at)
    assert found.first_us == 0 and found.last_us == 660
    assert found.samples + found.repeated == len(every) + len(late)
    assert found.gaps == [], "what is missing came"
    assert found.completeness() == 1.0


def test_attributes_share_a_track_until_they_part() -> None:
    state = State()
    for at in (10, 20, 30):
        state.take([sample(at), sample(at, B)])
    assert state.tracks[A] is state.tracks[B] and state.tracks[A].samples == 3
    state.take([sample(40, B)])
    assert state.tracks[A].samples == 3 and state.tracks[B].samples == 4
    state.take([sample(50), sample(50, B), sample(60), sample(60, B)])
    assert state.tracks[A].samples == 5 and state.tracks[B].samples == 6
    assert state.tracks[A].last_us == state.tracks[B].last_us == 60
    state.take([sample(70, mark="written"), sample(70, dataset="urn:d:1")])
    assert state.tracks[A].samples == 5


def test_units() -> None:
    state = State()
    for number, unit in enumerate(["WTT", "WTT", None, "KWT", "WTT"]):
        state.take([sample(number, unit=unit)])
    assert state.units[A] == ["WTT", "", "KWT"]
    state.take([sample(9, B, None), sample(10, B, None), sample(11, B, "C62")])
    assert state.units[B] == ["", "C62"]


def test_from_the_disk_it_goes_on() -> None:
    state = State()
    state.take([sample(10), sample(10, B), sample(20), sample(20, B)])
    again = State.load(orjson.loads(orjson.dumps(state.dump())))
    for each in (state, again):
        each.take([sample(30), sample(30, B), sample(100)])
    assert again.dump() == state.dump() and again.tracks[A].gaps == [[30, 100]]


URL = "/api/quality"
METER = "urn:ngsi-ld:ACMeasurement:test:1"


def second(number: int) -> str:
    return f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z"


async def report(client: httpx.AsyncClient, **parameters: str) -> Any:
    answer = await client.get(URL, params=parameters, headers=LINK)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_report_follows_what_arrives(client: httpx.AsyncClient) -> None:
    await upsert(client, *(meter(1, n, second(n)) for n in range(20)))
    await upsert(client, *(meter(1, n, second(n)) for n in range(30, 40)))
    await upsert(client, *(meter(1, n, second(n)) for n in range(5)))
    await upsert(client, meter(1, 7, second(25)), meter(2, 1, second(0)))
    late = {"id": METER, "type": "ACMeasurement", "totalActivePower": [{"value": 5, "observedAt": second(27)}]}
    assert (await client.post(f"{ROOT}/temporal/entities", json=late, headers=LINK)).status_code == 204
    (found,) = await report(client, id=METER)
    assert (found["id"], found["type"]) == (METER, "ACMeasurement")
    assert found["attributes"]["totalActivePower"] == {
        "samples": 32,
        "first": second(0),
        "last": second(39),
        "stepSeconds": 1.0,
        "late": 2,
        "repeated": 5,
        "missing": 8,
        "completeness": 0.8,
        "gapCount": 3,
        "gaps": [
            {"from": second(19), "to": second(25)},
            {"from": second(25), "to": second(27)},
            {"from": second(27), "to": second(30)},
        ],
        "units": ["WTT", ""],
    }


async def test_pages_and_what_is_asked_for(client: httpx.AsyncClient) -> None:
    await upsert(client, *(meter(number, 1, second(1)) for number in range(3)))
    assert len(await report(client)) == 3
    first = await client.get(URL, params={"limit": "2", "type": "ACMeasurement"}, headers=LINK)
    assert len(first.json()) == 2 and 'rel="next"' in first.headers["link"]
    assert await report(client, limit="2", offset="2", attrs="totalActivePower") != []
    assert await report(client, type="Vehicle") == [] and await report(client, attrs="height") == []
    for bad, status in (({"id": "nouri"}, 400), ({"limit": "x"}, 400), ({"id": "urn:x:1"}, 404), ({"q": "x"}, 400)):
        assert (await client.get(URL, params=bad)).status_code == status, bad
    assert (await client.get(URL, headers={"NGSILD-Tenant": "none"})).status_code == 404


async def test_it_outlives_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await upsert(client, *(meter(1, n, second(n)) for n in range(10)))
    async with serving(tmp_path) as client:
        await upsert(client, *(meter(1, n, second(n)) for n in range(10, 20)))
        (found,) = await report(client)
        assert found["attributes"]["totalActivePower"]["samples"] == 20
        assert found["attributes"]["totalActivePower"]["completeness"] == 1


async def test_few_states_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "STATES_MAX", 4)
    async with serving(tmp_path) as client:
        for n in range(3):
            await upsert(client, *(meter(number, n, second(n)) for number in range(10)))
        found = await report(client)
    assert [entity["attributes"]["totalActivePower"]["samples"] for entity in found] == [3] * 10


async def test_it_is_saved_while_it_runs_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SAVE_SECONDS", 0.05)
    monkeypatch.setattr(service, "SLICE", 3)
    platform = Platform(ServerSettings(data=tmp_path))
    async with platform.running():
        for n in range(10):
            entity = parse_entity(
                {"id": f"urn:x:{n}", "type": "T", "a": {"value": 1, "observedAt": second(n)}}, Contexts().core
            )
            await platform.broker.upsert_batch("", [entity])

        async def all_saved() -> bool:
            return len(await platform.storage.read(lambda reader: reader.documents("quality", ""))) == 10

        await until(all_saved)
