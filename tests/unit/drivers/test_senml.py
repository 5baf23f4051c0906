"""SenML: the examples of RFC 8428, resolution, units, and nothing but BadFrame on what is not whole."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import Position
from drivers.codecs import cbor, senml, senml_units
from drivers.errors import BadFrame
from drivers.quantities import QUANTITIES
from drivers.template import Field

AIR = (
    Field("temperature", "temperature"),
    Field("co2", "co2"),
    Field("energy_import_total", "power#sum"),
    Field("status", "door", map={"true": "open", "false": "closed"}),
)
# RFC 8428, 6: the example of section 5.1.2 in CBOR
RFC_CBOR = bytes.fromhex(
    "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f6c7461676501"
    "615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3006763757272656e74062302fb3ff4cccccccccccda3"
    "006763757272656e74062202fb3ff6666666666666a3006763757272656e74062102f93e00a3006763757272656e74062002fb3ff999999999"
    "999aa3006763757272656e74060002fb3ffb333333333333"
)
RFC_JSON = """[
 {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,
  "n":"voltage","u":"V","v":120.1},
 {"n":"current","t":-5,"v":1.2}, {"n":"current","t":-4,"v":1.3}, {"n":"current","t":-3,"v":1.4},
 {"n":"current","t":-2,"v":1.5}, {"n":"current","t":-1,"v":1.6}, {"n":"current","v":1.7}]"""


def pack(*records: dict[str, Any]) -> bytes:
    return json.dumps(records).encode()


def values(*records: dict[str, Any], fields: tuple[Field, ...] = ()) -> dict[str, Any]:
    instants = senml.decode(pack(*records), fields)
    return {m.quantity: m.value for instant in instants for m in instant.measurements}


def test_the_example_of_the_rfc_is_the_same_in_json_and_cbor() -> None:
    with pytest.raises(BadFrame, match="version 5"):  # the RFC's own example is of a draft
        senml.resolve(RFC_JSON.encode())
    current = senml.resolve(RFC_JSON.replace(":5,", ":10,").encode())
    draft = RFC_CBOR.replace(b"\x20\x05\x00\x67", b"\x20\x0a\x00\x67", 1)
    assert senml.resolve(draft) == current
    assert current[0] == senml.Record("urn:dev:ow:10e2073a0108006:voltage", "voltage", "V", 120.1, None, 1276020076.001)
    assert [(r.value, r.unit, r.at_s) for r in current[1:]] == [
        (1.2 + n / 10 if n != 1 else 1.3, "A", 1276020071.001 + n) for n in range(6)
    ]


def test_a_track_keeps_its_times_oldest_first() -> None:
    told = senml.decode(
        pack(
            {"bn": "urn:dev:ow:1:", "bt": 1700000000.0, "bu": "%RH", "v": 20},
            {"u": "lon", "v": 24.30621},
            {"u": "lat", "v": 60.07965},
            {"n": "alt", "u": "m", "v": 14},
            {"t": 60, "v": 20.3},
            {"u": "%EL", "t": 150, "v": 98},
        )
    )
    assert [(t.age_s, t.unix_s) for t in told] == [(150, 1700000000), (90, 1700000060), (0, 1700000150)]
    assert {m.quantity: m.value for m in told[0].measurements} == {
        "position": Position(60.07965, 24.30621, 14.0),
        "relative_humidity": 20,
    }
    assert [m.quantity for m in told[2].measurements] == ["battery_level"]


def test_relative_times_are_ages() -> None:
    told = senml.decode(pack({"bt": -300, "bn": "co2", "bu": "ppm", "v": 900}, {"t": 290, "v": 910}))
    assert [(t.age_s, t.unix_s, t.measurements[0].value) for t in told] == [(300, None, 900), (10, None, 910)]
    for future in (1, 2**28 - 1):
        with pytest.raises(BadFrame, match="ahead"):
            senml.decode(pack({"n": "co2", "u": "ppm", "t": future, "v": 900}))
    with pytest.raises(BadFrame, match="ago"):
        senml.decode(pack({"n": "co2", "u": "ppm", "t": -(2**28), "v": 900}))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"n": "a/temperature", "u": "K", "v": 294.45}, {"temperature": 21.3}),
        ({"n": "temp", "u": "Cel", "v": 21.3}, {"temperature": 21.3}),
        ({"n": "temp", "u": "%", "v": 21.3}, {}),
        ({"n": "temp", "v": 21.3}, {}),
        ({"n": "pressure", "u": "Pa", "v": 101325}, {"pressure": 1013.25}),
        ({"n": "co2", "u": "/", "v": 0.00042}, {"co2": 420.0}),
        ({"n": "PM2.5", "u": "kg/m3", "v": 1.25e-8}, {"pm25": 12.5}),
        ({"n": "battery", "u": "V", "v": 3.1}, {"battery_voltage": 3.1}),
        ({"n": "soil_moisture", "u": "%RH", "v": 30}, {"soil_moisture": 30}),
        ({"n": "bicycle_count", "u": "count", "v": 12}, {"bicycle_count": 12}),
        ({"n": "bicycle_count", "v": 12}, {"bicycle_count": 12}),
        ({"n": "bicycle_count", "u": "%", "v": 12}, {}),
        ({"n": "temperature_difference", "u": "Cel", "v": 5}, {"temperature_difference": 5}),
        ({"n": "sound_level", "u": "Bspl", "v": 6.5}, {"sound_level": 65.0}),
        ({"n": "rssi", "u": "dBW", "v": -120}, {"rssi": -90.0}),
        ({"n": "energy_import_total", "u": "J", "v": 7.2e6}, {"energy_import_total": 2.0}),
        ({"n": "motion", "vb": True}, {"motion": True}),
        ({"n": "firmware_version", "vs": "1.4"}, {"firmware_version": "1.4"}),
        ({"n": "temperature", "vs": "21.3"}, {}),
        ({"n": "motion", "vd": "aGk"}, {}),
        ({"n": "no-such-thing", "u": "Cel", "v": 1}, {}),
    ],
)
def test_names_and_units_become_quantities(record: dict[str, Any], expected: dict[str, Any]) -> None:
    assert values(record) == expected


def test_base_value_and_sum() -> None:
    assert values({"bn": "m:", "bv": 20, "bu": "Cel", "n": "temp", "v": 1.3}) == {"temperature": 21.3}
    told = values({"bs": 3.6e6, "n": "power", "u": "W", "v": 400, "s": 3.6e6}, fields=AIR)
    assert told == {"energy_import_total": 2.0}


def test_fields_name_records_by_their_end() -> None:
    base = {"bn": "urn:dev:mac:0024befffe804ff1/"}
    assert values(base, {"n": "temperature", "u": "K", "v": 294.45}, fields=AIR) == {"temperature": 21.3}
    assert values(base, {"n": "temperature", "v": 21.3}, fields=AIR) == {"temperature": 21.3}
    assert values(base, {"n": "door", "vb": True}, fields=AIR) == {"status": "open"}
    assert values(base, {"n": "flow_temperature", "u": "Cel", "v": 60}, fields=AIR) == {}
    assert values({"bn": "x", "n": "temperature", "u": "Cel", "v": 6}, fields=AIR) == {"temperature": 6}
    scaled = (Field("temperature", "3303/0/5700", scale=0.1, offset=-1),)
    assert values({"bn": "/3303/0/", "n": "5700", "v": 213}, fields=scaled) == {"temperature": pytest.approx(20.3)}


@pytest.mark.parametrize("fields", [(), AIR])
def test_two_records_for_one_quantity_are_not_chosen_between(fields: tuple[Field, ...]) -> None:
    rooms = [{"n": f"room{n}/temperature", "u": "Cel", "v": 20 + n} for n in (1, 2)]
    with pytest.raises(BadFrame, match="room1/temperature, room2/temperature"):
        senml.decode(pack(*rooms), fields)


def test_a_unit_of_another_dimension_gives_no_value() -> None:
    assert values({"n": "co2", "u": "Cel", "v": 20}, fields=AIR) == {}
    assert values({"n": "co2", "u": "vendor's own", "v": 20}, fields=AIR) == {"co2": 20}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[1]",
        "[{}]",
        '[{"n":"a"}]',
        '[{"v":1}]',
        '[{"n":"-a","v":1}]',
        '[{"n":"a b","v":1}]',
        '[{"n":"a","v":"1"}]',
        '[{"n":"a","v":true}]',
        '[{"n":"a","v":null}]',
        '[{"n":1,"v":1}]',
        '[{"n":"a","vb":1}]',
        '[{"n":"a","v":1,"vs":"x"}]',
        '[{"n":"a","v":1,"must_":0}]',
        '[{"n":"a","v":1,"bver":11}]',
        '[{"n":"a","v":1,"bver":10},{"n":"b","v":1,"bver":26}]',
        '[{"n":"a","v":1,"t":"now"}]',
        '[{"n":"a","v":1},2]',
        '[{"n":"a","v":1}',
        '[{"bv":1e308,"n":"a","v":1e308}]',
        '[{"n":"' + "a" * 256 + '","v":1}]',
        "[" + ",".join('{"n":"a","v":1}' for _ in range(senml.RECORDS_MAX + 1)) + "]",
        '[{"n":"a","vs":"' + "x" * senml.PACK_BYTES_MAX + '"}]',
        "[" * 5000 + "]" * 5000,
    ],
    ids=lambda text: text[:40],
)
def test_what_is_not_whole_is_refused(text: str) -> None:
    with pytest.raises(BadFrame):
        senml.decode_frame(text.encode())


def test_what_may_be_ignored_is() -> None:
    assert values({"n": "co2", "u": "ppm", "v": 500, "ut": 60, "vendor": [1], "bver": 26}) == {"co2": 500}
    assert senml.decode_frame(cbor2.dumps([{0: "co2", 1: "ppm", 2: 500, 99: "x", "vendor": {}}]))
    with pytest.raises(BadFrame, match="must be understood"):
        senml.decode_frame(cbor2.dumps([{0: "co2", 2: 500, "x_": 1}]))
    with pytest.raises(BadFrame, match="twice"):
        senml.decode_frame(cbor2.dumps([{0: "co2", "n": "co2", 2: 500}]))


def test_our_own_units_stay_as_they_are() -> None:
    known = [q for q in QUANTITIES.values() if senml_units.known(q.unit)]
    assert len(known) > 150
    for quantity in known:
        assert senml_units.convert(12.5, quantity.unit, quantity) == 12.5


def test_paths_are_checked() -> None:
    senml.check(AIR)
    with pytest.raises(ValueError, match="path 'a b'"):
        senml.check((Field("co2", "a b"),))


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text() | st.integers(-99, 99), inner, max_size=5),
    max_leaves=20,
)


@given(TREES)
def test_cbor_is_what_another_library_writes(tree: Any) -> None:
    def depth(item: Any) -> int:
        below = list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else []
        return 1 + max(map(depth, below), default=0) if isinstance(item, dict | list) else 0

    data = cbor2.dumps(tree)
    if depth(tree) > cbor.DEPTH_MAX:
        with pytest.raises(BadFrame):
            cbor.loads(data)
    else:
        assert cbor.loads(data) == tree


BROKEN_CBOR = (
    "82 9f 9fff00 bf a10102a1 a201020103 a1f401 5f4101ff 61ff 1c f8ff f7 c10a c4820a c48119 c4821901f401 d9d9f7"
    " c482f401 9bffffffffffffffff 7affffffff fb"
)


@pytest.mark.parametrize("data", BROKEN_CBOR.split())
def test_cbor_that_is_not_whole_is_refused(data: str) -> None:
    with pytest.raises(BadFrame):
        cbor.loads(bytes.fromhex(data))


def test_cbor_of_indefinite_length_and_decimal_fractions() -> None:
    assert cbor.loads(bytes.fromhex("9fbf0002ffc4822119 6ab3ff".replace(" ", ""))) == [{0: 2}, 273.15]
    assert cbor.loads(bytes.fromhex("d9d9f780")) == []
    with pytest.raises(BadFrame):
        cbor.loads(b"")
    assert cbor.loads(bytes.fromhex("fa41aa6666")) == 21.3


@given(st.binary(max_size=200))
def test_garbage_is_refused_in_no_other_way(data: bytes) -> None:
    with contextlib.suppress(BadFrame):
        senml.decode_frame(data)
    with contextlib.suppress(BadFrame):
        senml.decode(b"[" + data, AIR)


RECORDS = st.lists(
    st.dictionaries(
        st.sampled_from(
            ("bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "vd", "s", "t", "ut", "x", "x_")
        ),
        st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(("co2", "ppm", "Cel", "a:temp", "")),
        max_size=6,
    ),
    max_size=6,
)


@given(RECORDS)
def test_packs_of_any_content_give_measurements_or_are_refused(records: Any) -> None:
    with contextlib.suppress(BadFrame, ValueError):
        for data in (json.dumps(records).encode(), cbor2.dumps(records)):
            with contextlib.suppress(BadFrame):
                for instant in senml.decode(data, AIR) + senml.decode(data):
                    assert all(m.quantity in QUANTITIES for m in instant.measurements)
                    assert len({m.quantity for m in instant.measurements}) == len(instant.measurements)


@given(st.integers(0, len(RFC_CBOR) - 1), st.integers(1, 255))
def test_a_damaged_byte_gives_a_whole_pack_or_none(at: int, change: int) -> None:
    damaged = bytearray(RFC_CBOR)
    damaged[at] ^= change
    with contextlib.suppress(BadFrame):
        assert all(record.name for record in senml.resolve(bytes(damaged)))
