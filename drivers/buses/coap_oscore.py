"""OSCORE (RFC 8613): the keys of the sensors, what must be remembered of them, and protected messages.

The credentials file is YAML, one part a sensor; values are hexadecimal::

    weather-mast:              # the name it pushes under, or coap://HOST of a sensor that is asked
      secret: 0102030405060708090a0b0c0d0e0f10
      salt: 9e7ca92223786340   # where there is one
      sender_id: "01"          # this box
      recipient_id: "02"       # the sensor
      id_context: 37cbf3210017a2d3   # where there is one

A sequence number must never be used twice with a key: that would give the key's protection away. So the state file of a
sensor says, as long as it is in use, what a power cut may have cost: a sender sequence number beyond all that may have
been used, and that the replay window is not known. After such an end the first request of the sensor is answered with
an Echo that it must repeat (RFC 8613, B.1.2). A clean end writes both exactly. State that is lost, or old because it
came from a backup, cannot be noticed: then the sensor needs a new secret.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiocoap
import yaml
from aiocoap import oscore
from aiocoap.error import UnparsableMessage
from aiocoap.message import Direction

from drivers.buses.coap_message import FETCH, POST, Code, Message, Option, encode, parse
from drivers.errors import BadFrame, Disconnected, DriverError, Misconfigured, NoPermission

FILE_BYTES_MAX = 256 * 1024
SECRET_BYTES_MIN = 16
SECRET_BYTES_MAX = 64
ID_BYTES_MAX = 7  # of AES-CCM-16-64-128: its nonce is 13 bytes (RFC 8613, 3.3)
CHUNK = 1024  # sequence numbers reserved with each write
_ECHO_BYTES = 8
logging.getLogger("aiocoap").setLevel(logging.WARNING)  # on DEBUG it would write how nonces are made
_KEYS = ("secret", "salt", "sender_id", "recipient_id", "id_context")


@dataclass(frozen=True, slots=True)
class Keys:
    """What a sensor and this box share. ``peer`` is its name in the file."""

    peer: str
    secret: bytes = field(repr=False)
    sender_id: bytes
    recipient_id: bytes
    salt: bytes = field(default=b"", repr=False)
    id_context: bytes | None = None

    @property
    def digest(self) -> str:
        """A name for the state file that says nothing of the secret and changes with it."""
        parts = (self.salt, self.sender_id, self.recipient_id, self.id_context or b"")
        told = b"".join(bytes([len(part)]) + part for part in parts)
        return hmac.new(self.secret, b"lamppost oscore state" + told, hashlib.sha256).hexdigest()[:32]


def read_keys(path: Path) -> dict[str, Keys]:
    """The keys of a credentials file by peer. Raises NoPermission or Misconfigured."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
            shared = os.fstat(file.fileno()).st_mode & 0o007
    except OSError as error:
        raise NoPermission(f"{path} cannot be read: {error.strerror}") from None
    if shared:
        raise NoPermission(f"everybody on this box may use {path}: run `chmod o-rwx {path}`")
    try:
        # BaseLoader: all values are text, so that 01 stays 01
        parts = yaml.load(raw, Loader=yaml.BaseLoader) if len(raw) <= FILE_BYTES_MAX else None  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        parts = None  # what is wrong is not told: it would be told with a piece of the secret
    if not isinstance(parts, dict) or not parts:
        raise Misconfigured(f"{path} is not a list of OSCORE keys by sensor")
    keys = {str(peer): _keys(path, str(peer), part) for peer, part in parts.items()}
    if len({one.secret for one in keys.values()}) < len(keys):
        raise Misconfigured(f"{path}: two sensors have the same secret; each needs its own")
    if len({(one.recipient_id, one.id_context) for one in keys.values()}) < len(keys):
        raise Misconfigured(f"{path}: two sensors have the same recipient_id and id_context")
    return keys


def _keys(path: Path, peer: str, part: object) -> Keys:
    if not isinstance(part, dict) or set(part) - set(_KEYS) or not {"secret", "sender_id", "recipient_id"} <= set(part):
        raise Misconfigured(
            f"{path}: {peer} needs secret, sender_id and recipient_id; salt and id_context may be there"
        )
    values: dict[str, bytes] = {}
    for key, text in part.items():
        try:
            values[key] = bytes.fromhex(text)
        except (ValueError, TypeError):
            raise Misconfigured(f"{path}: {key} of {peer} is not hexadecimal") from None
    keys = Keys(peer, **values)
    if not SECRET_BYTES_MIN <= len(keys.secret) <= SECRET_BYTES_MAX:
        raise Misconfigured(f"{path}: the secret of {peer} has {len(keys.secret)} bytes; 16 to 64 are needed")
    if keys.sender_id == keys.recipient_id or max(len(keys.sender_id), len(keys.recipient_id)) > ID_BYTES_MAX:
        raise Misconfigured(f"{path}: sender_id and recipient_id of {peer} must differ and have 7 bytes at most")
    return keys


