"""Messages come out as they went in; whatever is not one is a MessageError and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.compact import message
from gateway.compact.message import AckMessage, BatchMessage, HeldMessage, MessageError, ProfilesMessage
from gateway.compact.ranges import merged
from gateway.model import Priority, Range

Message = BatchMessage | AckMessage | HeldMessage | ProfilesMessage
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
STREAMS = TEXT | st.binary(min_size=1, max_size=8).map(bytes.hex)
RANGES = st.lists(
    st.builds(lambda a, n: Range(a, a + n), st.integers(0, 2**40), st.integers(0, 2**20)), max_size=5
).map(merged)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=4,
)
BATCHES = st.builds(
    BatchMessage,
    TEXT,
    STREAMS,
    st.binary(min_size=8, max_size=8).map(bytes.hex),
    st.sampled_from(Priority),
    st.binary(min_size=1),
)
ACKS = st.builds(
    AckMessage,
    STREAMS,
    RANGES,
    st.booleans(),
    st.none() | st.floats(0, 86_400) | st.integers(0, 86_400),
    st.integers(0, 2**40),
    st.lists(TEXT, max_size=5).map(tuple),
)
HELD = st.builds(HeldMessage, st.dictionaries(STREAMS, RANGES, max_size=4))
PROFILES = st.builds(
    ProfilesMessage,
    TEXT,
    st.dictionaries(TEXT, st.dictionaries(TEXT, TEXT | st.floats(0, 1)), max_size=4),
    st.none() | TEXT,
)
KINDS: tuple[Callable[[bytes], Message], ...] = (
    BatchMessage.from_bytes,
    AckMessage.from_bytes,
    HeldMessage.from_bytes,
    ProfilesMessage.from_bytes,
)


@given(BATCHES | ACKS | HELD | PROFILES)
def test_what_goes_in_comes_out(made: Message) -> None:
    assert type(made).from_bytes(made.to_bytes()) == made


@given(st.dictionaries(TEXT, PLAIN, max_size=4))
def test_profiles_carry_plain_data(profile: dict[str, object]) -> None:
    with contextlib.suppress(MessageError):  # nested too deep
        made = ProfilesMessage("hall", {"meter": profile})
        assert ProfilesMessage.from_bytes(made.to_bytes()) == made


@given(BATCHES | ACKS | HELD | PROFILES, st.data())
def test_damage_is_an_error_and_nothing_else(made: Message, data: st.DataObject) -> None:
    body = bytearray(made.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    for read in KINDS:
        with contextlib.suppress(MessageError):
            read(bytes(body))


@given(st.binary(max_size=60))
def test_rubbish_is_an_error_and_nothing_else(body: bytes) -> None:
    for read in KINDS:
        with pytest.raises(MessageError):
            read(body)


def test_the_digest_names_the_contents_in_whatever_order() -> None:
    one = ProfilesMessage("hall", {"a": {"x": 1, "y": {"p": [2.5], "q": None}}, "b": {}})
    other = ProfilesMessage("hall", {"b": {}, "a": {"y": {"q": None, "p": [2.5]}, "x": 1}})
    assert one.digest == other.digest == message.digest(other.to_bytes())
    assert one.digest != ProfilesMessage("hall", {"a": {}, "b": {}}).digest


def test_a_later_version_may_add_keys() -> None:
    fields = cbor2.loads(AckMessage("00ff", (Range(1, 9),)).to_bytes())
    assert AckMessage.from_bytes(cbor2.dumps({**fields, 99: ["new"]})) == AckMessage("00ff", (Range(1, 9),))


@pytest.mark.parametrize("version", [0, 2, 1.0, True, None, "1"])
def test_another_version_is_refused(version: object) -> None:
    fields = cbor2.loads(AckMessage("00ff").to_bytes())
    with pytest.raises(MessageError, match="version"):
        AckMessage.from_bytes(cbor2.dumps({**fields, 0: version}))


def test_a_message_of_another_kind_is_refused() -> None:
    with pytest.raises(MessageError, match="kind"):
        BatchMessage.from_bytes(AckMessage("00ff").to_bytes())


@pytest.mark.parametrize("key", [2, 3, 4, 5, 6])
def test_a_batch_needs_all_its_fields(key: int) -> None:
    fields = cbor2.loads(BatchMessage("box", "00ff", "00" * 8, Priority.LIVE, b"x").to_bytes())
    del fields[key]
    with pytest.raises(MessageError):
        BatchMessage.from_bytes(cbor2.dumps(fields))


@pytest.mark.parametrize(
    "make",
    [
        lambda: BatchMessage("", "00", "00" * 8, Priority.LIVE, b"x"),
        lambda: BatchMessage("box", "s" * 257, "00" * 8, Priority.LIVE, b"x"),
        lambda: BatchMessage("box", "00", "00" * 7, Priority.LIVE, b"x"),
        lambda: BatchMessage("box", "00", "0G" * 8, Priority.LIVE, b"x"),
        lambda: BatchMessage("box", "00", "00" * 8, 1, b"x"),  # type: ignore[arg-type]
        lambda: BatchMessage("box", "00", "00" * 8, Priority.LIVE, b""),
        lambda: BatchMessage("\ud800", "00", "00" * 8, Priority.LIVE, b"x").to_bytes(),
        lambda: BatchMessage("box", "00", "00" * 8, Priority.LIVE, bytes(1 << 20)).to_bytes(),
        lambda: AckMessage("00", (Range(5, 9), Range(1, 2))),
        lambda: AckMessage("00", (Range(1, 2), Range(3, 4))),
        lambda: AckMessage("00", (Range(3, 2),)),
        lambda: AckMessage("00", (Range(-1, 2),)),
        lambda: AckMessage("00", (Range(1, 2**63),)),
        lambda: AckMessage("00", tuple(Range(2 * n, 2 * n) for n in range(4097))),
        lambda: AckMessage("00", retry_after_s=-1),
        lambda: AckMessage("00", retry_after_s=float("nan")),
        lambda: AckMessage("00", problems=("x" * 301,)),
        lambda: AckMessage("00", problems=("x",) * 6),
        lambda: AckMessage("00", refused=-1),
        lambda: HeldMessage({str(n): () for n in range(257)}),
        lambda: ProfilesMessage("hall", {"m": {"x": float("inf")}}),
        lambda: ProfilesMessage("hall", {"m": {"x": 2**63}}),
        lambda: ProfilesMessage("hall", {"m": {"x": b""}}),
        lambda: ProfilesMessage("hall", {"m": {1: 2}}),  # type: ignore[dict-item]
        lambda: ProfilesMessage("hall", {"m": {"x": [[[[1]]]]}}),
        lambda: ProfilesMessage("hall", {str(n): {} for n in range(4097)}),
    ],
)
def test_bounds(make: Callable[[], object]) -> None:
    with pytest.raises(MessageError):
        make()


def test_small() -> None:
    """What stands around a body is paid with every batch."""
    assert len(BatchMessage("lamppost-0042", "0011223344556677", "00" * 8, Priority.LIVE, b"x" * 170).to_bytes()) <= 218
    assert len(AckMessage("0011223344556677", (Range(1_000_000, 1_000_239),)).to_bytes()) <= 24
