"""Finds every error code in the source: classes with a ``code``, and codes given where an error is raised."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

FOLDERS = ("drivers", "gateway")
_CODE = re.compile(r"[a-z][a-z0-9]*([.-][a-z0-9]+)*")
_RAISED = re.compile(r"(Error|Exception|Problem|Refused)$")


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One code: what it means, and what to do about it where the source says so in plain text."""

    code: str
    meaning: str
    fix: str
    file: str


def error_entries(root: Path) -> Iterator[ErrorEntry]:
    """All error codes below ``root``: those of classes first, then those of single errors, in order of the files."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    trees = [(str(path.relative_to(root)), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]
    fixes = {name: fix for _, tree in trees for name, fix in _class_fixes(tree)}
    meanings = {name: meaning for _, tree in trees for name, meaning in _class_meanings(tree)}
    for file, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and (entry := _of_class(node, fixes, file)) is not None:
                yield entry
    for file, tree in trees:
        for scope in ast.walk(tree):
            if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(scope):
                    if isinstance(node, ast.Call) and (entry := _of_call(node, scope, fixes, file)) is not None:
                        yield entry if entry.meaning else replace(entry, meaning=meanings.get(_called(node), ""))
    yield ErrorEntry("output", "What the command prints cannot be written.", "Make room where the output goes.", "")
    yield ErrorEntry("internal", "An error that nobody foresaw.", "Report it, with the file that it names.", "")


def _of_class(node: ast.ClassDef, fixes: dict[str, str], file: str) -> ErrorEntry | None:
    code = _assigned(node, "code")
    if code is None or not _CODE.fullmatch(code) or not node.bases:
        return None
    meaning = (ast.get_docstring(node) or "").split("\n\n")[0]
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    inherited = next((fixes[base] for base in bases if base in fixes), "Run `lamppost doctor`.")
    return ErrorEntry(code, meaning, _assigned(node, "fix") or inherited, file)


def _of_call(node: ast.Call, scope: ast.AST, fixes: dict[str, str], file: str) -> ErrorEntry | None:
    name = _called(node)
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    code = given.get("code")
    if not _RAISED.search(name) or not isinstance(code, ast.Constant) or not isinstance(code.value, str):
        return None
    meaning = _local(node.args[0], scope) if node.args else ""
    return ErrorEntry(code.value, meaning, _local(given.get("fix"), scope) or fixes.get(name, ""), file)


def _local(node: ast.expr | None, scope: ast.AST) -> str:
    """The text of an argument, also where it was put into a variable of the function just before."""
    if not isinstance(node, ast.Name):
        return _text(node)
    texts = [
        (statement.lineno, _text(statement.value))
        for statement in ast.walk(scope)
        if isinstance(statement, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == node.id for target in statement.targets)
    ]
    return max(((line, text) for line, text in texts if line <= node.lineno), default=(0, ""))[1]


def _called(node: ast.Call) -> str:
    called = node.func
    return called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""


def _class_meanings(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name, (ast.get_docstring(node) or "").split("\n\n")[0]


def _class_fixes(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and (fix := _assigned(node, "fix")) is not None:
            yield node.name, fix


def _assigned(node: ast.ClassDef, name: str) -> str | None:
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return _text(statement.value) or None
    return None


def _text(node: ast.expr | None) -> str:
    """The text of a literal; of an f-string with ``…`` for what is filled in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return ""
