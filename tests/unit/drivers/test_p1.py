"""P1 telegrams: what each version and country adds, and what must be refused."""

from __future__ import annotations

import contextlib
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from drivers import template
from drivers.codecs import p1, p1_cipher
from drivers.codecs.framing import BUFFER_BYTES_MAX, NO_HINTS, Decoded, Hints
from drivers.errors import BadFrame

TELEGRAM = template.load("dsmr-p1-v5").frames[0].answer
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
OLD = b"\r\n".join(
    (
        b"/LMP5\\2OLD-METER",
        b"",
        b"0-0:96.1.1(4C414D50)",
        b"1-0:1.8.1(12345.678*kWh)",
        b"1-0:1.8.2(00321.004*kWh)",
        b"1-0:2.8.1(00000.000*kWh)",
        b"1-0:2.8.2(00017.250*kWh)",
        b"0-0:96.14.0(0002)",
        b"1-0:1.7.0(0000.42*kW)",
        b"1-0:2.7.0(0001.50*kW)",
        b"0-0:17.0.0(0999.00*kW)",
        b"0-0:96.3.10(1)",
        b"0-0:96.13.1()",
        b"0-0:96.13.0()",
        b"0-1:24.1.0(3)",
        b"0-1:96.1.0(4C414D50)",
        b"0-1:24.3.0(110403140000)(00)(60)(1)(0-1:24.2.1)(m3)",
        b"(02101.517)",
        b"0-1:24.4.0(1)",
        b"!\r\n",
    )
)
KEY, SYSTEM = bytes(range(16)), b"LMP\x67\x00\x00\x01\x02"


def sealed(body: bytes) -> bytes:
    return body + f"{p1.crc16(body):04X}\r\n".encode()


def changed(old: bytes, new: bytes, telegram: bytes = TELEGRAM) -> bytes:
    body = telegram[: telegram.rindex(b"!") + 1]
    assert old in body
    return sealed(body.replace(old, new))


def added(*lines: bytes) -> bytes:
    return changed(b"1-3:0.2.8(50)\r\n", b"\r\n".join((b"1-3:0.2.8(50)", *lines, b"")))


def values(decoded: Decoded) -> dict[str, object]:
    return {m.quantity: m.value for m in decoded.measurements}


def enciphered(plain: bytes, key: bytes = KEY, own: bytes = p1_cipher._LUXEMBOURG, count: int = 7) -> bytes:
    counter = count.to_bytes(4, "big")
    body = AESGCM(key).encrypt(SYSTEM + counter, plain, b"\x30" + own)
    body = body[:-4]  # AESGCM gives 16 bytes of tag, the meter sends the first 12
    size = len(body) + 5
    return b"\xdb\x08" + SYSTEM + b"\x82" + size.to_bytes(2, "big") + b"\x30" + counter + body


def test_crc_arc_check_value() -> None:
    assert p1.crc16(b"123456789") == 0xBB3D  # the catalogue's check value of CRC-16/ARC


def test_crc_without_its_leading_zeros() -> None:
    body = next(b for n in range(10_000) if p1.crc16(b := TELEGRAM[:-6].replace(b"004812.337", b"%010.3f" % n)) < 0x100)
    assert p1.decode(body + f"{p1.crc16(body):X}\r\n".encode()).measurements
    with pytest.raises(BadFrame, match="CRC"):
        p1.decode(body + b"\r\n")


@pytest.mark.parametrize(
    ("stated", "zone", "expected"),
    [
        (b"260714153007S", "Europe/Amsterdam", 1_784_035_807),  # 13:30:07 UTC
        (b"260114153007W", "Europe/Amsterdam", 1_768_401_007),  # 14:30:07 UTC
        (b"260714153007S", "Europe/Vilnius", 1_784_032_207),
        (b"261025023000S", "Europe/Amsterdam", 1_792_888_200),  # the hour that comes twice
        (b"261025023000W", "Europe/Amsterdam", 1_792_891_800),
        (b"260714153007W", "Europe/Amsterdam", None),  # winter in July: not this zone, or a wrong clock
        (b"260114153007S", "Europe/Amsterdam", None),
        (b"260714153007", "Europe/Amsterdam", None),
        (b"261314153007S", "Europe/Amsterdam", None),
        (b"000000000000S", "Europe/Amsterdam", None),
    ],
)
def test_time_has_its_zone(stated: bytes, zone: str, expected: int | None) -> None:
    told = p1.decode(changed(b"260714153007S", stated), zone=ZoneInfo(zone)).device_ns
    assert told == (None if expected is None else expected * 10**9)
    assert p1.decode(TELEGRAM).device_ns is None


