"""Load the configuration: every mistake at once, each with its place; or a :class:`Config` that can be relied on."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from gateway.config.check import Role, check
from gateway.config.explain import explain
from gateway.config.problem import PROBLEMS_MAX, ConfigError, Problem
from gateway.config.schema import Config
from gateway.config.tree import BYTES_MAX, Source, parse
from gateway.errors import Place


@dataclass(frozen=True, slots=True)
class Loaded:
    """``config`` is None where there is an error; warnings alone leave it. ``problems`` stand in the file's order.

    ``draft`` is what the file says where it fits the schema, right or wrong.
    """

    config: Config | None
    problems: tuple[Problem, ...]
    draft: Config | None = None


def load(path: Path, role: Role | None = None) -> Loaded:
    """Read and check a file. Raises nothing: whatever is wrong is a problem.

    ``role``: what the configuration is for; None asks only that what is in it makes sense together.
    """
    data, problem = _read(path)
    return Loaded(None, (problem,)) if problem is not None else load_bytes(data, path, role)


def load_bytes(data: bytes, path: Path, role: Role | None = None) -> Loaded:
    """The same for bytes at hand; ``path`` names them and gives the folder for relative file names."""
    file = str(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Loaded(None, (_not_utf8(data, error, file),))
    root, problems = parse(text, file)
    if root is None:
        return _loaded(None, problems)
    if not isinstance(root.data, dict):
        problem = Problem("config.document", "expected keys and values, such as `site:`", root.place())
        return _loaded(None, [*problems, problem])
    folder = path.absolute().parent
    try:
        config = Config.model_validate(root.plain(), context={"folder": folder})
        mistyped: frozenset[tuple[str, ...]] = frozenset()
    except ValidationError as error:
        config = None
        explained, mistyped = explain(error.errors(include_url=False, include_context=False, include_input=False), root)
        problems += explained
    problems += check(root, config, folder, mistyped, role)
    return _loaded(config, problems)


def require(path: Path, role: Role | None = None) -> Config:
    """The configuration. Raises ConfigError, which carries all problems."""
    loaded = load(path, role)
    if loaded.config is None:
        raise ConfigError(str(path), loaded.problems)
    return loaded.config


def _loaded(config: Config | None, problems: list[Problem]) -> Loaded:
    ordered = sorted(dict.fromkeys(problems), key=lambda p: (p.place.line, p.place.column, p.code, p.message))
    usable = config if all(problem.severity != "error" for problem in ordered) else None
    if len(ordered) > PROBLEMS_MAX:
        more = len(ordered) - PROBLEMS_MAX
        ordered = ordered[:PROBLEMS_MAX]
        ordered.append(Problem("config.more", f"and {more} more", ordered[-1].place))
    return Loaded(usable, tuple(ordered), config)


def _read(path: Path) -> tuple[bytes, Problem | None]:
    try:
        # without O_NONBLOCK a named pipe would hold the command for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return b"", _unreadable(path, "it is not a file")
            data = file.read(BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        return b"", _unreadable(path, getattr(error, "strerror", None) or str(error))
    if len(data) > BYTES_MAX:
        return b"", Problem("config.too-large", f"larger than {BYTES_MAX} bytes", Place(str(path), 1, 1))
    return data, None


def _unreadable(path: Path, cause: str) -> Problem:
    return Problem("config.unreadable", f"cannot be read: {cause}", Place(str(path), 1, 1))


def _not_utf8(data: bytes, error: UnicodeDecodeError, file: str) -> Problem:
    before = data[: error.start]
    line = before.count(b"\n") + 1
    start = before.rfind(b"\n") + 1
    source = Source(file, data[start : error.start + 40].decode("utf-8", "replace").split("\n")[0])
    column = len(before[start:].decode("utf-8", "replace")) + 1
    place = Place(file, line, column, source.place(1, column).text)
    return Problem("config.encoding", f"the byte 0x{data[error.start]:02x} is not UTF-8", place)
