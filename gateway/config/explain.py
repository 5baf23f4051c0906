"""What pydantic found wrong, said in terms of the file: the place, what was expected, what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.config import kinds, schema
from gateway.config.problem import Problem, meant
from gateway.config.tree import Node, shown
from gateway.errors import Place

KeyPath = tuple[str, ...]
_KINDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "keys and values",
    "array": "a list",
}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
}
_RANGE = ("greater_than", "less_than", "finite_number", "too_long", "too_short", "string_too")
_SECRET_KEY = re.compile(r"(?i)token|password|passphrase|secret|api[_-]?key|psk")


def explain(errors: Sequence[Mapping[str, Any]], root: Node) -> tuple[list[Problem], frozenset[KeyPath]]:
    """The problems, one for each mistake, and the mappings (by path) that have unknown keys."""
    spec = Spec(schema.Config.model_json_schema(), root)
    found: dict[tuple[KeyPath, str], Problem] = {}
    meant_keys: set[KeyPath] = set()
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    for error in unknown:
        path, key = spec.follow(error["loc"][:-1])[0], str(error["loc"][-1])
        problem = _unknown(spec, path, key)
        found[path, f"unknown {key}"] = problem
        meant_keys.update((*path, word) for word in spec.keys(path) if problem.hint == f"did you mean '{word}'?")
    for error in errors:
        kind = str(error["type"])
        if kind == "missing" or kind == "union_tag_not_found":
            whole = error["loc"][:-1] if kind == "missing" else error["loc"]
            path = spec.follow(whole)[0]
            key = str(error["loc"][-1]) if kind == "missing" else "type"
            if (*path, key) not in meant_keys:
                found[path, f"missing {key}"] = _missing(root, path, key)
        elif kind != "extra_forbidden":
            path, node = spec.follow(error["loc"])
            if error["loc"][-1] == "[key]":
                found.setdefault((path, "key"), _name(spec, path))
            else:
                found.setdefault((path, "value"), _value(spec, path, node, kind))
    return list(found.values()), frozenset(spec.follow(error["loc"][:-1])[0] for error in unknown)


class Spec:
    """The JSON schema of the configuration, asked by path in the file at hand."""

    def __init__(self, whole: dict[str, Any], root: Node) -> None:
        self._whole = whole
        self._root = root

    def follow(self, loc: Sequence[str | int]) -> tuple[KeyPath, Node]:
        """The path and node that pydantic's location means; names of union members in it are passed over."""
        node = self._root
        path: KeyPath = ()
        for element in loc:
            if len(path) == 2 and path[0] == "buses" and element == node.text("type"):
                continue
            below = _below(node, element)
            if below is None:
                break
            node, path = below, (*path, str(element))
        return path, node

    def keys(self, path: KeyPath) -> list[str]:
        """The keys that a mapping at this path may have; none where any name may stand."""
        return [key for option in self._options(path) for key in option.get("properties", {})]

    def expected(self, path: KeyPath) -> str:
        """What may stand at this path, in words."""
        words = [self._words(option) for option in self._options(path)]
        return " or ".join(dict.fromkeys(word for word in words if word)) or "something else"

    def choices(self, path: KeyPath) -> list[str]:
        """The words that may stand at this path where they are listed."""
        if len(path) == 3 and path[0] == "buses" and path[2] == "type":
            return [str(option["const"]) for option in self._options(path)]
        options = self._options(path)
        return [str(word) for option in options for word in option.get("enum", ())]

    def _options(self, path: KeyPath) -> list[dict[str, Any]]:
        node: Node | None = self._root
        options = list(self._flat(self._whole, node))
        for key in path:
            node = None if node is None else _below(node, key)
            below = [self._child(option, key) for option in options]
            options = [flat for option in below if option is not None for flat in self._flat(option, node)]
        return options

    def _child(self, option: dict[str, Any], key: str) -> dict[str, Any] | None:
        named = option.get("properties", {}).get(key)
        any_name = next(iter(option.get("patternProperties", {}).values()), option.get("additionalProperties"))
        child = named or any_name or option.get("items")
        return child if isinstance(child, dict) else None

    def _flat(self, option: dict[str, Any], node: Node | None) -> Iterator[dict[str, Any]]:
        if "$ref" in option:
            yield from self._flat(self._whole["$defs"][option["$ref"].rsplit("/", 1)[-1]], node)
        elif "discriminator" in option:
            tag = node.text("type") if node is not None else None
            chosen = option["discriminator"]["mapping"].get(tag)
            for reference in [chosen] if chosen else option["discriminator"]["mapping"].values():
                yield from self._flat({"$ref": reference}, node)
        elif "anyOf" in option:
            for one in option["anyOf"]:
                yield from self._flat(one, node)
        else:
            yield option

    def _words(self, option: dict[str, Any]) -> str:
        if "enum" in option or "const" in option:
            choices = [str(word) for word in option.get("enum", [option.get("const")])]
            return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
        pattern = option.get("pattern")
        if pattern == kinds.NAME_PATTERN:
            return "a name of small letters, digits and hyphens"
        if pattern == kinds.DURATION_PATTERN:
            return "a duration such as 10, '10s', '5min' or '1h'"
        if pattern == kinds.SIZE_PATTERN:
            return "a size such as 4096, '64kB' or '512MB'"
        if pattern == kinds.INTERFACE_PATTERN:
            return "a network interface such as wlan0"
        if pattern == kinds.HOURS_PATTERN:
            return "hours such as 22:00-06:00"
        bounds = [text.format(option[bound]) for bound, text in _BOUNDS.items() if bound in option]
        kind = _KINDS.get(option.get("type", ""), "")
        return " ".join([kind, ", ".join(bounds)]).strip()


