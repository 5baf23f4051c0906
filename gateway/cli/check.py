"""``lamppost check``: every mistake in a configuration file at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.output import count, say_json, style

if TYPE_CHECKING:
    from gateway.config.check import Role


@click.command("check", short_help="Check a configuration file: every mistake, with its place.")
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--role", type=click.Choice(["edge", "server", "both"]), help="Check that it serves this role.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object {ok, file, problems}.")
def command(file: Path, role: Role | None, as_json: bool) -> int:
    """Check a configuration FILE: keys, values, and whether its parts fit together.

    Each problem is shown with file:line:column and what to do about it. Exit code 0: it can be used (there may be
    warnings), 1: it cannot.
    """
    from gateway.cli.problems import say_problems
    from gateway.config.load import load

    loaded = load(file, role)
    usable = loaded.config is not None
    if as_json:
        problems = [problem.as_json() for problem in loaded.problems]
        say_json({"ok": usable, "file": str(file), "problems": problems})
    elif loaded.problems:
        say_problems(loaded.problems)
    if usable and not as_json and loaded.config is not None:
        config = loaded.config
        good = style("ok", "green", bold=True)
        click.echo(
            f"{good}: {file}: {count(len(config.devices), 'device')}, {count(len(config.buses), 'bus', 'buses')}"
        )
    return 0 if usable else 1