def test_old_versions_need_no_crc_and_newer_ones_do() -> None:
    assert values(p1.decode(OLD)) == {
        "energy_import_t1": 12345.678,
        "energy_import_t2": 321.004,
        "energy_export_t1": 0.0,
        "energy_export_t2": 17.25,
        "energy_import_total": 12666.682,
        "energy_export_total": 17.25,
        "active_power_total": -1080.0,
        "tariff": "2",
        "relay_state": "on",
        "gas_volume_total": 2101.517,
    }
    bare = TELEGRAM[: TELEGRAM.rindex(b"!") + 1] + b"\r\n"
    with pytest.raises(BadFrame, match="none of DSMR 2 or 3"):
        p1.decode(bare)
    with pytest.raises(BadFrame, match="crc: false"):
        p1.decode(OLD, crc=True)
    assert p1.decode(bare, crc=False).measurements == p1.decode(TELEGRAM).measurements


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1-0:1.8.1(12345.678*kWh)", b"1-0:1.8.1(2345.678*kWh)"),  # a digit lost
        (b"1-0:1.8.1(12345.678*kWh)", b"1-0:1.8.1(12345.678*kW"),
        (b"1-0:1.8.1(12345.678*kWh)\r\n", b""),
        (b"1-0:2.7.0(0001.50*kW)\r\n", b""),
        (b"*kWh)\r\n1-0:1.8.2(", b""),
        (b"1-0:2.7.0(0001.50*kW)", b"1-0:2.7.0(001.50*kW)"),
        (b"1-0:1.7.0", b"1-0:2.7.0"),
        (b"12345.678", b"123\x0045.678"),
        (b"12345.678", b"1\xb2345.678"),
        (b"0-0:96.3.10(1)", b"0-0:96.3.10(1"),
    ],
)
def test_old_telegram_with_damage_that_shows(old: bytes, new: bytes) -> None:
    assert old in OLD
    with pytest.raises(BadFrame):
        p1.decode(OLD.replace(old, new))


def test_gas_water_and_heat_behind_the_meter() -> None:
    lines = (
        b"0-1:24.1.0(003)",
        b"0-1:24.2.3(260714150000S)(00112.384*m3)",
        b"0-2:24.1.0(007)",
        b"0-2:24.2.1(260714150000S)(00872.234*m3)",
        b"0-3:24.1.0(012)",
        b"0-3:24.2.1(260714150000S)(00036.000*GJ)",
        b"0-4:24.1.0(003)",  # the gas meter that was replaced
        b"0-4:24.2.1(190714150000S)(99999.000*m3)",
        b"0-5:24.1.0(003)",
        b"0-5:24.2.1(700101010000W)(00000000)",
    )
    found = values(p1.decode(added(*lines)))
    assert found["gas_volume_total"] == 112.384
    assert found["water_volume_total"] == 872.234
    assert found["heat_energy_total"] == pytest.approx(10_000)


def test_demand_of_belgium_and_reactive_quadrants_of_hungary() -> None:
    lines = (
        b"1-0:1.4.0(02.351*kW)",
        b"1-0:1.6.0(260709134558S)(02.589*kW)",
        b"0-0:98.1.0(2)(1-0:1.6.0)(1-0:1.6.0)(200501000000S)(200423192538S)(03.695*kW)",
        b"1-0:5.7.0(00.100*kvar)",
        b"1-0:6.7.0(00.020*kvar)",
        b"1-0:7.7.0(00.504*kvar)",
        b"1-0:8.7.0(00.003*kvar)",
        b"1-0:15.8.0(000800.817*kWh)",
    )
    found = values(p1.decode(added(*lines)))
    assert found["active_power_import_avg"] == 2351
    assert found["active_power_import_peak"] == 2589
    assert found["reactive_power_total"] == -387
    assert found["energy_sum_total"] == 800.817


