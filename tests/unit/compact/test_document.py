"""The test vectors of docs/reference/compact-protocol.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.compact.codec import CompactError, Entry, decode, encode
from gateway.compact.message import AckMessage, BatchMessage, HeldMessage, MessageError, ProfilesMessage
from gateway.model import BootTime, Position, Priority, Quality, Range, Reading, Reason

DOCUMENT = (Path(__file__).parents[3] / "docs/reference/compact-protocol.md").read_text(encoding="utf-8")
BODIES, MESSAGES = (json.loads(found) for found in re.findall(r"```json\n(.*?)\n```", DOCUMENT, re.DOTALL))
KINDS: dict[str, type[BatchMessage | AckMessage | HeldMessage | ProfilesMessage]] = {
    "batch": BatchMessage,
    "ack": AckMessage,
    "held": HeldMessage,
    "profiles": ProfilesMessage,
}


def entry(seq: int, readings: list[list[Any]]) -> Entry:
    made = []
    for number, (device, quantity, value, unit, when, quality, reason) in enumerate(readings, seq):
        ns, clock = (0, BootTime(*when)) if isinstance(when, list) else (when, None)
        value = Position(**value) if isinstance(value, dict) else value
        made.append(Reading(device, quantity, value, unit, ns, clock, Quality(quality), Reason(reason), number))
    return Entry(seq, tuple(made))


def ranges(pairs: list[list[int]]) -> tuple[Range, ...]:
    return tuple(Range(*pair) for pair in pairs)


def message(kind: str, says: dict[str, Any]) -> object:
    if kind == "batch":
        parts = says | {"priority": Priority(says["priority"]), "body": bytes.fromhex(says["body"])}
        return BatchMessage(**parts)
    if kind == "ack":
        return AckMessage(**says | {"ranges": ranges(says["ranges"]), "problems": tuple(says["problems"])})
    if kind == "held":
        return HeldMessage({stream: ranges(pairs) for stream, pairs in says["streams"].items()})
    return ProfilesMessage(says["site"], says["profiles"], says["tenant"])


@pytest.mark.parametrize("vector", BODIES, ids=lambda vector: vector.get("note", vector.get("refused")))
def test_bodies(vector: dict[str, Any]) -> None:
    body = bytes.fromhex(vector["body"])
    if "refused" in vector:
        with pytest.raises(CompactError):
            decode(body)
        return
    entries = [entry(**said) for said in vector["entries"]]
    # the text tells -0.0 from 0.0, and True from 1
    assert repr(decode(body)) == repr(entries)
    assert repr(decode(encode(entries))) == repr(entries)


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda vector: vector["kind"])
def test_messages(vector: dict[str, Any]) -> None:
    kind, data = KINDS[vector["kind"]], bytes.fromhex(vector["message"])
    if "refused" in vector:
        with pytest.raises(MessageError):
            kind.from_bytes(data)
        return
    made = kind.from_bytes(data)
    assert made == message(vector["kind"], vector["says"])
    assert made.to_bytes() == data
    if isinstance(made, ProfilesMessage):
        assert made.digest == vector["says"]["digest"]


def test_the_vectors_show_what_matters() -> None:
    assert {bytes.fromhex(vector["body"])[1] for vector in BODIES if "entries" in vector} == {2, 3}
    assert {vector["kind"] for vector in MESSAGES} == {*KINDS}
    assert sum("refused" in vector for vector in (*BODIES, *MESSAGES)) > 8