def _below(node: Node, key: str | int) -> Node | None:
    if isinstance(node.data, dict):
        return node.data.get(str(key))
    if isinstance(node.data, list) and str(key).isdecimal() and int(key) < len(node.data):
        return node.data[int(key)]
    return None


def _unknown(spec: Spec, path: KeyPath, key: str) -> Problem:
    place = spec.follow(path)[1].key_place(key)
    known = spec.keys(path)
    files = [word for word in known if word.endswith("_file") and word.removesuffix("_file") in key.lower()]
    if _SECRET_KEY.search(key) and (files or not meant(key, known).startswith("did")):
        hint = f"name its file: {files[0]}: /etc/lamppost/{key}" if files else ""
        return Problem("config.secret", f"{shown(key)}: a secret does not stand in this file", place, hint)
    return Problem("config.unknown-key", f"unknown key {shown(key)}", place, meant(key, known))


def _missing(root: Node, path: KeyPath, key: str) -> Problem:
    place = root.place() if not path else _key_place(root, path)
    return Problem("config.missing-key", f"missing key '{key}'", place, fix=f"Add `{key}`.")


def _key_place(root: Node, path: KeyPath) -> Place:
    parent: Node | None = root
    for key in path[:-1]:
        parent = None if parent is None else _below(parent, key)
    if parent is None or isinstance(parent.data, list):
        item = None if parent is None else _below(parent, path[-1])
        return (item or root).place()
    return parent.key_place(path[-1])


def _name(spec: Spec, path: KeyPath) -> Problem:
    name = path[-1]
    better = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63]
    hint = f"perhaps '{better}'" if better else ""
    return Problem("config.name", f"{shown(name)} is not a name", _key_place(spec.follow(())[1], path), hint)


def _value(spec: Spec, path: KeyPath, node: Node, kind: str) -> Problem:
    if kind == "union_tag_invalid":
        path, node = (*path, "type"), node.get("type") or node
    value = _shown_value(node)
    choices = spec.choices(path)
    if choices:
        expected = f"one of {', '.join(choices)}"
        hint = meant(str(node.data), choices, listed_max=0)
        return Problem("config.value", f"expected {expected}, not {value}", node.place(), hint)
    if kind == "string_pattern_mismatch" and spec.expected(path).startswith("a name"):
        better = re.sub(r"[^a-z0-9]+", "-", str(node.data).lower()).strip("-")[:63]
        hint = f"perhaps '{better}'" if better else ""
        return Problem("config.name", f"{value} is not a name", node.place(), hint)
    code = "config.range" if kind.startswith(_RANGE) else "config.value" if kind.endswith("parsing") else "config.type"
    hint = "put it in quotes" if kind == "string_type" and isinstance(node.data, int | float) else ""
    return Problem(code, f"expected {spec.expected(path)}, not {value}", node.place(), hint)


def _shown_value(node: Node) -> str:
    if isinstance(node.data, dict):
        return "keys and values"
    if isinstance(node.data, list):
        return "a list"
    if node.data is None:
        return "nothing"
    if isinstance(node.data, bool):
        return "true" if node.data else "false"
    return shown(node.data) if isinstance(node.data, str) else shown(str(node.data)).strip("'")
