"""A box's backlog through the real server: history is whole and once, and the present never goes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from gateway.mapping.mapper import GATEWAY, Mapper, Profile, iso
from gateway.model import Reading
from gateway.outbox.store import Outbox
from gateway.uplink.client import Access
from gateway.uplink.ngsild import NgsiLdHttp
from tests.server.support import LINK, ROOT, history, serving
from tests.sim.scripted_server import until
from tests.sim.uplink_kit import RealPace, box
from tests.unit.outbox.outbox_kit import FakeClock

ENTITY = "urn:ngsi-ld:ACMeasurement:test:1"
OLD = 300


def watts(clock: FakeClock, value: float) -> list[Reading]:
    now_ns = clock.utc_ns(clock.mono_ns())
    assert now_ns is not None
    return [Reading("1", "active_power_total", value, "W", now_ns)]


async def test_the_present_stays_while_the_backlog_comes(tmp_path: Path) -> None:
    times: list[str] = []

    def before(outbox: Outbox, clock: FakeClock) -> None:
        for n in range(OLD):
            clock.pass_s(1)
            readings = watts(clock, float(n))
            times.append(iso(readings[0].observed_ns))
            outbox.append(readings)

    mapper = Mapper("test", {"1": Profile("ACMeasurement", 50.0, 8.0), GATEWAY: Profile("Device", 50.0, 8.0)})
    async with serving(tmp_path / "server") as client:
        transport = NgsiLdHttp(Access(str(client.base_url), timeout_s=5), mapper.entities)
        async with box(
            tmp_path,
            transport=lambda link: transport,
            clock=RealPace(),
            before=before,
            batch_max=60,
            interval_s=0.5,
            share=0.2,
        ) as b:
            newest = watts(b.clock, 1000.0)
            b.outbox.append(newest)
            await until(lambda: b.uplink.stats().live_age_s is not None)
            seen = set()
            while not b.empty:
                seen.add(str(await present(client)))
                await asyncio.sleep(0.01)
            seen.add(str(await present(client)))
            at = iso(newest[0].observed_ns)
            assert seen == {str((1000.0, at, at))}, "value, its date, and the date of the entity"
        found = await history(client)
        assert [value for value, _ in found] == [float(n) for n in range(OLD)] + [1000.0]


async def present(client: httpx.AsyncClient) -> tuple[float, str, str]:
    entity = (await client.get(f"{ROOT}/entities/{ENTITY}", headers=LINK)).json()
    power = entity["totalActivePower"]
    return power["value"], padded(power["observedAt"]), padded(entity["dateObserved"]["value"]["@value"])


def padded(text: str) -> str:
    """A time with six digits of fractions, as the box writes it."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<6}Z"
