"""Shows the problems of a configuration file: place, cause, the line with a caret, what was probably meant."""

from __future__ import annotations

from collections.abc import Sequence

import click

from gateway.cli.output import count, plain, style
from gateway.config.problem import RULES, Problem

WIDTH_MAX = 120


def say_problems(problems: Sequence[Problem], *, err: bool = False) -> None:
    """Print all of them, a blank line apart, and how many there are."""
    for problem in problems:
        click.echo(show(problem, err=err) + "\n", err=err)
    errors = sum(problem.severity == "error" for problem in problems)
    kinds = ((errors, "error"), (len(problems) - errors, "warning"))
    click.echo(", ".join(count(number, word) for number, word in kinds if number), err=err)


def show(problem: Problem, *, err: bool = False) -> str:
    """``file:line:column: error[code]: cause``, the line, a caret, and the hint or the fix."""
    colour = "red" if problem.severity == "error" else "yellow"
    kind = style(f"{problem.severity}[{problem.code}]", colour, bold=True, err=err)
    lines = [f"{plain(str(problem.place))}: {kind}: {plain(problem.message)}"]
    text, column = _window(problem.place.text, problem.place.column)
    if text:
        lines += [f"    {text}", f"    {' ' * (column - 1)}{style('^', colour, bold=True, err=err)}"]
    if problem.hint:
        lines.append(f"    {style(plain(problem.hint), 'cyan', err=err)}")
    fix = problem.fix or RULES[problem.code].fix
    if not problem.hint.startswith(("did you mean", "perhaps")):
        lines.append(f"    {style('fix', 'green', err=err)}: {plain(fix)}")
    return "\n".join(lines)


def _window(text: str, column: int) -> tuple[str, int]:
    """As much of a long line as fits, and the column in it."""
    start = max(0, column - 1 - WIDTH_MAX // 2) if len(text) > WIDTH_MAX else 0
    return plain(text[start : start + WIDTH_MAX]), column - start
