"""Releases: what is signed is believed, whole; anything else is refused with its reason."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from nilm_houses import house

from gateway.pipeline.nilm import card, release
from gateway.pipeline.nilm.learn import learn
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.release import Release, ReleaseError

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Signed:
    key: Ed25519PrivateKey
    made: Release
    data: bytes


def model() -> Model:
    return learn(*house(1), 1.0, "a synthetic house, seed 1")


@pytest.fixture(scope="module")
def signed() -> Signed:
    key = Ed25519PrivateKey.generate()
    scores = release.Scores(0.9, 0.5, 0.1, {"kettle": {"ea": 0.95, "f1": 0.9, "mae": 2.0}})
    made = Release(1, "town-hall", 7, NOW, NOW + timedelta(days=10), scores, model())
    return Signed(key, made, release.sign(made, key))


def test_what_was_signed_comes_back(signed: Signed) -> None:
    assert release.verify(signed.data, signed.key.public_key(), "town-hall", NOW) == signed.made
    assert release.unverified(signed.data) == signed.made


def test_each_reason_to_refuse(signed: Signed) -> None:
    public = signed.key.public_key()
    other = Ed25519PrivateKey.generate().public_key()
    late = NOW + timedelta(days=10)
    assert release.verify(signed.data, public, "town-hall", None) == signed.made  # the time is not known
    for code, data, key, gateway, now in (
        ("nilm.signature", signed.data, other, "town-hall", NOW),
        ("nilm.release", signed.data, public, "school", NOW),
        ("nilm.expired", signed.data, public, "town-hall", late),
        ("nilm.release", b"x" * (release.RELEASE_MAX_BYTES + 1), public, "town-hall", NOW),
    ):
        with pytest.raises(ReleaseError) as refused:
            release.verify(data, key, gateway, now)
        assert refused.value.code == code


def test_another_algorithm_is_no_signature(signed: Signed) -> None:
    payload = msgspec.json.encode(signed.made)
    none = jwt.PyJWS().encode(payload, None, "none").encode()
    mac = jwt.PyJWS().encode(payload, "a shared secret of thirty-two bytes", "HS256").encode()
    for data in (none, mac):
        with pytest.raises(ReleaseError, match="signature"):
            release.verify(data, signed.key.public_key(), "town-hall", NOW)
        with pytest.raises(ReleaseError, match="signed with"):
            release.unverified(data)


@given(st.data())
def test_a_changed_byte_is_noticed(signed: Signed, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(signed.data) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = signed.data[:place] + bytes([byte]) + signed.data[place + 1 :]
    try:
        found = release.verify(changed, signed.key.public_key(), "town-hall", NOW)
    except ReleaseError:
        return
    assert found == signed.made  # the same byte, or a bit of the last character that carries nothing


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(ReleaseError):
        release.unverified(noise)


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "models.pem"
    public = release.new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert release.public_text(release.private_key(path)) == public
    with pytest.raises(ReleaseError):
        release.new_key(path)  # never overwritten
    for bad in ("", "ed25519:AAAA", public[:-2], "rsa:" + public[8:]):
        with pytest.raises(ReleaseError):
            release.public_key(bad)
    path.write_text("no key")
    with pytest.raises(ReleaseError) as refused:
        release.private_key(path)
    assert refused.value.code == "nilm.key"


def test_the_card_says_what_people_ask(signed: Signed) -> None:
    made = card.card(signed.made.model, signed.made)
    assert {load["name"] for load in made["loads"]} == {"fridge", "kettle", "washer"}
    assert made["scores"]["ea"] == 0.9
    text = card.markdown(made)
    for words in ("a synthetic house, seed 1", "| kettle | 0.950 | 0.900 | 2.000 |", "Billing", "2026-11-11"):
        assert words in text
    assert "was not measured" in card.markdown(card.card(signed.made.model))
