"""The driver keeps Lamppost's contract, and decodes the frames of its template."""

from __future__ import annotations

import asyncio

import pytest
from lamppost_example.box import Box
from lamppost_example.room import decode

from drivers import registry, template
from drivers.base import Bus, Driver
from drivers.errors import BadFrame
from gateway.testing import check_bus, check_driver

ROOM = template.load("example-room")


def test_it_keeps_the_contract() -> None:
    async def check() -> None:
        box = Box()
        await box.up()
        settings = {"type": "example-lines", "host": "127.0.0.1", "port": box.port, "timeout": 0.2}

        def make() -> tuple[Bus, Driver]:
            bus = registry.make_bus("rooms", settings)
            return bus, registry.make_driver(ROOM, bus, 1, None, {})

        kept = await check_driver(make, provoke=box.be)
        assert kept.observations > 10
        await check_bus(lambda: make()[0])
        await box.down()

    asyncio.run(check())


def test_frames_of_the_template() -> None:
    for frame in ROOM.frames:
        told = decode(frame.answer.decode(), ROOM.fields)
        assert {m.quantity: m.value for m in told} == pytest.approx(dict(frame.expect))


@pytest.mark.parametrize("answer", ["", "hello", "co2=612", "co2=612 temp=warm", "co2=6x temp=1", "co2=1=2 temp=3"])
def test_what_is_no_answer(answer: str) -> None:
    with pytest.raises(BadFrame):
        decode(answer, ROOM.fields)
