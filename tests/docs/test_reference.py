"""The reference is what the code says: generated, committed, complete."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from gateway.cli import docs
from gateway.cli.docs_errors import error_entries
from gateway.cli.main import COMMANDS
from gateway.config.schema import Config

ROOT = Path(__file__).parents[2]
GENERATED = docs.generate()


@pytest.mark.parametrize("name", GENERATED)
def test_committed_files_are_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == GENERATED[name], "run `python -m gateway.cli.docs`"


def test_every_command_and_key_and_code_appears() -> None:
    assert all(f"## lamppost {name}\n" in GENERATED["docs/reference/cli.md"] for name in COMMANDS)
    configuration = GENERATED["docs/reference/configuration.md"]
    for texts in docs.key_texts().values():
        assert all(f"| `{key}` |" in configuration for key in texts)
    errors = GENERATED["docs/reference/errors.md"]
    entries = list(error_entries(ROOT))
    assert len(entries) > 20
    assert all(f"| `{entry.code}` |" in errors for entry in entries)


def test_every_key_is_explained() -> None:
    texts = docs.key_texts()
    schema = Config.model_json_schema()
    for name, part in [("Config", schema), *schema["$defs"].items()]:
        assert set(part.get("properties", {})) == set(texts.get(name, {}))


def test_every_error_says_what_it_is_and_what_to_do() -> None:
    assert [entry for entry in error_entries(ROOT) if not entry.meaning or not entry.fix] == []


@pytest.mark.parametrize("path", sorted((ROOT / "config" / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_fit_the_schema_for_editors(path: Path) -> None:
    schema = json.loads(GENERATED[docs.SCHEMA_FILE])
    validator = jsonschema.Draft202012Validator(schema)
    example = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert list(validator.iter_errors(example)) == []
    example["site"]["colour"] = "red"
    assert [error.validator for error in validator.iter_errors(example)] == ["additionalProperties"]
