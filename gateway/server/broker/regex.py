"""POSIX extended regular expressions (IEEE 1003.2), as idPattern and ``~=`` want them, in linear time.

The standard library's engine backtracks: one pattern from outside could stop the server. Here a pattern becomes a
non-deterministic automaton (Thompson's construction) whose sets of states are remembered as they occur, so a search
costs one dictionary look-up for nearly every character.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PATTERN_CHARS_MAX = 512
STATES_MAX = 4_000
GROUPS_MAX = 50  # one within the other
REPEAT_MAX = 255  # RE_DUP_MAX of POSIX
REMEMBERED_MAX = 20_000
CLASSES: dict[str, Callable[[str], bool]] = {
    "alpha": str.isalpha,
    "digit": str.isdecimal,
    "alnum": str.isalnum,
    "upper": str.isupper,
    "lower": str.islower,
    "space": str.isspace,
    "punct": lambda c: c.isprintable() and not c.isalnum() and not c.isspace(),
    "print": str.isprintable,
    "graph": lambda c: c.isprintable() and not c.isspace(),
    "blank": lambda c: c in " \t",
    "cntrl": lambda c: ord(c) < 32 or ord(c) == 127,
    "xdigit": lambda c: c in "0123456789abcdefABCDEF",
}
ESCAPES: dict[str, Callable[[str], bool]] = {  # not POSIX, but used by everybody
    "d": str.isdecimal,
    "w": lambda c: c.isalnum() or c == "_",
    "s": str.isspace,
}
Test = Callable[[str], bool]


@dataclass(slots=True)
class _Node:
    """One state: ``test`` a character and go to ``out``; without a test go to all of ``out`` at once."""

    out: list[int]
    test: Test | None = None
    anchor: str = ""


@dataclass(slots=True)
class _Part:
    """A piece of the automaton: where it starts, and the states whose way out is still open."""

    start: int
    ends: list[int]


class Pattern:
    """A compiled pattern. Raises ValueError for what is none."""

    def __init__(self, text: str) -> None:
        if len(text) > PATTERN_CHARS_MAX:
            raise ValueError(f"a pattern of more than {PATTERN_CHARS_MAX} characters")
        self._text = text
        self._at = self._open = 0
        self._nodes: list[_Node] = []
        part = self._alternatives()
        if self._at < len(text):
            raise ValueError(f"unexpected {text[self._at]!r} at position {self._at + 1}")
        self._final = self._add(_Node([]))
        self._join(part, self._final)
        self._start = part.start
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    @property
    def text(self) -> str:
        """The pattern as it was given."""
        return self._text

    def search(self, subject: str) -> bool:
        """Whether the pattern occurs in the subject."""
        begin = self._closure({self._start}, first=True, last=not subject)
        again = self._closure({self._start}, first=False, last=False)
        current = begin
        end = len(subject) - 1
        for index, character in enumerate(subject):
            if self._final in current:
                return True
            current = self._final_step(current, character) if index == end else self._step(current, character, again)
        return self._final in current

    def _step(self, current: frozenset[int], character: str, again: frozenset[int]) -> frozenset[int]:
        key = (current, character)
        found = self._steps.get(key)
        if found is None:
            found = self._closure(self._move(current, character), first=False, last=False) | again
            if len(self._steps) >= REMEMBERED_MAX:
                self._steps.clear()
            self._steps[key] = found
        return found

    def _final_step(self, current: frozenset[int], character: str) -> frozenset[int]:
        return self._closure({*self._move(current, character), self._start}, first=False, last=True)

    def _move(self, current: frozenset[int], character: str) -> set[int]:
        nodes = self._nodes
        return {n for state in current if (test := nodes[state].test) and test(character) for n in nodes[state].out}

    def _closure(self, states: set[int], *, first: bool, last: bool) -> frozenset[int]:
        seen: set[int] = set()
        stack = list(states)
        while stack:
            state = stack.pop()
            if state in seen:
                continue
            seen.add(state)
            node = self._nodes[state]
            blocked = (node.anchor == "^" and not first) or (node.anchor == "$" and not last)
            if node.test is None and not blocked:
                stack.extend(node.out)
        return frozenset(seen)

    # construction

    def _add(self, node: _Node) -> int:
        if len(self._nodes) >= STATES_MAX:
            raise ValueError("the pattern is too large")
        self._nodes.append(node)
        return len(self._nodes) - 1

    def _join(self, part: _Part, target: int) -> None:
        for end in part.ends:
            self._nodes[end].out.append(target)

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _alternatives(self) -> _Part:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        if len(parts) == 1:
            return parts[0]
        return _Part(self._add(_Node([p.start for p in parts])), [end for p in parts for end in p.ends])

    def _sequence(self) -> _Part:
        start = self._add(_Node([]))
        whole = _Part(start, [start])
        while self._peek() not in ("", "|", ")"):
            part = self._repeated()
            self._join(whole, part.start)
            whole = _Part(start, part.ends)
        return whole

    def _repeated(self) -> _Part:
        begin = self._at
        part = self._atom()
        least, most = self._bounds()
        if (least, most) == (1, 1):
            return part
        stop = self._at
        whole: _Part | None = None
        for index in range(max(least, 1) if most is None else most):
            if index or whole is not None:
                self._at = begin
                part = self._atom()
            if index >= least:
                skip = self._add(_Node([part.start]))
                part = _Part(skip, [*part.ends, skip])
            if most is None and index == max(least, 1) - 1:
                part = self._loop(part)
            if whole is not None:
                self._join(whole, part.start)
                part = _Part(whole.start, part.ends)
            whole = part
        self._at = stop
        if whole is None:  # {0}: nothing at all
            empty = self._add(_Node([]))
            return _Part(empty, [empty])
        return whole

    def _loop(self, part: _Part) -> _Part:
        again = self._add(_Node([part.start]))
        self._join(part, again)
        return _Part(part.start, [again])

    def _bounds(self) -> tuple[int, int | None]:
        least, most = 1, 1
        bounds: tuple[int, int | None] = (least, most)
        sign = self._peek()
        if sign in ("*", "+", "?") and sign:
            self._at += 1
            bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        elif sign == "{":
            end = self._text.find("}", self._at)
            low, comma, high = self._text[self._at + 1 : end].partition(",")
            if end < 0 or not low.isdecimal() or (high and not high.isdecimal()):
                raise ValueError(f"bad repetition at position {self._at + 1}")
            bounds = (int(low), (int(high) if high else None) if comma else int(low))
            if bounds[0] > REPEAT_MAX or (bounds[1] is not None and not bounds[0] <= bounds[1] <= REPEAT_MAX):
                raise ValueError(f"a repetition must be within 0 and {REPEAT_MAX}")
            self._at = end + 1
        if self._peek() in ("*", "+", "?", "{") and self._peek() and bounds != (1, 1):
            raise ValueError(f"two repetitions in a row at position {self._at + 1}")
        return bounds

    def _atom(self) -> _Part:
        sign = self._peek()
        self._at += 1
        if sign == "(":
            self._open += 1
            if self._open > GROUPS_MAX:
                raise ValueError(f"more than {GROUPS_MAX} groups one within the other")
            part = self._alternatives()
            if self._peek() != ")":
                raise ValueError("a ( is not closed")
            self._at += 1
            self._open -= 1
            return part
        if sign in ("^", "$"):
            anchor = self._add(_Node([], anchor=sign))
            return _Part(anchor, [anchor])
        if sign in ("*", "+", "?", "{"):
            raise ValueError(f"nothing to repeat at position {self._at}")
        state = self._add(_Node([], self._test(sign)))
        return _Part(state, [state])

    def _test(self, sign: str) -> Test:
        if sign == ".":
            return lambda _: True
        if sign == "[":
            return self._bracket()
        if sign == "\\":
            sign = self._peek()
            self._at += 1
            if not sign:
                raise ValueError("a pattern must not end in a backslash")
            if sign in ESCAPES:
                return ESCAPES[sign]
            if sign.isalnum():
                raise ValueError(f"\\{sign} is not offered")
        return sign.__eq__

    def _bracket(self) -> Test:
        """A bracket expression: ``[abc]``, ``[^a-z]``, ``[[:digit:]_]``."""
        text = self._text
        negated = self._peek() == "^"
        self._at += negated
        tests: list[Test] = []
        first = True
        while first or self._peek() != "]":
            first = False
            if text.startswith("[:", self._at):
                end = text.find(":]", self._at)
                name = text[self._at + 2 : end]
                if end < 0 or name not in CLASSES:
                    raise ValueError(f"unknown character class [:{name}:]")
                tests.append(CLASSES[name])
                self._at = end + 2
                continue
            tests.append(self._range())
        self._at += 1
        return lambda c: any(test(c) for test in tests) is not negated

    def _range(self) -> Test:
        text = self._text
        low = self._peek()
        if not low:
            raise ValueError("a [ is not closed")
        self._at += 1
        if self._peek() != "-" or text[self._at + 1 : self._at + 2] in ("]", ""):
            return low.__eq__
        high = text[self._at + 1]
        self._at += 2
        if high < low:
            raise ValueError(f"the range {low}-{high} is empty")
        return lambda c: low <= c <= high
