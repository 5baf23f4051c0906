"""Drivers of devices that publish readable messages by MQTT: Shelly, Tasmota, zigbee2mqtt, and JSON by template.

What the messages say is in ``drivers.codecs.published``. The period of a device spaces what is kept of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.base import Bus, Driver, Observation
from drivers.buses.mailbox import Collector, SpeakingDriver
from drivers.buses.mqtt import Listener, Message, MqttBus, prefix
from drivers.codecs.published import Publisher, publisher
from drivers.errors import BadFrame
from drivers.template import Template

ECHO_NS = 120_000_000_000  # a device that sends its statuses does so more often


class PublisherDriver(SpeakingDriver):
    """One device; see drivers.base.Driver. ``thinned`` counts values that a later one of the same period replaced."""

    def __init__(self, bus: MqttBus, device: Publisher, silence_s: float, spacing_s: float) -> None:
        super().__init__(silence_s)
        self._bus = bus
        self._device = device
        self._collector = Collector(self._put, device.gather_s, spacing_s)
        self._listener = Listener(device.patterns, self._heard, self._mailbox.lose)
        self._first_hand_ns: int | None = None  # when values came last at another topic than the echo

    @property
    def thinned(self) -> int:
        """See the class."""
        return self._collector.thinned

    async def read(self) -> tuple[Observation, ...]:
        """What the device said next, with what waits. Raises a DriverError; see Mailbox.get."""
        self._bus.listen(self._listener)
        await self._bus.open()
        return await self._mailbox.get(self.silence_s)

    async def close(self) -> None:
        """Unsubscribe."""
        self._bus.unlisten(self._listener)
        self._collector.close()

    def _heard(self, message: Message) -> None:
        if message.topic == self._device.presence and _plain(message.payload) in self._device.absent:
            self._collector.flush()
            self._mailbox.lose(f"{self._device.presence} says that the device went away")
        elif not message.retained and not self._is_repetition(message):
            self._decode(message)

    def _is_repetition(self, message: Message) -> bool:
        first_ns = self._first_hand_ns
        return message.topic == self._device.echo and first_ns is not None and message.mono_ns - first_ns < ECHO_NS

    def _decode(self, message: Message) -> None:
        try:
            measured = self._device.decode(message.topic, message.payload)
        except BadFrame as error:
            self._mailbox.damaged(error)
            return
        if measured and message.topic != self._device.echo:
            self._first_hand_ns = message.mono_ns
        self._collector.add(measured, message.mono_ns)

    def _put(self, observation: Observation) -> None:
        complete = self._device.complete(observation.measurements)
        self._mailbox.put(Observation(complete, observation.mono_ns))


def make_driver(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of one of the protocols of ``drivers.codecs.published``. Raises ValueError."""
    session, topic = prefix(template.name, bus, address)
    try:
        device = publisher(template.protocol, topic, options, template.fields)
    except ValueError as error:
        raise ValueError(f"{template.name}: {error}") from None
    return PublisherDriver(session, device, template.silence_s, period_s or template.period_s or 0.0)


def _plain(payload: bytes) -> bytes:
    return payload[:64].replace(b" ", b"").strip()
