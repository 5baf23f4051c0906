"""What may be an id, a name, a date: the smallest checks of input, and how a refusal says where (clause 4.6)."""

from __future__ import annotations

import re
from typing import Any

from gateway.server.broker.model import NULL, time_us
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData, OperationNotSupported

ID_CHARS_MAX = 1024
NAME = re.compile(r"[^\W\d_]\w*\Z")
PREFIXED = re.compile(r"[^\W\d_][\w.-]*:[^\s<>\"{}|\\^`]+\Z")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`\x00-\x20]+\Z")
NAMES_REMEMBERED_MAX = 10_000
_good_names: set[str] = set()


class Fault(Exception):  # noqa: N818  (it never leaves the modules of the rules and their callers)
    """Something is wrong at ``path``, which grows while it passes through the levels of the document."""

    def __init__(self, text: str, *path: str | int, not_offered: bool = False) -> None:
        super().__init__(text)
        self.path = list(path)
        self.not_offered = not_offered

    def under(self, *path: str | int) -> Fault:
        """The same, seen from one level above."""
        self.path[:0] = path
        return self

    def problem(self) -> BadRequestData | OperationNotSupported:
        """For the client."""
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in self.path)
        text = f"{pointer or '/'}: {self}"
        return OperationNotSupported(text) if self.not_offered else BadRequestData(text)


def expand_checked(name: object, context: Context) -> str:
    """The IRI of a name that keeps to the rules for names (clause 4.6.2). Raises Fault."""
    if not isinstance(name, str) or name not in _good_names:
        named = isinstance(name, str) and (NAME.match(name) or PREFIXED.match(name)) and name != NULL
        if not isinstance(name, str) or not named or len(name) > ID_CHARS_MAX:
            raise Fault(f"{name!r} is not a name: a letter, then letters, digits, _; or prefix:name; or an IRI")
        if len(_good_names) < NAMES_REMEMBERED_MAX:
            _good_names.add(name)
    try:
        return context.expand_name(name)
    except BadRequestData as error:
        raise Fault(str(error)) from None


def check_uri(value: object) -> str:
    """A URI or IRI with a scheme. Raises Fault."""
    if not isinstance(value, str) or len(value) > ID_CHARS_MAX or not URI.match(value) or value == NULL:
        raise Fault(f"must be a URI with a scheme, like urn:ngsi-ld:Room:1, of at most {ID_CHARS_MAX} characters")
    return value


def check_time(value: object) -> str:
    """A DateTime. Raises Fault."""
    if not isinstance(value, str):
        raise Fault("must be a DateTime string")
    try:
        time_us(value)
    except ValueError as error:
        raise Fault(f"{value!r} is not a DateTime: {error}") from None
    return value


def check_no_null(raw: object) -> None:
    """Neither JSON null nor the null marker is a value (clause 4.5.0). Raises Fault."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), raw)]
    while waiting:
        path, value = waiting.pop()
        if value is None or value == NULL:
            raise Fault("null is no value here", *path)
        if isinstance(value, dict):
            waiting += [((*path, name), part) for name, part in value.items()]
        elif isinstance(value, list):
            waiting += [((*path, index), part) for index, part in enumerate(value)]
