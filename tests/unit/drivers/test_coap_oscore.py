"""OSCORE: the test vectors of RFC 8613, appendix C; credentials; what is remembered, through power cuts too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import aiocoap
import pytest
from aiocoap.message import Direction

from drivers.buses import coap_message as wire
from drivers.buses import coap_oscore
from drivers.buses.coap_message import Code, Message
from drivers.buses.coap_oscore import Context, Denied, Keys
from drivers.errors import Disconnected, DriverError, Misconfigured, NoPermission

SECRET = bytes(range(1, 17))
SALT = bytes.fromhex("9e7ca92223786340")
CLIENT = Keys("coap://localhost", SECRET, b"", b"\x01", SALT)
SERVER = Keys("sensor", SECRET, b"\x01", b"", SALT)
SECRET_TEXT = SECRET.hex()


def decoded(data: str) -> Any:
    return aiocoap.Message.decode(bytes.fromhex(data))


def encoded(message: Any, like: Any) -> str:
    message.mtype, message.mid, message.token = like.mtype, like.mid, like.token
    return str(message.encode().hex())


def test_vectors_of_the_rfc(tmp_path: Path) -> None:
    client, server = Context(CLIENT, tmp_path / "c"), Context(SERVER, tmp_path / "s")
    assert client.sender_key.hex() == server.recipient_key.hex() == "f0910ed7295e6ad4b54fc793154302ff"  # C.1.1
    assert client.recipient_key.hex() == server.sender_key.hex() == "ffb14e093c94c9cac9471648b4f98710"
    assert client.common_iv.hex() == "4622d4dd6d944168eefb54987c"
    plain = decoded("44015d1f00003974396c6f63616c686f737483747631")
    plain.direction = Direction.OUTGOING
    client.sender_sequence_number = 20
    request, request_id = client.protect(plain)
    protected = "44025d1f00003974396c6f63616c686f7374620914ff612f1092f1776f1c1668b3825e"  # C.4
    assert encoded(request, plain) == protected

    def reply(code: int, text: str) -> Message:
        return Message(wire.ACK, code, 0x5D1F, bytes.fromhex("00003974"), payload=text.encode())

    opened = coap_oscore.open_request([server], wire.parse(bytes.fromhex(protected)), reply)
    assert (opened.message.code, opened.message.path, opened.context.peer) == (wire.GET, ("tv1",), "sensor")
    answer = wire.encode(opened.protect(reply(Code.CONTENT, "Hello World!"))).hex()
    assert answer == "64445d1f0000397490ffdbaad1e9a7e7b2a813d3c31524378303cdafae119106"  # C.7
    again = wire.encode(opened.protect(reply(Code.CONTENT, "Hello World!"))).hex()
    assert again == "64445d1f00003974920100ff4d4c13669384b67354b2b6175ff4b8658c666a6cf88e"  # C.8
    for data in (answer, again):
        assert client.unprotect(decoded(data), request_id)[0].payload == b"Hello World!"
    with pytest.raises(Denied) as denied:
        coap_oscore.open_request([server], wire.parse(bytes.fromhex(protected)), reply)
    assert denied.value.reply is not None
    assert denied.value.reply.payload == b"replay detected"
    for context in (client, server):
        context.close()
        context.close()


def state(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("*.json")
    told = json.loads(file.read_text(encoding="utf-8"))
    assert SECRET_TEXT not in f"{file.name} {told}"
    return {key: told[key] for key in ("next", "seen")}


def test_a_clean_end_remembers_exactly(tmp_path: Path) -> None:
    context = Context(SERVER, tmp_path)
    assert [context.new_sequence_number() for _ in range(3)] == [0, 1, 2]
    context.recipient_replay_window.strike_out(7)
    assert state(tmp_path) == {"next": coap_oscore.CHUNK, "seen": None}
    context.close()
    assert state(tmp_path) == {"next": 3, "seen": {"index": 0, "bitfield": 1 << 7}}
    context = Context(SERVER, tmp_path)
    assert context.new_sequence_number() == 3
    assert not context.recipient_replay_window.is_valid(7)
    assert context.recipient_replay_window.is_valid(8)
    context.close()


def test_no_number_is_used_twice_after_a_power_cut_at_any_moment(tmp_path: Path) -> None:
    used: set[int] = set()
    folder = tmp_path / "0"
    for cut in range(1, 6):
        context = Context(SERVER, folder)
        # what is on the disk is all that the next life knows; it is taken before each use and after
        for _ in range(coap_oscore.CHUNK * cut // 2):
            number = context.new_sequence_number()
            assert number not in used
            assert number < state(folder)["next"]
            used.add(number)
        left = tmp_path / str(cut)
        shutil.copytree(folder, left)
        context.close()
        folder = left
    context = Context(SERVER, folder)
    assert context.new_sequence_number() not in used
    assert not context.recipient_replay_window.is_initialized()
    context.close()


def test_damaged_state_is_not_started_over(tmp_path: Path) -> None:
    Context(SERVER, tmp_path).close()
    (file,) = tmp_path.glob("*.json")
    for text in ("", "{", "[]", '{"next": -1, "seen": null}', '{"next": 1}', '{"next": 1, "seen": {"index": "x"}}'):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(Misconfigured, match="new secret"):
            Context(SERVER, tmp_path)


def test_one_user_at_a_time(tmp_path: Path) -> None:
    first = Context(SERVER, tmp_path)
    with pytest.raises(Disconnected, match="in use"):
        Context(SERVER, tmp_path)
    first.close()
    Context(SERVER, tmp_path).close()


def test_state_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoPermission, match="cannot be kept"):
        Context(SERVER, tmp_path / "file")


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


GOOD = f"""
mast:
  secret: {SECRET_TEXT}
  salt: 9e7ca92223786340
  sender_id: 01
  recipient_id: ""
"""


def test_credentials(tmp_path: Path) -> None:
    keys = coap_oscore.read_keys(write(tmp_path, GOOD))
    assert keys == {"mast": Keys("mast", SECRET, b"\x01", b"", SALT)}
    assert SECRET_TEXT not in repr(keys)
    assert str(SECRET) not in repr(keys)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a list"),
        ("[1]", "not a list"),
        ("a: [", "not a list"),
        ("mast: {secret: 00}", "needs secret, sender_id and recipient_id"),
        (GOOD + "  colour: red\n", "needs secret, sender_id and recipient_id"),
        (GOOD.replace("9e7c", "xx"), "salt of mast is not hexadecimal"),
        (GOOD.replace(SECRET_TEXT, "0011"), "has 2 bytes"),
        (GOOD.replace('""', '"01"'), "must differ"),
        (GOOD.replace('""', '"0102030405060708"'), "7 bytes"),
        (GOOD + GOOD.replace("mast", "pole").replace('""', '"05"'), "same secret"),
        (GOOD + GOOD.replace("mast", "pole").replace(SECRET_TEXT, "ff" * 16), "same recipient_id"),
    ],
)
def test_credentials_that_are_not_right(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Misconfigured, match=words) as failed:
        coap_oscore.read_keys(write(tmp_path, text))
    assert SECRET_TEXT not in str(failed.value)


def test_credentials_that_others_may_read(tmp_path: Path) -> None:
    with pytest.raises(NoPermission, match="chmod o-rwx"):
        coap_oscore.read_keys(write(tmp_path, GOOD, 0o644))
    with pytest.raises(DriverError, match="cannot be read"):
        coap_oscore.read_keys(tmp_path / "nothing")