def test_units_without_kilo() -> None:
    telegram = changed(b"1.8.1(004812.337*kWh)", b"1.8.1(004812337*Wh)")
    telegram = changed(b"2.7.0(01.214*kW)", b"2.7.0(000001214*W)", telegram)
    found = values(p1.decode(telegram))
    assert found["energy_import_t1"] == 4812.337
    assert found["active_power_total"] == -1214.0
    assert "energy_import_t1" not in values(p1.decode(changed(b"004812.337*kWh", b"004812.337*m3")))


def test_power_of_a_meter_that_cannot_export() -> None:
    lines = [line for line in TELEGRAM.split(b"\r\n") if b":2.7.0" not in line]
    decoded = p1.decode(changed(b"1.7.0(00.000*kW)", b"1.7.0(00.250*kW)", b"\r\n".join(lines)))
    assert values(decoded)["active_power_total"] == 250.0


def test_captured_text_may_have_lost_its_line_ends() -> None:
    for text in (TELEGRAM, OLD):
        known = p1.decode_frame(text, NO_HINTS)
        assert p1.decode_frame(b"\n" + text.replace(b"\r\n", b"\n").rstrip(), NO_HINTS) == known
    for other in (b"x" + TELEGRAM, TELEGRAM + OLD, TELEGRAM[:-6], b""):
        with pytest.raises(BadFrame):
            p1.decode_frame(other, NO_HINTS)


def test_telegram_that_never_ends_is_thrown_away() -> None:
    buffer = bytearray(b"/" + b"x" * (BUFFER_BYTES_MAX + 1))
    with pytest.raises(BadFrame):
        p1.take(buffer)
    assert not buffer


def test_encrypted_telegram_is_told_and_opened_with_its_key() -> None:
    frame = enciphered(TELEGRAM)
    with pytest.raises(BadFrame, match="encrypted: give the device the `key_file`"):
        p1.take(bytearray(frame))
    with pytest.raises(BadFrame, match="encrypted"):
        p1.decode_frame(frame, NO_HINTS)
    known = p1.decode(TELEGRAM).measurements
    assert p1.decode_frame(frame, Hints(key=KEY)) == known
    buffer = bytearray(b"\xdb noise" + frame[-40:] + frame + frame[:50])
    while (found := p1_cipher.take(buffer, key=KEY, zone=AMSTERDAM)) is None:
        pass
    assert found == p1.decode(TELEGRAM, zone=AMSTERDAM)
    assert bytes(buffer) == frame[:50]
    own = enciphered(TELEGRAM, own=b"\x11" * 16)
    assert p1.decode_frame(own, Hints(key=KEY + b"\x11" * 16)) == known
    for key in (KEY, bytes(16), b"short"):
        with pytest.raises(BadFrame):
            p1.decode_frame(own, Hints(key=key))
    with pytest.raises(BadFrame, match="not encrypted"):
        p1_cipher.take(bytearray(TELEGRAM), key=KEY)


@given(st.integers(0, 1), st.data())
def test_damaged_cipher_never_opens(cut: int, data: st.DataObject) -> None:
    frame = bytearray(enciphered(TELEGRAM))
    if cut:
        del frame[data.draw(st.integers(0, len(frame) - 1)) :]
    else:
        frame[data.draw(st.integers(0, len(frame) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadFrame):
        p1.decode_frame(bytes(frame), Hints(key=KEY))


@given(st.binary(max_size=200))
def test_nothing_but_bad_frame(data: bytes) -> None:
    for crc in (True, False, None):
        with contextlib.suppress(BadFrame):
            p1.decode(b"/" + data + b"!\r\n", crc=crc, zone=AMSTERDAM)
    with contextlib.suppress(BadFrame):
        p1.decode_frame(data, Hints(key=KEY))
    with contextlib.suppress(BadFrame):
        p1_cipher.take(bytearray(b"\xdb\x08" + data), key=KEY)


@given(st.lists(st.sampled_from(TELEGRAM.split(b"\r\n")[1:-2]), max_size=30), st.binary(max_size=4))
def test_any_lines_in_any_order(lines: list[bytes], salt: bytes) -> None:
    body = b"\r\n".join((b"/LMP5" + salt.hex().encode(), b"", *lines, b"!"))
    with contextlib.suppress(BadFrame):
        assert p1.decode(sealed(body), zone=AMSTERDAM).measurements
    with pytest.raises(BadFrame):
        p1.decode(sealed(body.replace(b"/", b"x", 1)))
