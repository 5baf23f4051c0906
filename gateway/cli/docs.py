"""Writes the reference from the code: ``python -m gateway.cli.docs`` (``--check`` only compares).

docs/reference/{cli,configuration,errors,quantities,templates,status}.md and config/schemas/*.schema.json. A test
holds the committed files against what this module makes of the code.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from drivers import template_schema
from drivers.quantities import QUANTITIES
from gateway.cli import docs_templates
from gateway.cli.docs_errors import ErrorEntry, error_entries
from gateway.cli.link import KEYS as LINK_KEYS
from gateway.cli.main import COMMANDS, cli
from gateway.cli.status import KEYS
from gateway.config import buses, kinds, schema
from gateway.config.problem import RULES

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = "config/schemas/lamppost.schema.json"
TEMPLATE_SCHEMA_FILE = "config/schemas/template.schema.json"
NOTE = "<!-- Made by `python -m gateway.cli.docs` from the code. -->\n"


def generate() -> dict[str, str]:
    """Every generated file by its path in the repository."""
    pages: Mapping[str, Callable[[], Iterable[str]]] = {
        "cli": _cli,
        "configuration": _configuration,
        "errors": _errors,
        "quantities": _quantities,
        "templates": docs_templates.page,
        "status": _status,
    }
    files = {f"docs/reference/{name}.md": NOTE + "\n".join(make()) + "\n" for name, make in pages.items()}
    for name, made in ((SCHEMA_FILE, editor_schema()), (TEMPLATE_SCHEMA_FILE, template_schema.schema())):
        files[name] = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    return files


def main(arguments: Sequence[str]) -> int:
    """Write what differs; with ``--check`` show it and return 1."""
    changed = 0
    for name, text in generate().items():
        path = ROOT / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old == text:
            continue
        changed += 1
        if "--check" in arguments:
            lines = difflib.unified_diff(old.splitlines(), text.splitlines(), name, "from the code", lineterm="", n=0)
            click.echo("\n".join(lines))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            click.echo(name)
    return 1 if changed and "--check" in arguments else 0


def key_texts() -> dict[str, dict[str, str]]:
    """The text under each key of the configuration's classes, by class and key."""
    parts = [part for module in (kinds, buses, schema) for part in ast.parse(inspect.getsource(module)).body]
    return {part.name: dict(_texts_below(part.body)) for part in parts if isinstance(part, ast.ClassDef)}


