"""A model on its way from where it was trained to a gateway: signed, numbered, for one gateway, with an end.

The file is a JSON Web Signature in its compact form (RFC 7515) with Ed25519 (``EdDSA``, RFC 8037); its payload is the
JSON of ``Release``. Who has the private key decides what a gateway believes of its appliances, so it stays with who
trains; a server only keeps and hands out what was signed.
"""

from __future__ import annotations

import base64
import binascii
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from gateway.pipeline.nilm import model as models
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.result import ModelError

VERSION = 1
ALGORITHM = "EdDSA"
TYPE = "lamppost-model"
PUBLIC_PREFIX = "ed25519:"
RELEASE_MAX_BYTES = 2**20 - 1  # what a gateway's client takes as an answer
KEY_MAX_BYTES = 4096

Score = Annotated[float, Meta(ge=-1e6, le=1e6)]


class ReleaseError(ModelError):
    """A released model is not what it should be: signature, addressee, number or time."""

    code = "nilm.release"
    fix = (
        "Publish it again with `lamppost models publish`; disaggregation.key must be what `lamppost models key` prints."
    )


class Scores(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How good it was on data that it had not seen: overall and by appliance, as `lamppost models score --json`."""

    ea: Score | None
    ea_zero: Score | None
    ea_mean: Score | None
    appliances: dict[str, dict[str, Score | None]]


class Release(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``serial`` grows with each release to ``gateway``: an older one is never taken. ``expires`` None: never."""

    version: int
    gateway: Annotated[str, Meta(min_length=1, max_length=256)]
    serial: Annotated[int, Meta(ge=1, le=2**53)]
    made: Annotated[datetime, Meta(tz=True)]
    expires: Annotated[datetime, Meta(tz=True)] | None
    scores: Scores | None
    model: Model


def new_key(path: Path) -> str:
    """Make a private key (PEM, PKCS #8, readable by its owner only). Returns the public one, as configurations name it.

    Raises ReleaseError where the file exists or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except OSError as error:
        fix = "Give another path: a key is never overwritten."
        raise ReleaseError(f"{path}: {error.strerror}", code="nilm.key", fix=fix) from None
    return public_text(key)


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read it. Raises ReleaseError."""
    try:
        with path.open("rb") as file:
            key = serialization.load_pem_private_key(file.read(KEY_MAX_BYTES), password=None)
    except OSError as error:
        raise ReleaseError(f"{path}: {error.strerror}", code="nilm.key") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        fix = "Make one with `lamppost models key FILE`."
        raise ReleaseError(f"{path} holds no Ed25519 private key without password", code="nilm.key", fix=fix)
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """The public half: ``ed25519:`` and 32 bytes in Base64."""
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return PUBLIC_PREFIX + base64.b64encode(raw).decode("ascii")


def public_key(text: str) -> Ed25519PublicKey:
    """The other way round. Raises ReleaseError."""
    try:
        if not text.startswith(PUBLIC_PREFIX):
            raise ValueError
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text[len(PUBLIC_PREFIX) :], validate=True))
    except (ValueError, binascii.Error):
        raise ReleaseError(f"{text[:80]!r} is no public key", code="nilm.key") from None


def sign(release: Release, key: Ed25519PrivateKey) -> bytes:
    """The file. Raises ReleaseError where it is larger than gateways take."""
    payload = msgspec.json.encode(release)
    signed = jwt.PyJWS().encode(payload, key, ALGORITHM, headers={"typ": TYPE}).encode("ascii")
    if len(signed) > RELEASE_MAX_BYTES:
        raise ReleaseError(f"it has {len(signed)} bytes; {RELEASE_MAX_BYTES} are allowed")
    return signed


def verify(data: bytes, key: Ed25519PublicKey, gateway: str, now: datetime | None) -> Release:
    """The release, after its signature, addressee and time were checked (``now`` None: the time is not known).

    Raises ReleaseError, ModelError.
    """
    if len(data) > RELEASE_MAX_BYTES:
        raise ReleaseError(f"it has more than {RELEASE_MAX_BYTES} bytes")
    try:
        payload = jwt.PyJWS().decode_complete(data, key, algorithms=[ALGORITHM])["payload"]
    except jwt.PyJWTError as error:
        raise ReleaseError(f"the signature does not hold: {error}", code="nilm.signature") from None
    release = parse(payload)
    if release.gateway != gateway:
        raise ReleaseError(f"it is for the gateway {release.gateway!r}, not for {gateway!r}")
    if now is not None and release.expires is not None and release.expires <= now:
        raise ReleaseError(f"it expired at {release.expires:%Y-%m-%d %H:%M} UTC", code="nilm.expired")
    models.check(release.model, "the released model")
    return release


def parse(payload: bytes) -> Release:
    """A payload, whoever signed it. Raises ReleaseError."""
    try:
        release = msgspec.json.decode(payload, type=Release)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReleaseError(f"the payload is no release: {error}") from None
    if release.version != VERSION:
        raise ReleaseError(f"version {release.version}; this program reads version {VERSION}")
    return release


def unverified(data: bytes) -> Release:
    """What a file says of itself, for those who only keep it. Raises ReleaseError."""
    if len(data) > RELEASE_MAX_BYTES:
        raise ReleaseError(f"it has more than {RELEASE_MAX_BYTES} bytes")
    try:
        complete = jwt.PyJWS().decode_complete(data, options={"verify_signature": False})
    except jwt.PyJWTError as error:
        raise ReleaseError(f"it is no JSON Web Signature: {error}") from None
    if complete["header"].get("alg") != ALGORITHM:
        raise ReleaseError(f"it is signed with {str(complete['header'].get('alg'))[:20]}, not with {ALGORITHM}")
    return parse(complete["payload"])


def utc_now() -> datetime:
    """Whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
