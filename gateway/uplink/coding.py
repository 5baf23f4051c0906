"""In which content coding bodies travel to a server: learned from its answers, and plain where there is a doubt.

A server says what it takes with Accept-Encoding in an answer (RFC 7694), or refuses with 415. One that says nothing is
offered gzip once: whatever else than success it answers, the same body goes plain at once, and gzip is not tried again
on that connection. Where the connection broke instead of an answer, the next one begins plain: a server that falls
over a coding is met once, not for ever.
"""

from __future__ import annotations

import gzip
from typing import Literal, get_args

import zstandard

Name = Literal["zstd", "gzip", "identity"]  # the better ones first
WORTH_BYTES = 400  # below this the header and the work cost more than what is saved
QUICK: dict[str, int] = {"zstd": 1, "gzip": 1}
SPARING: dict[str, int] = {"zstd": 15, "gzip": 9}  # 17 and above take ten times as long and save a few per cent
NOTHING_SAID = frozenset({401, 403, 408, 425, 429, 503})  # about the body


class Coding:
    """What is known of one server. ``sparing``: bytes cost money, so take more time to make them fewer."""

    def __init__(self, *, sparing: bool = False) -> None:
        self._levels = SPARING if sparing else QUICK
        self._offered: frozenset[str] | None = None
        self._proven: set[str] = set()
        self._refused: set[str] = set()
        self._timid = self._broke = False

    def renewed(self) -> None:
        """A new connection, maybe to another server: what was learned counts no more."""
        self._offered = None
        self._proven.clear()
        self._refused.clear()
        self._timid, self._broke = self._broke, False

    def choose(self, size: int) -> Name:
        """The coding for a body of ``size`` bytes."""
        if size < WORTH_BYTES:
            return "identity"
        unsaid: frozenset[str] = frozenset() if self._timid else frozenset({"gzip"})
        open_to = (unsaid if self._offered is None else self._offered) - self._refused
        return next((name for name in get_args(Name) if name in open_to), "identity")

    def encode(self, body: bytes, name: Name) -> bytes:
        """The body in that coding."""
        if name == "zstd":
            return zstandard.ZstdCompressor(level=self._levels[name]).compress(body)
        return gzip.compress(body, self._levels[name], mtime=0) if name == "gzip" else body

    def answered(self, name: Name, status: int, accepts: str | None) -> bool:
        """Learn from an answer; ``accepts`` is its Accept-Encoding. Whether the body must go in another coding."""
        if accepts is not None:
            self._offered = parse(accepts)
        if name == "identity" or status in NOTHING_SAID:
            return False
        if 200 <= status < 300:
            self._proven.add(name)
            return False
        if status != 415 and (name in self._proven or name in (self._offered or ())):
            return False
        self._refused.add(name)
        return True

    def broke(self, name: Name) -> None:
        """The connection was lost, or no answer came, when a body in this coding had been sent."""
        self._broke = name != "identity" and name not in self._proven and name not in (self._offered or ())


def parse(accepts: str) -> frozenset[str]:
    """The codings of an Accept-Encoding header that may be used: those without ``q=0`` (RFC 9110, 12.5.3)."""
    found: set[str] = set()
    for part in accepts.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p[2:].strip() for p in parameters if p.startswith("q=")), "1")
        if quality.strip("0.") != "":
            found.add("gzip" if name == "x-gzip" else name)
    return frozenset(found & set(get_args(Name)))