class Context(oscore.CanProtect, oscore.CanUnprotect, oscore.SecurityContextUtils):  # type: ignore[misc]
    """The security context of a sensor, with its state kept in ``folder``. Raises NoPermission or Disconnected."""

    alg_aead = oscore.algorithms[oscore.DEFAULT_ALGORITHM]
    hashfun = oscore.hashfunctions[oscore.DEFAULT_HASHFUNCTION]

    def __init__(self, keys: Keys, folder: Path) -> None:
        self.peer = keys.peer
        self.sender_id, self.recipient_id, self.id_context = keys.sender_id, keys.recipient_id, keys.id_context
        self.derive_keys(keys.salt, keys.secret)
        self.echo_recovery = secrets.token_bytes(_ECHO_BYTES)
        self.recipient_replay_window = oscore.ReplayWindow(oscore.DEFAULT_WINDOWSIZE, lambda: None)
        self._file = folder / f"{keys.digest}.json"
        self._lock = _locked(folder / f"{keys.digest}.lock", keys.peer)
        try:
            self.sender_sequence_number = self._load()
            self._reserved = self.sender_sequence_number
            self._reserve()
        except DriverError:
            os.close(self._lock)
            raise

    def post_seqnoincrease(self) -> None:
        """Called by aiocoap before a number is used: it must be reserved by then. Raises NoPermission, Disconnected."""
        if self._lock < 0:
            raise Disconnected(f"the bus of {self.peer} has been closed")
        if self.sender_sequence_number > self._reserved:
            self._reserve()

    def close(self) -> None:
        """Write down exactly what was used. Safe to call twice; no number is used afterwards."""
        if self._lock < 0:
            return
        window = self.recipient_replay_window
        try:
            self._store(self.sender_sequence_number, window.persist() if window.is_initialized() else None)
        except NoPermission:
            pass  # what stands in the file is true too: it costs the sensor one more round trip
        finally:
            os.close(self._lock)
            self._lock = -1

    def _load(self) -> int:
        """The next sequence number; fills the replay window where it is known."""
        try:
            raw = self._file.read_bytes()
        except FileNotFoundError:
            self.recipient_replay_window.initialize_empty()
            return 0
        except OSError as error:
            raise NoPermission(f"{self._file} cannot be read: {error.strerror}") from None
        try:
            state = json.loads(raw)
            following, seen = state["next"], state["seen"]
            if seen is not None:
                window = {key: int(seen[key]) for key in ("index", "bitfield")}
                self.recipient_replay_window.initialize_from_persisted(window)
            if not isinstance(following, int) or following < 0:
                raise ValueError
        except (ValueError, TypeError, KeyError):
            # starting again from 0 would use sequence numbers twice
            cause = f"{self._file} is damaged: {self.peer} needs a new secret, here and in the sensor"
            raise Misconfigured(cause) from None
        return following

    def _reserve(self) -> None:
        self._reserved = self.sender_sequence_number + CHUNK
        self._store(self._reserved, None)

    def _store(self, following: int, seen: Mapping[str, int] | None) -> None:
        """On the disk when it returns: a few milliseconds, once in CHUNK messages."""
        text = json.dumps({"peer": self.peer, "next": following, "seen": seen})
        temporary = self._file.with_suffix(".new")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._file)
            folder = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise NoPermission(f"the OSCORE state {self._file} cannot be written: {error.strerror}") from None


def _locked(path: Path, peer: str) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NoPermission(f"the OSCORE state cannot be kept in {path.parent}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Disconnected(f"the OSCORE keys of {peer} are in use elsewhere") from None
    return lock


class Denied(Exception):  # noqa: N818 - an answer that is given, not a fault of this box
    """A request that is not taken. ``reply`` is given instead; None where none must be."""

    def __init__(self, reply: Message | None) -> None:
        super().__init__()
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Opened:
    """A request that came protected: the message within, the sensor's context, and what its answer is bound to."""

    message: Message
    context: Context
    request_id: Any

    def protect(self, reply: Message) -> Message:
        """The reply to the request, protected. Raises NoPermission where the state cannot be kept."""
        inner = aiocoap.Message(code=aiocoap.Code(reply.code), payload=reply.payload)
        for number, value in reply.options:
            inner.opt.add_option(aiocoap.OptionNumber(number).create_option(decode=value))
        outer, _ = self.context.protect(inner, self.request_id)
        return _outer(outer, reply)


def open_request(contexts: Iterable[Context], message: Message, reply: Callable[[int, str], Message]) -> Opened:
    """What a protected request holds; ``reply`` makes plain answers. Raises Denied; see RFC 8613, 8.2."""
    outer = aiocoap.Message(code=aiocoap.Code(message.code), payload=message.payload)
    outer.opt.oscore, outer.direction = message.option(Option.OSCORE), Direction.INCOMING
    try:
        if message.code not in (POST, FETCH):
            raise oscore.DecodeError("method")
        stated = oscore.verify_start(outer)
        ids = (stated.get(oscore.COSE_KID), stated.get(oscore.COSE_KID_CONTEXT))
        context = next((one for one in contexts if (one.recipient_id, one.id_context) == ids), None)
        if context is None:
            raise Denied(reply(Code.UNAUTHORIZED, "security context not found"))
        inner, request_id = context.unprotect(outer)
        return Opened(_inner(inner, message), context, request_id)
    except oscore.ReplayErrorWithEcho as error:
        raise Denied(_outer(error.to_message(), reply(Code.UNAUTHORIZED, ""))) from None
    except oscore.ReplayError:
        raise Denied(reply(Code.UNAUTHORIZED, "replay detected")) from None
    except (oscore.DecodeError, IndexError):
        raise Denied(reply(Code.BAD_OPTION, "failed to decode COSE")) from None
    except (oscore.ProtectionInvalid, UnparsableMessage, UnicodeDecodeError, BadFrame):
        raise Denied(reply(Code.BAD_REQUEST, "decryption failed")) from None


def _inner(inner: Any, outer: Message) -> Message:
    """The message within in our own form: read again, so that it holds to the same bounds."""
    head = encode(Message(outer.type, inner.code, outer.mid, outer.token))
    return parse(head + inner.opt.encode() + (b"\xff" + inner.payload if inner.payload else b""))


def _outer(protected: Any, plain: Message) -> Message:
    options = tuple((int(option.number), option.encode()) for option in protected.opt.option_list())
    return replace(plain, code=int(protected.code), options=options, payload=protected.payload)
