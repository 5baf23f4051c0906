"""Who publishes at a broker: heard for a while, also from what the broker keeps, without a word of our own.

A model is named only where the values that were heard lie in the ``identify`` ranges of its template. Of those that
fit, those that make most of what was heard are listed, all of them where it is a tie. Sparkplug devices name their
metrics as they like: any template for them may fit.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from drivers import template
from drivers.base import Value
from drivers.buses.mqtt import Message
from drivers.codecs import published, shelly_gen1, sparkplug
from drivers.errors import BadFrame
from drivers.template import Template, TemplateError

FOUND_MAX = 500
PATTERNS = (
    *("+/status/+", "+/+/status/+", "+/events/rpc", "+/+/events/rpc"),  # Shelly
    *(f"shellies/+/{below}" for below in shelly_gen1.TOPICS),
    *("tele/+/SENSOR", "tele/+/+/SENSOR"),  # Tasmota
    *("zigbee2mqtt/+", "zigbee2mqtt/+/+"),
    *(f"{sparkplug.NAMESPACE}/+/+/+", f"{sparkplug.NAMESPACE}/+/+/+/+"),
)
_SILENT = ("zigbee2mqtt", "sparkplug")  # protocols whose devices are listed though none of their values is known


@dataclass(frozen=True, slots=True)
class FoundPublisher:
    """A device that was heard; ``could_be`` are names of templates."""

    address: str
    could_be: tuple[str, ...]


async def known_templates() -> list[Template]:
    """The templates of what can be heard. To read them all takes a while: others have their turn in between."""
    found = []
    for name in template.names():
        await asyncio.sleep(0)
        known = _load(name)
        if known is not None:
            found.append(known)
    return found


class Heard:
    """What was heard so far: of each device what each template of its protocol makes of it. Bounded."""

    def __init__(self, templates: list[Template]) -> None:
        self._templates = templates
        self._values: dict[tuple[str, str], dict[str, dict[str, Value]]] = {}

    def add(self, message: Message) -> None:
        """Take a message; one that cannot be read tells nothing."""
        with contextlib.suppress(BadFrame):
            for protocol, address in published.senders(message.topic, message.payload):
                said = {
                    known.name: {one.quantity: one.value for one in _decode(known, message)}
                    for known in self._templates
                    if known.protocol == protocol
                }
                if protocol in _SILENT or any(said.values()):
                    self._take((protocol, address), said)

    def found(self) -> list[FoundPublisher]:
        """The devices, by address."""
        devices = sorted(self._values.items(), key=lambda item: item[0][1])
        return [
            FoundPublisher(address, self._could_be(protocol, address, said)) for (protocol, address), said in devices
        ]

    def _could_be(self, protocol: str, address: str, said: dict[str, dict[str, Value]]) -> tuple[str, ...]:
        fitting: dict[str, tuple[int, int]] = {}
        for known in self._templates:
            if _fits(known, protocol, address, said):
                values = said.get(known.name, {}).keys()
                fitting[known.name] = len(values), len(values & _shown(known))
        most = max(fitting.values(), default=(0, 0))
        return tuple(name for name, score in fitting.items() if score == most)

    def _take(self, device: tuple[str, str], said: dict[str, dict[str, Value]]) -> None:
        if device not in self._values and len(self._values) >= FOUND_MAX:
            return
        known = self._values.setdefault(device, {})
        for name, values in said.items():
            known.setdefault(name, {}).update(values)


def _decode(known: Template, message: Message) -> published.Measured:
    if known.protocol == "sparkplug" or message.topic == published.BRIDGE:
        return ()
    try:
        return published.decode(known.protocol, known.options, known.fields, message.topic, message.payload)
    except ValueError:  # a template of this box with options that cannot be meant
        return ()


def _load(name: str) -> Template | None:
    try:
        known = template.load(name)
    except TemplateError:
        return None
    return known if known.protocol in ("shelly", "tasmota", "zigbee2mqtt", "sparkplug") else None


def _shown(known: Template) -> set[str]:
    """What the frames of a template show that its device measures."""
    return {quantity for frame in known.frames for quantity in frame.expect}


def _fits(known: Template, protocol: str, address: str, said: dict[str, dict[str, Value]]) -> bool:
    if known.protocol != protocol or protocol == "sparkplug":
        return known.protocol == protocol
    if protocol == "shelly":  # both generations measure the same: a template's frames say for which it is
        first = [frame.topic.startswith(shelly_gen1.PREFIX) for frame in known.frames]
        if address.startswith(shelly_gen1.PREFIX) not in first:
            return False
    values = said.get(known.name, {})
    return bool(known.identify) and all(
        isinstance(value := values.get(quantity), int | float) and low <= value <= high
        for quantity, (low, high) in known.identify.items()
    )
