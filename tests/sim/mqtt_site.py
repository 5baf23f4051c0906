"""A real broker with a publisher, for the tests of MQTT devices."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from drivers import registry, template
from drivers.base import Observation
from drivers.buses.mqtt import Listener
from firmware_sim.mqtt import Broker


class Site:
    """``bus`` is the one under test; ``say`` publishes."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.bus: Any = registry.make_bus("b", {"type": "mqtt", "host": "127.0.0.1", "port": broker.port})
        self.sender = Client(CallbackAPIVersion.VERSION2, client_id="sender")
        self.sender.reconnect_delay_set(1, 1)
        self._drivers: list[Any] = []

    async def driver(
        self, name: str, address: str, *, period: float | None = None, options: Mapping[str, Any] | None = None
    ) -> Any:
        """A driver of that template, subscribed."""
        made: Any = registry.make_driver(template.load(name), self.bus, address, period, options or {})
        made.silence_s = 5.0
        self._drivers.append(made)
        await self.bus.open()
        reading = asyncio.create_task(made.read())  # the first read subscribes
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await self.settled()
        return made

    async def settled(self) -> None:
        """The broker has taken every subscription of ours: it takes them in turn, and hears the last one."""
        heard = asyncio.Event()
        probe = Listener(("probe",), lambda _message: heard.set(), lambda _why, _kind: None)
        self.bus.listen(probe)
        async with asyncio.timeout(5):
            while not heard.is_set():
                self.say("probe", "")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await heard.wait()
        self.bus.unlisten(probe)

    def say(self, topic: str, payload: str | bytes, *, retain: bool = False) -> None:
        """Publish, and know that the broker has it."""
        self.sender.publish(topic, payload, qos=1, retain=retain).wait_for_publish(5)

    async def close(self) -> None:
        for driver in self._drivers:
            await driver.close()
            await driver.close()
        await self.bus.close()
        self.sender.disconnect()
        self.sender.loop_stop()


@asynccontextmanager
async def site_at(folder: Path, settings: Sequence[str] = ("allow_anonymous true",)) -> AsyncIterator[Site]:
    """A broker, with everything on it."""
    broker = Broker(folder, settings)
    await broker.up()
    site = Site(broker)
    try:
        site.sender.connect("127.0.0.1", broker.port)
        site.sender.loop_start()
        yield site
    finally:
        await site.close()
        await broker.close()


async def take(driver: Any, count: int, seconds: float = 10.0) -> list[Observation]:
    """So many observations."""
    got: list[Observation] = []
    async with asyncio.timeout(seconds):
        while len(got) < count:
            got += await driver.read()
    return got


def values(*observations: Observation) -> dict[str, object]:
    """All that they say; the last counts."""
    return {one.quantity: one.value for seen in observations for one in seen.measurements}
