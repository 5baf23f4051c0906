"""Batches of the compact protocol as a gateway would send them, and a client that posts them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import httpx

from gateway.compact.codec import encode
from gateway.compact.message import AckMessage, BatchMessage, HeldMessage, ProfilesMessage
from gateway.mapping.mapper import GATEWAY, Profile
from gateway.mapping.plain import to_plain
from gateway.model import Priority, Quality, Range, Reading, Reason, Value
from gateway.uplink.compact import entries_of

ROOT = "/lamppost/v1"
BOX = "box-1"
STREAM = "00112233445566778899aabbccddeeff"
START_S = 1_767_225_600  # 2026-01-01T00:00:00Z
CBOR = {"Content-Type": "application/cbor"}


def profiles(*devices: str, tenant: str | None = None) -> ProfilesMessage:
    """A site `test`: its gateway, and AC meters of these names."""
    made = {GATEWAY: Profile("Device", 55.6, 12.5, "", {"controlledProperty": ["power"]})}
    made |= {name: Profile("ACMeasurement", 55.6, 12.5, "cellar") for name in devices or ("1",)}
    return ProfilesMessage("test", {name: to_plain(profile) for name, profile in made.items()}, tenant)


PROFILES = profiles()


def reading(seq: int, value: Value | None = None, device: str = "1", at_s: float | None = None, **more: Any) -> Reading:
    """The total power of a meter: its sequence number as value and second, where nothing else is said."""
    fields = {"quantity": "active_power_total", "unit": "W", "quality": Quality.GOOD, "reason": Reason.NONE} | more
    observed_ns = int((START_S + (seq if at_s is None else at_s)) * 10**9)
    return Reading(
        device,
        fields["quantity"],
        float(seq) if value is None else value,
        fields["unit"],
        observed_ns,
        None,
        fields["quality"],
        fields["reason"],
        seq,
    )


def readings(numbers: Iterable[int], device: str = "1") -> list[Reading]:
    return [reading(number, device=device) for number in numbers]


def message(
    of: Sequence[Reading],
    stream: str = STREAM,
    known: ProfilesMessage = PROFILES,
    gateway: str = BOX,
    priority: Priority = Priority.LIVE,
) -> bytes:
    return BatchMessage(gateway, stream, known.digest, priority, encode(entries_of(of))).to_bytes()


async def put(client: httpx.AsyncClient, known: ProfilesMessage = PROFILES, gateway: str = BOX) -> httpx.Response:
    url = f"{ROOT}/gateways/{gateway}/profiles/{known.digest}"
    return await client.put(url, content=known.to_bytes(), headers=CBOR)


async def post(client: httpx.AsyncClient, data: bytes) -> AckMessage:
    answer = await client.post(f"{ROOT}/batches", content=data, headers=CBOR)
    assert answer.status_code == 200, answer.text
    return AckMessage.from_bytes(answer.content)


async def held(client: httpx.AsyncClient, gateway: str = BOX) -> dict[str, tuple[Range, ...]]:
    answer = await client.get(f"{ROOT}/gateways/{gateway}/streams")
    assert answer.status_code == 200, answer.text
    return dict(HeldMessage.from_bytes(answer.content).streams)
