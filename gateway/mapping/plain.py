"""Profiles as plain data, so that they can travel: what a server needs to map a gateway's readings."""

from __future__ import annotations

import math
from collections.abc import Mapping

from gateway.mapping.mapper import Profile
from gateway.mapping.tables import MODELS


def to_plain(profile: Profile) -> dict[str, object]:
    """A profile; what is as by default is left out."""
    plain: dict[str, object] = {
        "data_model": profile.data_model,
        "latitude": float(profile.latitude),
        "longitude": float(profile.longitude),
    }
    if profile.place:
        plain["place"] = profile.place
    if profile.constant:
        plain["constant"] = dict(profile.constant)
    if profile.moves:
        plain["moves"] = True
    return plain


def from_plain(plain: Mapping[str, object]) -> Profile:
    """The profile again. Keys that are not known are passed over. Raises ValueError."""
    model, place, constant = plain.get("data_model"), plain.get("place", ""), plain.get("constant", {})
    moves = plain.get("moves", False)
    if not isinstance(model, str) or model not in MODELS:
        raise ValueError(f"there is no data model {model!r:.80}")
    if not isinstance(place, str) or not isinstance(moves, bool):
        raise ValueError("place is no text, or moves is neither true nor false")
    if not isinstance(constant, Mapping):
        raise ValueError("constant is no mapping")
    latitude, longitude = _degrees(plain.get("latitude"), 90), _degrees(plain.get("longitude"), 180)
    return Profile(model, latitude, longitude, place, dict(constant), moves)


def _degrees(value: object, most: int) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > most:
        raise ValueError("latitude or longitude is no number of degrees")
    return float(value)
