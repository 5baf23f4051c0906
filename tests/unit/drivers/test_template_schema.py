"""The schema for editors takes what the reader takes, and knows the same keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from drivers import template_file, template_schema

FILES = sorted((Path(__file__).parents[3] / "config" / "templates").glob("*/*.yaml"))
VALIDATOR = jsonschema.Draft202012Validator(template_schema.schema())
Change = Callable[[dict[str, Any]], object]


def plain(path: Path) -> Any:
    """As an editor sees it: keys of mappings are texts."""
    return texts(yaml.safe_load(path.read_text(encoding="utf-8")))


def texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): texts(part) for key, part in value.items()}
    return [texts(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_template_fits(path: Path) -> None:
    assert [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(plain(path))] == []


def test_keys_are_those_of_the_reader() -> None:
    schema = template_schema.schema()
    assert set(template_schema.TOP) == {*template_file._REQUIRED, *template_file._KNOWN}
    assert set(schema["required"]) == set(template_file._REQUIRED)
    assert set(template_schema.MODBUS) == {"function", *template_file._MODBUS}
    assert set(template_schema.POINT) == {"quantity", "address", "type", *template_file._POINT}


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.pop("vendor"),
        lambda one: one.update(vendr="x"),
        lambda one: one.update(evidence="public map"),
        lambda one: one["points"][0].update(quantity="voltage_l9"),
        lambda one: one["points"][0].update(address=0x10000),
        lambda one: one["points"][0].update(type="u17"),
        lambda one: one["modbus"].pop("function"),
        lambda one: one["modbus"].update(transports=["udp"]),
        lambda one: one["identify"].update(frequency=[45]),
        lambda one: one.update(points=[]),
    ],
)
def test_mistakes_are_underlined(change: Change) -> None:
    one = plain(next(path for path in FILES if path.stem == "eastron-sdm630"))
    assert VALIDATOR.is_valid(one)
    change(one)
    assert not VALIDATOR.is_valid(one)
