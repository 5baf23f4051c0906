"""NMEA 0183: sums, fixes and what is none, epochs, time."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Position
from drivers.codecs import nmea
from drivers.codecs.framing import NO_HINTS, Decoded
from drivers.errors import BadFrame
from firmware_sim.devices.gnss import COLD, burst, sentence

AT = datetime(2026, 7, 14, 13, 30, 7, tzinfo=UTC)
SECOND = 1_000_000_000


def merged(*bodies: str) -> Decoded:
    return nmea.merge([nmea.parse(sentence(body).strip().encode()) for body in bodies])


def values(decoded: Decoded) -> dict[str, object]:
    return {m.quantity: m.value for m in decoded.measurements}


def heard(data: bytes, epochs: nmea.Epochs, mono_ns: int) -> list[nmea.Epoch]:
    buffer, found = bytearray(data), []
    while True:
        try:
            said = nmea.take(buffer)
        except BadFrame:
            continue
        if said is None:
            return found
        found += epochs.add(said, mono_ns)


RMC = "GNRMC,133007.00,A,5540.56600,N,01234.09800,E,9.287,211.50,140726,,,A,V"
GGA = "GNGGA,133007.00,5540.56600,N,01234.09800,E,1,09,0.98,56.0,M,48.5,M,,"


def test_one_epoch_in_one_observation() -> None:
    decoded = merged(RMC, GGA, "GNVTG,211.50,T,,M,9.287,N,17.200,K,A", "GNGST,133007.00,9,,,,3.0,4.0,5.0")
    assert values(decoded) == {
        "position": Position(55.676100000, 12.5683, 104.5),
        "speed": 17.2,
        "course": 211.5,
        "satellites": 9,
        "hdop": 0.98,
        "position_error": 5.0,
    }
    assert decoded.device_ns == int(AT.timestamp()) * SECOND


@pytest.mark.parametrize(
    "bodies",
    [
        ("GNRMC,,V,,,,,,,,,,N,V",),
        (RMC.replace(",A,5540", ",V,5540"),),
        (RMC.replace(",A,V", ",E,V"),),  # dead reckoning
        (RMC.replace(",A,V", ",S,V"),),  # simulator
        (RMC.replace(",A,V", ",M,V"),),  # manual input
        (GGA.replace(",1,09", ",0,09"),),
        (GGA.replace(",1,09", ",6,09"),),
        (GGA.replace(",1,09", ",8,09"),),
        (RMC, GGA.replace(",1,09", ",0,00")),  # one says no: no
        (RMC, GGA, "GNGSA,A,1,,,,,,,,,,,,,99.99,99.99,99.99,1"),
        ("GNGLL,5540.56600,N,01234.09800,E,133007.00,V,N",),
        ("GNGNS,133007.00,5540.56600,N,01234.09800,E,NNNN,00,99.99,,,,,V",),
        ("GNGNS,133007.00,5540.56600,N,01234.09800,E,AENN,05,1.2,56.0,48.5,,,V",),
        ("GNZDA,133007.00,14,07,2026,00,00",),
        ("GNVTG,211.50,T,,M,9.287,N,17.200,K,N",),
    ],
)
def test_without_a_valid_fix_there_is_neither_position_nor_time(bodies: tuple[str, ...]) -> None:
    decoded = merged(*bodies)
    assert set(values(decoded)) <= {"satellites"}
    assert decoded.device_ns is None


@pytest.mark.parametrize(
    "bodies",
    [
        ("GPRMC,133007,A,5540.56600,N,01234.09800,E,9.287,211.50,140726,,",),  # NMEA 2.1: without mode
        (RMC.replace(",A,V", ",D"),),
        (GGA.replace(",1,09", ",4,09"),),
        ("GNGNS,133007.00,5540.56600,N,01234.09800,E,DANN,09,1.2,56.0,48.5,,,V",),
        (GGA, "GPGSA,A,3,23,,,,,,,,,,,,1.8,0.9,1.5", "GLGSA,A,1,,,,,,,,,,,,,,,"),
    ],
)
def test_valid_fixes(bodies: tuple[str, ...]) -> None:
    position = values(merged(*bodies))["position"]
    assert isinstance(position, Position)
    assert (position.latitude, position.longitude) == pytest.approx((55.6761, 12.5683))


def test_south_and_west_are_negative_and_height_needs_the_geoid() -> None:
    decoded = merged("GNGGA,133007.00,3352.12800,S,15112.55800,W,1,09,0.98,56.0,M,,M,,")
    assert values(decoded)["position"] == Position(-33.8688, -151.2093, None)


def test_null_island_is_no_position() -> None:
    assert "position" not in values(merged("GNGGA,133007.00,0000.00000,N,00000.00000,E,1,09,0.98,5,M,1,M,,"))


def test_a_sentinel_of_precision_is_left_out() -> None:
    assert "hdop" not in values(merged(GGA.replace("0.98", "99.99")))


@pytest.mark.parametrize("field", ["5560.00000", "9140.00000", "55.5", "x", "18140.0"])
def test_what_is_no_coordinate(field: str) -> None:
    with pytest.raises(BadFrame):
        merged(GGA.replace("5540.56600", field))


def test_a_rolled_over_week_and_impossible_dates_give_no_time() -> None:
    for date in ("281106", "060180", "310226", "000000", "01012"):
        decoded = merged(RMC.replace("140726", date))
        assert decoded.device_ns is None, date
        assert "position" in values(decoded)
    assert merged(RMC.replace("133007.00", "235960.00")).device_ns is None


def test_time_by_zda_beside_a_fix() -> None:
    decoded = merged(GGA, "GNZDA,133007.25,14,07,2026,00,00")
    assert decoded.device_ns == int(AT.timestamp()) * SECOND + SECOND // 4


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2040, 1, 1)),
    st.floats(-89.99, 89.99),
    st.floats(-179.99, 179.99),
    st.floats(0, 200),
)
def test_what_a_receiver_says_comes_back(when: datetime, latitude: float, longitude: float, speed: float) -> None:
    at = when.replace(microsecond=0, tzinfo=UTC)
    decoded = heard(burst(at, latitude, longitude, speed, 12.5) + COLD, nmea.Epochs(), 5)[0].decoded
    position = values(decoded).get("position")
    if isinstance(position, Position):  # not so close to 0, 0 that it reads 0, 0
        assert position.latitude == pytest.approx(latitude, abs=2e-7)
        assert position.longitude == pytest.approx(longitude, abs=2e-7)
    else:
        assert max(abs(latitude), abs(longitude)) < 1e-6
    assert values(decoded)["speed"] == pytest.approx(speed, abs=1e-3)
    assert decoded.device_ns == int(at.timestamp()) * SECOND


def test_epochs_are_given_out_with_their_last_sentence_once_it_is_known() -> None:
    epochs, given_at = nmea.Epochs(), []
    for number in range(6):
        lines = burst(AT + timedelta(seconds=number), 55.0, 12.0).splitlines(keepends=True)
        for index, line in enumerate(lines):
            for epoch in heard(line, epochs, number * SECOND + index * 50_000_000):
                given_at.append((number, index))
                assert epoch.mono_ns == (epoch.decoded.device_ns or 0) - int(AT.timestamp()) * SECOND
                assert len(epoch.decoded.measurements) == 4
    # the first two with the next one's first sentence; then each with its own last
    assert given_at == [(1, 0), (2, 0), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_a_receiver_with_one_sentence() -> None:
    epochs, found = nmea.Epochs(), []
    for number in range(5):
        body = RMC.replace("133007.00", f"13300{number}.00")
        found += heard(sentence(body).encode(), epochs, number * SECOND)
    assert [epoch.mono_ns for epoch in found] == [0, SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND]


def test_cold_start_makes_epochs_too() -> None:
    epochs, found = nmea.Epochs(), []
    for number in range(4):
        found += heard(COLD, epochs, number * SECOND)
    assert len(found) == 4
    assert all(values(epoch.decoded) == {"satellites": 0} for epoch in found)
    assert all(epoch.decoded.device_ns is None for epoch in found)


def test_sentences_without_a_time_belong_to_the_burst_around_them() -> None:
    epochs, found = nmea.Epochs(), []
    for number in range(4):
        for body in ("GNGSA,A,3,23,,,,,,,,,,,,1.8,0.9,1.5,1", RMC.replace("133007.00", f"13300{number}.00")):
            found += heard(sentence(body).encode(), epochs, number * SECOND)
    assert [epoch.mono_ns for epoch in found] == [0, SECOND, 2 * SECOND, 3 * SECOND]
    assert all(values(epoch.decoded)["hdop"] == 0.9 for epoch in found)


def test_a_bad_field_costs_its_epoch_only() -> None:
    epochs = nmea.Epochs()
    heard(sentence(RMC).encode(), epochs, 0)
    heard(sentence(GGA.replace("5540.56600", "5599.0")).encode(), epochs, 0)
    with pytest.raises(BadFrame):
        epochs.add(nmea.parse(sentence(RMC.replace("133007", "133008")).strip().encode()), SECOND)
    (good,) = epochs.add(nmea.parse(sentence(RMC.replace("133007", "133009")).strip().encode()), 2 * SECOND)
    assert good.mono_ns == SECOND
    assert "position" in values(good.decoded)


def test_other_sentences_and_binary_between_are_passed_over() -> None:
    said = b"\xb5b\x01\x07\x5c\x00\x12" + sentence("GNTXT,01,01,02,ANTSTATUS=OK").encode()
    said += sentence("PUBX,00,081350.00").encode() + sentence(RMC).encode() + b"!AIVDM,1,1,,B,177KQJ*00\r\n"
    buffer, kinds = bytearray(said), []
    while (taken := nmea.take(buffer)) is not None:
        kinds.append(taken.kind)
    assert kinds == ["TXT", "UBX", "RMC"]


@given(st.lists(st.binary(max_size=100) | st.sampled_from([b"$", b"\r\n", b"$GN", b"*", COLD[:30]]), max_size=30))
def test_noise_is_bounded_and_the_next_burst_comes_through(chunks: list[bytes]) -> None:
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        while True:
            try:
                if nmea.take(buffer) is None:
                    break
            except BadFrame:
                continue
        assert len(buffer) <= nmea.SENTENCE_BYTES_MAX
    epochs = nmea.Epochs()
    found = heard(bytes(buffer) + b"\r\n" + burst(AT, 55.0, 12.0) + COLD, epochs, 5)
    assert "position" in values(found[-1].decoded)


@given(st.lists(st.sampled_from([RMC, GGA, "GPGSA,A,3,,,,,,,,,,,,,1,1,1"]), max_size=200), st.integers(0, 10**9))
def test_epochs_are_bounded(bodies: list[str], step_ns: int) -> None:
    epochs = nmea.Epochs()
    for number, body in enumerate(bodies):
        epochs.add(nmea.parse(sentence(body).strip().encode()), number * step_ns)
        assert len(epochs._sentences) <= nmea.SENTENCES_MAX


@given(st.binary(max_size=300) | st.text(max_size=80).map(lambda text: sentence(text).encode("utf-8", "replace")))
def test_arbitrary_bytes(data: bytes) -> None:
    with contextlib.suppress(BadFrame):
        nmea.decode_frame(data, NO_HINTS)


fields = st.lists(
    st.sampled_from(["", "A", "1", "0", "5540.5", "N", "E", "01234.0", "x", "140726", "-1", "3", "9" * 12])
)


@given(st.sampled_from(nmea.KINDS), fields)
def test_any_fields_under_a_right_sum(kind: str, parts: list[str]) -> None:
    with contextlib.suppress(BadFrame):
        nmea.decode_frame(sentence(",".join([f"GN{kind}", *parts])).encode(), NO_HINTS)
