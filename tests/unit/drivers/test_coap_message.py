"""CoAP messages on the wire: as another library writes and reads them, and nothing but BadFrame on garbage."""

from __future__ import annotations

import contextlib

import aiocoap
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.buses import coap_message as wire
from drivers.buses.coap_message import Block, Message, Option
from drivers.errors import BadFrame

TEXT = st.text(max_size=20).filter(lambda text: text not in ("", ".", ".."))


@given(
    st.sampled_from((wire.CON, wire.NON)),
    st.integers(0, 0xFFFF),
    st.binary(max_size=8),
    st.lists(TEXT, max_size=3),
    st.none() | st.sampled_from(wire.SENML_FORMATS),
    st.none() | st.tuples(st.integers(0, 2**20 - 1), st.booleans(), st.integers(0, 6)),
    st.binary(max_size=64),
)
def test_what_another_library_writes_is_read_and_written_alike(
    kind: int,
    mid: int,
    token: bytes,
    path: list[str],
    content_format: int | None,
    block: tuple[int, bool, int] | None,
    payload: bytes,
) -> None:
    theirs = aiocoap.Message(code=aiocoap.POST, uri_path=path, payload=payload, block1=block)
    if content_format is not None:
        theirs.opt.content_format = content_format
    theirs.mtype, theirs.mid, theirs.token = aiocoap.Type(kind), mid, token
    data = theirs.encode()
    message = wire.parse(data)
    assert (message.type, message.code, message.mid, message.token) == (kind, wire.POST, mid, token)
    assert message.path == tuple(path)
    assert message.number(Option.CONTENT_FORMAT) == content_format
    assert message.block(Option.BLOCK1) == (None if block is None else Block(*block))
    assert message.payload == payload
    assert wire.encode(message) == data


@given(st.binary(max_size=80))
def test_garbage(data: bytes) -> None:
    with contextlib.suppress(BadFrame):
        message = wire.parse(b"\x40" + data)
        assert wire.parse(wire.encode(message)).options == message.options


BROKEN = "40 400100 80010000 49010000 44010000aa 4000000001 40010000ff 4001000051 40010000f0 400100000f 40010000e000"


@pytest.mark.parametrize("data", BROKEN.split())
def test_what_is_not_whole(data: str) -> None:
    with pytest.raises(BadFrame):
        wire.parse(bytes.fromhex(data))


def test_unknown_options_are_left_out_and_critical_ones_told() -> None:
    def one(number: int, value: bytes) -> Message:
        return wire.parse(wire.encode(Message(wire.CON, wire.POST, 1, options=((number, value),), payload=b"x")))

    elective, critical, too_long, no_text = (
        one(2040, b"a"),
        one(2041, b"a"),
        one(Option.OBSERVE, b"1234"),
        one(11, b"\xff"),
    )
    assert (elective.options, elective.critical, elective.payload) == ((), None, b"x")
    assert (critical.options, critical.critical) == ((), 2041)
    assert (too_long.options, too_long.critical) == ((), None)
    assert (no_text.options, no_text.critical) == ((), 11)
    with pytest.raises(BadFrame, match="block size"):
        one(Option.BLOCK1, b"\x07").block(Option.BLOCK1)