def _texts_below(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, after in pairwise(body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            yield statement.target.id, after.value.value


def editor_schema() -> dict[str, Any]:
    """The JSON schema for editors, with the texts of the keys."""
    whole = schema.Config.model_json_schema()
    texts = key_texts()
    for name, part in [("Config", whole), *whole["$defs"].items()]:
        for key, spec in part.get("properties", {}).items():
            spec.pop("title", None)
            spec["description"] = texts[name][key]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


def _cli() -> Iterator[str]:
    yield "# The command\n"
    yield "`lamppost COMMAND --help` says the same in the terminal.\n"
    yield "| exit code | meaning |\n|---|---|"
    yield "| 0 | ok |\n| 1 | an error: `error[code]: cause` and `fix: ...` on stderr; codes in [errors](errors.md) |"
    yield "| 2 | wrong usage |\n| 130 | Ctrl-C |\n| 141 | whoever read the output went away |\n"
    yield from _text("""
        Colours are used on a terminal only, and not where `NO_COLOR` is set. What a command cannot foresee is told in
        one line with the code `internal`; the details are in `~/.local/state/lamppost/last-error.log`.
        """)
    with click.Context(cli, info_name="lamppost", **cli.context_settings) as top:
        for name in COMMANDS:
            command = cli.get_command(top, name)
            assert command is not None
            yield from _help(command, name, top, "##")


def _help(command: click.Command, name: str, parent: click.Context, heading: str) -> Iterator[str]:
    """The help of a command, and below it that of the commands of a group."""
    with click.Context(command, info_name=name, parent=parent, terminal_width=100) as context:
        yield f"{heading} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
        for below in command.commands.values() if isinstance(command, click.Group) else ():
            yield from _help(below, below.name or "", context, f"{heading}#")


def _configuration() -> Iterator[str]:
    yield "# The configuration file\n"
    yield from _text("""
        One YAML file; `lamppost check FILE` finds every mistake in it. Plain values follow YAML 1.2: `no` is a word,
        not false. Durations are seconds or a text such as `10s`, `5min`, `1h`; sizes are bytes or a text such as
        `64MB`. File names are relative to the folder of the file. Secrets stand in files of their own, never here.
        Whole examples are in `config/examples/`; editors check the file while you type with
        `config/schemas/lamppost.schema.json`.
        """)
    whole = editor_schema()
    yield from _part("", "Config", whole, whole)
    for name, part in whole["$defs"].items():
        if part.get("type") == "object":
            yield from _part(name, name, part, whole)


def _part(anchor: str, name: str, part: dict[str, Any], whole: dict[str, Any]) -> Iterator[str]:
    yield f"## {_title(name) if anchor else 'The whole file'}\n"
    yield f"{' '.join((part.get('description') or '').replace('``', '`').split())}\n"
    yield "| key | value | default | meaning |\n|---|---|---|---|"
    required = part.get("required", ())
    for key, spec in part["properties"].items():
        default = "**required**" if key in required else _default(spec.get("default"))
        yield f"| `{key}` | {_value(spec, whole)} | {default} | {spec['description']} |"
    yield ""


def _title(name: str) -> str:
    return {"LinkConfig": "Link", "ClockConfig": "Clock"}.get(name, name)


def _value(spec: dict[str, Any], whole: dict[str, Any]) -> str:
    """What may stand there, in a few words, with links to parts."""
    if "$ref" in spec:
        name = spec["$ref"].rsplit("/", 1)[-1]
        return f"[{_title(name)}](#{_title(name).lower()})"
    for several in ("anyOf", "oneOf"):
        if several in spec:
            words = [_value(one, whole) for one in spec[several] if one.get("type") != "null"]
            return ", ".join(dict.fromkeys(words))
    if "enum" in spec or "const" in spec:
        return ", ".join(f"`{word}`" for word in spec.get("enum", [spec.get("const")]))
    if spec.get("type") == "object":
        below = next(iter(spec.get("patternProperties", {}).values()), spec.get("additionalProperties"))
        return f"by name: {_value(below, whole)}" if isinstance(below, dict) else "keys and values"
    if spec.get("type") == "array":
        return f"list of {_value(spec['items'], whole)}"
    named = {kinds.NAME_PATTERN: "name", kinds.DURATION_PATTERN: "duration", kinds.SIZE_PATTERN: "size"}
    word = named.get(spec.get("pattern", ""), "")
    kind = (
        "file"
        if spec.get("format") == "path"
        else {"string": "text", "boolean": "true, false"}.get(spec["type"], "number")
    )
    limits = [
        f"{sign} {spec[key]}"
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
        if key in spec
    ]
    return " ".join([word or kind, *limits])


def _default(value: object) -> str:
    if value is None or value in ({}, [], ""):
        return ""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _errors() -> Iterator[str]:
    yield "# Errors\n"
    yield from _text("""
        Every error has a code that stays, a cause, and what to do about it: the same in the terminal, the journal, the
        page and the API. `…` stands for what is filled in.
        """)
    yield "## Of the configuration file\n\n| code | | meaning | what to do |\n|---|---|---|---|"
    for code, rule in RULES.items():
        yield f"| `{code}` | {rule.severity} | {rule.meaning} | {rule.fix} |"
    yield "\n## Of devices, daemon, server and command\n\n| code | meaning | what to do |\n|---|---|---|"
    listed: dict[str, ErrorEntry] = {}
    for entry in error_entries(ROOT):
        if entry.code not in RULES:
            listed.setdefault(entry.code, entry)
    for code, entry in sorted(listed.items()):
        yield f"| `{code}` | {_cell(entry.meaning)} | {_cell(entry.fix)} |"


def _quantities() -> Iterator[str]:
    yield "# Quantities\n"
    yield from _text("""
        What devices deliver. A value outside the plausible range is kept, with the quality BAD (range). The code is
        that of UN/CEFACT Recommendation 20.
        """)
    yield "| quantity | unit | code | kind | plausible |\n|---|---|---|---|---|"
    for quantity in QUANTITIES.values():
        low, high = quantity.low, quantity.high
        span = "" if low is None else f"{low:g} to {high:g}" if high is not None else f"from {low:g}"
        yield f"| `{quantity.name}` | {quantity.unit} | {quantity.code} | {quantity.kind} | {span} |"


def _status() -> Iterator[str]:
    yield "# Status\n"
    yield from _text("""
        What `lamppost status --json` prints, and the control socket answers to `status`. The keys are stable: within
        version 1 keys are added, never renamed or removed. `*` stands for a name.
        """)
    yield "| key | meaning |\n|---|---|"
    for key, meaning in KEYS.items():
        yield f"| `{key}` | {meaning} |"
    yield "\n## A reading\n"
    yield "As `lamppost read --json`, and the requests `readings`, `read` and `watch` of the control socket give it.\n"
    yield "| key | meaning |\n|---|---|"
    for key, meaning in READING_KEYS.items():
        yield f"| `{key}` | {meaning} |"
    yield "\n## A link\n"
    yield "As `lamppost link --json`, and the request `links` of the control socket give it.\n"
    yield "| key | meaning |\n|---|---|"
    for key, meaning in LINK_KEYS.items():
        yield f"| `{key}` | {meaning} |"


READING_KEYS: Mapping[str, str] = {
    "device": "Name of the device; `meter/appliance` for an appliance told apart from a meter's power.",
    "quantity": "What it is; see [quantities](quantities.md).",
    "value": "Number, true or false, text, or `{latitude, longitude, altitude}`.",
    "unit": "Unit of the value.",
    "observed_ns": "Nanoseconds UTC; null while the clock is not trusted.",
    "quality": "`good`, `suspect` or `bad`.",
    "reason": "Why it is not good: `range`, `jump`, `flatline`, `stale`, `clock`, `comms`, `calibration`.",
    "age_s": "Seconds since it was observed.",
}


def _text(paragraph: str) -> Iterator[str]:
    yield inspect.cleandoc(paragraph) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("``", "`").split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
