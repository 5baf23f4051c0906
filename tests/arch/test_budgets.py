"""Budgets that keep the code readable: sizes, broad excepts, sleeps, words that do not belong in a repository."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES_MAX, FUNCTION_MAX = 400, 60
MAY_CATCH_ALL = {"gateway/edge/supervisor.py"}
PRODUCT = [path for folder in ("gateway", "drivers", "firmware-sim") for path in sorted((ROOT / folder).rglob("*.py"))]


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LINES_MAX, f"{lines} lines"
    long = [f"{f.name}: {f.end_lineno - f.lineno + 1}" for f in functions(path) if f.end_lineno]
    assert not [entry for entry in long if int(entry.rsplit(" ", 1)[1]) > FUNCTION_MAX]


def test_only_the_supervisor_catches_everything() -> None:
    found = set()
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException")
            ):
                found.add(str(path.relative_to(ROOT)))
    assert found <= MAY_CATCH_ALL, found - MAY_CATCH_ALL


def test_the_daemon_never_sleeps_in_a_thread() -> None:
    daemon = [path for path in PRODUCT if "cli" not in path.parts and "firmware-sim" not in path.parts]
    assert not [str(p) for p in daemon if re.search(r"\btime\.sleep\(", p.read_text(encoding="utf-8"))]


def test_nothing_is_left_to_do() -> None:
    assert not [str(p) for p in PRODUCT if re.search(r"\b(TODO|FIXME|XXX)\b", p.read_text(encoding="utf-8"))]


def test_no_path_of_a_workplace() -> None:
    skipped = {"_build", "__pycache__"}
    folders = [ROOT / name for name in ("config", "docs", "drivers", "firmware-sim", "gateway", "packaging", "tests")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not skipped & {*path.parts}]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]  # a file in a worktree
    word = re.compile(rb"(?<![\w.])/" + rb"(work|farm)/")
    sources = [path for path in files if path.suffix != ".pyc" and path.stat().st_size < 400_000]
    assert len(sources) > 200
    assert not [str(path) for path in sources if word.search(path.read_bytes())]
