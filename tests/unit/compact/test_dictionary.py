"""A dictionary that a release had never changes: blocks on disk and boxes in the field were written with it."""

from __future__ import annotations

import hashlib
from importlib import resources

from drivers.quantities import QUANTITIES
from gateway.compact import dictionary

FROZEN = {"dictionary-1.json": "a81afe0ea80a66a0677c73e88a0896d805f1c5d6dc47cc8f97ce5d7570cf2810"}


def test_dictionaries_are_frozen() -> None:
    for name, digest in FROZEN.items():
        data = resources.files("gateway.compact").joinpath(name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest, f"{name} was changed: give the new one the next number"


def test_it_knows_the_quantities() -> None:
    known = dictionary.quantities()
    missing = [quantity.name for quantity in QUANTITIES.values() if (quantity.name, quantity.unit) not in known]
    assert len(missing) < 40, f"written by name: {missing}; a new dictionary is worth it"
    assert len(known) == len(dictionary.names())
