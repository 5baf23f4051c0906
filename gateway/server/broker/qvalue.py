"""The words of ``q``: a cursor over the text, and the values that stand in it (CIM 009 clause 4.9)."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

from gateway.server.broker.compare import Literal, Moment
from gateway.server.broker.parse import Fault
from gateway.server.contexts import Context

NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w:-])")
MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,6})?Z|\d{4}-\d\d-\d\d(?![\w])|\d\d:\d\d:\d\d(?:[.,]\d{1,6})?Z"
)
WORD = re.compile(r"true(?![\w:])|false(?![\w:])")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
BARE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:(?!\.\.)[^;|(){},\"\s])+")
BARE_TERM = re.compile(r"[^\W\d_]\w*")
BARE_PATTERN = re.compile(r"[^;|)}]+")


class ValueReader:
    """Reads a text from left to right; ``at`` is how far it has come."""

    def __init__(self, text: str, context: Context) -> None:
        self.text = text
        self.at = 0
        self.context = context
        self.terms: dict[tuple[int, int], str] = {}  # where a name or term stands, and its IRI

    def eat(self, sign: str) -> bool:
        """Whether the sign comes next; then it is read."""
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            return True
        return False

    def match(self, pattern: re.Pattern[str]) -> str:
        """What matches here, which is then read; "" where nothing does."""
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found[0]

    def match_at(self, pattern: re.Pattern[str], at: int) -> str:
        """What matches at another place, without reading it."""
        found = pattern.match(self.text, at)
        return "" if found is None else found[0]

    def value(self, *, expand: bool = False) -> Literal:
        """One value. ``expand``: texts are terms. Raises Fault."""
        began = self.at
        if quoted := self.match(STRING):
            text = self.unquoted(quoted)
            return self._term_of(began, text) if expand and text else text
        if moment := self.match(MOMENT):
            try:
                return Moment.of(moment)
            except ValueError as error:
                raise Fault(f"{moment!r}: {error}") from None
        if number := self.match(NUMBER):
            return float(number)
        if word := self.match(WORD):
            return word == "true"
        if uri := self.match(BARE_URI):
            return self._term_of(began, unquote(uri)) if expand else unquote(uri)
        if expand and (term := self.match(BARE_TERM)):
            return self._term_of(began, term)
        raise Fault('a value is missing: a number, "text" in quotes, true, false, a date or time, or a URI')

    def _term_of(self, began: int, name: str) -> str:
        """The IRI of a value that is a term, which stands from ``began`` to here."""
        self.terms[began, self.at] = iri = self.context.expand_name(name)
        return iri

    def pattern(self) -> str:
        """A regular expression, quoted or up to the end of the term."""
        quoted = self.match(STRING)
        return self.unquoted(quoted) if quoted else self.match(BARE_PATTERN)

    @staticmethod
    def unquoted(text: str) -> str:
        """The text of a JSON string. Raises Fault."""
        try:
            return str(json.loads(text))
        except ValueError as error:
            raise Fault(f"{text} is not a JSON string: {error}") from None
