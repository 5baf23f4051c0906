"""Codecs of serial air sensors (PMS, SDS, HPMA115, MH-Z19, MCU680): sums, joins, cuts, noise, and what is no value."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from functools import partial
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.codecs import hpma, mcu680, mhz19, pms, sds
from drivers.codecs.framing import NO_HINTS, Decoded, Hints, Take
from drivers.errors import BadFrame
from firmware_sim.devices import air

PM = (11.0, 18.0, 22.0)
CO2 = bytes.fromhex("ff86032c400000000b")
HPMA_S0, HPMA_C0 = bytes.fromhex("400504001e0023") + b"\x76", bytes.fromhex("400d0400040006000600070000000098")
FRAMES: dict[str, tuple[Take, bytes]] = {
    "pms5003": (pms.take, air.pms5003(PM)),
    "pms3003": (pms.take, air.pms3003(PM)),
    "pms5003t": (partial(pms.take, model="T"), air.pms5003t(PM, 21.5, 43.2)),
    "sds011": (sds.take, air.sds011(PM)),
    "sds198": (sds.take, air.sds198(137)),
    "hpma-s0": (partial(hpma.take, model="S0"), air.hpma115(PM)),
    "hpma-c0": (partial(hpma.take, model="C0"), air.hpma115(PM, compact=True)),
    "hpma-s0-answer": (hpma.take_answer, HPMA_S0),
    "hpma-c0-answer": (hpma.take_answer, HPMA_C0),
    "mhz19": (mhz19.take, CO2),
    "mcu680": (mcu680.take, air.mcu680(22.37, 41.9, 1013.4)),
}
each = pytest.mark.parametrize(("take", "frame"), list(FRAMES.values()), ids=list(FRAMES))


def drain(take: Take, buffer: bytearray) -> list[Decoded]:
    good = []
    while True:
        try:
            decoded = take(buffer)
        except BadFrame:
            continue
        if decoded is None:
            return good
        good.append(decoded)


def values(decoded: Decoded) -> dict[str, object]:
    return {m.quantity: m.value for m in decoded.measurements}


def plantower(*words: int) -> bytes:
    body = b"BM" + struct.pack(f">{len(words) + 1}H", 2 * len(words) + 2, *words)
    return body + struct.pack(">H", sum(body))


@each
def test_every_flipped_bit_is_found(take: Take, frame: bytes) -> None:
    (whole,) = drain(take, bytearray(frame))
    for at in range(len(frame)):
        for bit in range(8):
            damaged = bytearray(frame)
            damaged[at] ^= 1 << bit
            assert drain(take, damaged) in ([], [whole]), (at, bit)
            damaged = bytearray(frame)
            damaged[at] ^= 1 << bit
            assert drain(take, damaged + frame)[-1:] == [whole], "the next frame is not lost"


@each
@given(st.floats(0.01, 0.99), st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_frames_survive_any_cutting(take: Take, frame: bytes, joined_at: float, sizes: list[int]) -> None:
    stream = frame[max(1, int(joined_at * len(frame))) :] + frame * 3
    buffer, got = bytearray(), []
    for size in cycle(sizes):
        buffer += stream[:size]
        stream = stream[size:]
        got += drain(take, buffer)
        if not stream:
            break
    assert len(got) == 3


@each
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"BM", b"BM\0\x1c", b"\xaa\xc0", b"\x40\x05", b"\xff\x86"])))
def test_noise_is_harmless_and_bounded(take: Take, frame: bytes, chunks: list[bytes]) -> None:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        drain(take, buffer)
        assert len(buffer) < 64
    assert drain(take, buffer + bytes(64) + frame)[-1:] == drain(take, bytearray(frame))


@given(st.binary(max_size=48), st.sampled_from(["", "plain", "T", "S", "S0", "C0", "nonsense"]))
def test_arbitrary_bytes_are_refused_or_decoded(data: bytes, model: str) -> None:
    for codec in (pms, sds, hpma, mhz19, mcu680):
        with contextlib.suppress(BadFrame):
            codec.decode_frame(data, Hints(model=model))


@given(st.lists(st.integers(0, 0xFFFF), min_size=6, max_size=6), st.integers(0, 0xFFFF))
def test_plantower_reports_the_words_for_ordinary_air(words: list[int], version: int) -> None:
    frame = plantower(*words[:3], *words[3:], *[0] * 6, version & 0xFF00)
    found = values(pms.decode(frame))
    assert [found[q] for q in ("pm1", "pm25", "pm10")] == words[3:]


def test_plantower_with_an_error_code_gives_no_values() -> None:
    with pytest.raises(BadFrame, match="error 0x04"):
        pms.decode(plantower(*[1] * 12, 0x9704))


def test_pms5003st_has_gas_and_climate() -> None:
    frame = plantower(1, 2, 3, 4, 5, 6, 900, 300, 50, 9, 2, 1, 31, 0xFFCE, 655, 0, 0x9200)
    found = values(pms.decode(frame))
    assert (found["formaldehyde"], found["temperature"], found["relative_humidity"]) == (0.031, -5.0, 65.5)
    assert pms.decode_frame(frame, NO_HINTS) == pms.decode(frame).measurements


def test_pms5003s_has_gas_where_the_version_was() -> None:
    found = values(pms.decode(plantower(*[1] * 12, 31), "S"))
    assert found["formaldehyde"] == 0.031


def test_answers_of_a_plantower_to_commands_are_passed_over() -> None:
    answer = bytes.fromhex("424d0004e1000174")
    assert len(drain(pms.take, bytearray(answer + air.pms5003(PM)))) == 1


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_sds011_in_tenths(fine: int, coarse: int) -> None:
    found = values(sds.decode(air.sds011((0, fine / 10, coarse / 10))))
    assert found == {"pm25": fine / 10, "pm10": coarse / 10}


def test_answers_of_an_sds_to_commands_are_passed_over() -> None:
    answer = bytes.fromhex("aac50200010 0a160".replace(" ", "")) + b"\x04\xab"
    assert len(drain(sds.take, bytearray(answer + air.sds011(PM)))) == 1


def test_s0_read_as_c0_is_refused() -> None:
    with pytest.raises(BadFrame, match="more fine dust than coarse"):
        hpma.decode_sent(air.hpma115(PM), "C0")


def test_hpma_answer_tells_its_model_by_its_length() -> None:
    assert values(hpma.decode_answer(HPMA_S0)) == {"pm25": 30, "pm10": 35}
    assert values(hpma.decode_answer(HPMA_C0)) == {"pm1": 4, "pm25": 6, "pm4": 6, "pm10": 7}
    with pytest.raises(BadFrame):  # it does not say whose it is
        hpma.decode_frame(air.hpma115(PM), NO_HINTS)
    assert hpma.decode_frame(air.hpma115(PM), Hints(model="S0")) == hpma.decode_sent(air.hpma115(PM), "S0").measurements


@pytest.mark.parametrize("command", [hpma.START, hpma.STOP, hpma.READ, hpma.AUTO_OFF, b"\xff" + mhz19.READ[1:]])
def test_commands_have_their_check_byte(command: bytes) -> None:
    body = command[1:] if command[0] == 0xFF else command
    assert sum(body) % 256 == 0


@given(st.integers(-32_768, 32_767), st.integers(0, 2**24 - 1))
def test_mcu680_has_a_sign_and_24_bits_of_pressure(hundredths: int, pascal: int) -> None:
    found = values(mcu680.decode(air.mcu680(hundredths / 100, 41.9, pascal / 100)))
    assert found["temperature"] == pytest.approx(hundredths / 100)
    assert found["pressure"] == pytest.approx(pascal / 100)


@pytest.mark.parametrize("decode", [pms.decode, sds.decode, mhz19.decode, mcu680.decode, hpma.decode_answer])
@pytest.mark.parametrize("data", [b"", b"B", b"BM", b"\xaa", b"\xff\x86"])
def test_too_short_to_be_anything(decode: Callable[[bytes], Decoded], data: bytes) -> None:
    with pytest.raises(BadFrame):
        decode(data)
