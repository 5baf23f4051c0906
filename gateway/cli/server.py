"""``lamppost server``: backup, restore, move and check of the data of the server role."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from gateway.cli.output import say_json
from gateway.errors import UsageError

DATA = click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="The data folder of the server (storage.path)."
)


@click.group("server", short_help="The data of the server: backup, restore, move, verify.")
def command() -> None:
    """Look after the data of the server role."""


@command.command("backup", short_help="Copy the data into one file.")
@DATA
@click.argument("file", type=click.Path(path_type=Path))
def backup(data: Path, file: Path) -> None:
    """Copy the data to FILE, which must not exist. The server may run: the copy is of one moment, whole."""
    from gateway.server.storage import copies

    size = copies.backup(data, file)
    click.echo(f"{file}: {size} bytes")


@command.command("restore", short_help="Put a backup in place.")
@DATA
@click.argument("file", type=click.Path(path_type=Path))
def restore(data: Path, file: Path) -> None:
    """Check FILE, a backup, and put it into a data folder that has no data. The server must not run there."""
    from gateway.server.storage import copies

    size = copies.restore(file, data)
    click.echo(f"{data}: {size} bytes")


@command.command("move", short_help="Into PostgreSQL.")
@DATA
@click.option("--to", "url", required=True, help="postgresql://user@host:5432/name, an empty database.")
@click.option("--password-file", type=click.Path(path_type=Path), help="File with the password of that user.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: how much was moved.")
def move(data: Path, url: str, password_file: Path | None, as_json: bool) -> None:
    """Move the data into PostgreSQL, all of it or nothing. The server must not run; the folder stays as it is.

    Set server.database to the same URL afterwards.
    """
    try:
        from gateway.server.moving import move as move_data
        from gateway.server.storage.postgres.session import database_of
    except ImportError as error:
        raise UsageError(f"a library is missing: {error}", fix="pip install 'lamppost[server,postgres]'") from None
    say = (lambda text: click.echo(text, err=True)) if sys.stderr.isatty() else (lambda _: None)
    moved = asyncio.run(move_data(data, database_of(url, password_file), say))
    if as_json:
        say_json(moved._asdict())
    else:
        click.echo(", ".join(f"{count} {what}" for what, count in moved._asdict().items()))


@command.command("verify", short_help="Is the data whole?")
@DATA
@click.option("--json", "as_json", is_flag=True, help="One JSON object: ok, and the list of faults.")
def verify(data: Path, as_json: bool) -> int:
    """Check every page and every compressed row of the data, whether the server runs or not.

    Exit code 1 where something is wrong.
    """
    from gateway.server.storage import copies
    from gateway.server.storage.opening import FILE

    faults = list(copies.verify(data / FILE))
    if as_json:
        say_json({"ok": not faults, "faults": faults})
    else:
        click.echo("\n".join(faults) or "all is whole")
    return int(bool(faults))
