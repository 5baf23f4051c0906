"""Damaged bodies by the hundred thousand: CompactError or entries within bounds, in little time, whatever the bytes."""

from __future__ import annotations

import random
import time

import pytest

from gateway.compact import frame
from gateway.compact.codec import READINGS_MAX, CompactError, Entry, decode, encode
from gateway.model import BootTime, Position, Quality, Reading, Reason

CASES = 120_000
SECONDS_MAX = 20.0  # of one case, on a slow and busy machine; what was seen is a tenth of a second

S = 1_790_000_000_000_000_000


def samples() -> list[bytes]:
    """Bodies as encoded, of a regular device, of many devices, and of everything at once."""
    chance = random.Random(1)
    regular = [
        Entry(
            9 + 2 * n,
            (
                Reading("m", "active_power_total", round(500 + chance.gauss(0, 9), 1), "W", S + n * 10**9),
                Reading("m", "energy_import_total", 17 + n, "kWh", S + n * 10**9),
            ),
        )
        for n in range(40)
    ]
    many = [Entry(n, (Reading(f"sensor-number-{n}", "co2", 400 + n, "ppm", S + n),)) for n in range(30)]
    mixed = [
        Entry(
            100 * n,
            (
                Reading("b", "position", Position(52 + n / 7, 13.0, n or None), "", S + n),
                Reading("b", "odd", (1, 1.5, True, "x")[n % 4], "?", 0, BootTime("q", n), Quality(n % 3), Reason.JUMP),
            ),
        )
        for n in range(12)
    ]
    return [encode(entries) for entries in (regular, many, mixed, regular[:1], regular[:4] + mixed)]


def damaged(body: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, taken out, doubled or put in; half of the time below the packing."""
    below = chance.random() < 0.5
    data = bytearray(frame.unpack(body) if below else body)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(6):
            case 0 if data:
                data[at] = chance.randrange(256)
            case 1 if data:
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                del data[at : at + chance.randrange(1, 9)]
            case 3:
                data[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 4:
                data[at:at] = data[at : at + chance.randrange(1, 40)]
            case _:
                data[at : at + 4] = chance.choice((b"\xff" * 4, b"\x00" * 4, b"\x1b\xff\xff\xff", b"\x9a\xff\xff\xff"))
    return frame.pack(bytes(data)) if below else bytes(data)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_damage() -> None:
    chance = random.Random(42)
    bodies = samples()
    taken = slowest = 0.0
    for _ in range(CASES):
        body = damaged(chance.choice(bodies), chance)
        begun = time.perf_counter()
        try:
            entries = decode(body)
        except CompactError:
            pass
        else:
            taken += 1
            assert 0 < len(entries) <= READINGS_MAX
            assert sum(len(entry.readings) for entry in entries) <= READINGS_MAX
        slowest = max(slowest, time.perf_counter() - begun)
    assert 0 < taken < CASES
    assert slowest < SECONDS_MAX


def test_a_bomb_is_refused() -> None:
    """A megabyte of zeros packs to some bytes; what is above the limit is not even unpacked."""
    bomb = frame._context.packer.compress(bytes(5 << 20))
    assert len(bomb) < 2000
    with pytest.raises(CompactError):
        decode(b"\x01\x03" + bomb)
    with pytest.raises(CompactError):
        decode(frame.pack(bytes(4 << 20)))
    # the size of the contents as the head of a frame claims it: 2^62 bytes
    with pytest.raises(CompactError):
        decode(b"\x01\x03\xe0" + (2**62).to_bytes(8, "little") + b"\x01\x00\x00")


@pytest.mark.parametrize("shape", ["one entry", "one device", "entries without readings"])
def test_more_than_there_may_be_is_refused(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns that never change cost a bit, so that few bytes may claim many readings."""
    monkeypatch.setattr("gateway.compact.encoder.READINGS_MAX", 10**9)
    reading = Reading("m", "co2", 400, "ppm", S)
    entries = {
        "one entry": [Entry(1, (reading,) * (READINGS_MAX + 1))],
        "one device": [Entry(1 + n, (reading,)) for n in range(READINGS_MAX + 1)],
        "entries without readings": [Entry(1, ()) for _ in range(READINGS_MAX + 1)],
    }[shape]
    body = encode(entries)
    assert len(body) < 200
    with pytest.raises(CompactError, match="more"):
        decode(body)


def test_numbers_beyond_all_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.compact.encoder.LIMIT", 2**70)
    for entry in (
        Entry(2**63, (Reading("m", "co2", 400, "ppm", S),)),
        Entry(2**63 - 1, (Reading("m", "co2", 400, "ppm", S),)),
        Entry(1, (Reading("m", "co2", 400, "ppm", 2**63),)),
    ):
        with pytest.raises(CompactError, match="beyond"):
            decode(encode([entry]))
