"""``lamppost run``: the daemon, in one role or both."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.options import host_port
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.app import Role
    from gateway.config.schema import Config

DEFAULT_CONFIG = Path("/etc/lamppost/lamppost.yaml")


@click.command("run", short_help="Run the daemon: edge, server or both.")
@click.option("--role", type=click.Choice(["edge", "server", "both"]), help="Default: what the configuration has.")
@click.option(
    "--config", "path", type=click.Path(path_type=Path), help=f"Configuration file; default {DEFAULT_CONFIG}."
)
@click.option("--listen", help="HOST:PORT of the server role; overrides the configuration.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data; overrides storage.path.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def command(role: Role | None, path: Path | None, listen: str | None, data: Path | None, log_level: str) -> None:
    """Run the daemon until SIGTERM. SIGHUP reads the configuration again.

    Without a file, `lamppost run --role server --listen 127.0.0.1:9090 --data DIR` is a working platform.
    """
    from gateway import app, notify

    notify.configure_logging(getattr(logging, log_level.upper()))
    if path is None and DEFAULT_CONFIG.exists():
        path = DEFAULT_CONFIG
    config = _configuration(role, path, listen, data)
    chosen: Role = role or ("both" if config.server and config.uplink else "server" if config.server else "edge")
    asyncio.run(app.run(config, path, chosen, _say_ready))


def _configuration(role: Role | None, path: Path | None, listen: str | None, data: Path | None) -> Config:
    from gateway.config import load, schema

    if path is not None:
        config = load.require(path)
    elif role == "server" and data is not None:
        nowhere = schema.Location(latitude=0.0, longitude=0.0)
        config = schema.Config(site=schema.Site(id="platform", location=nowhere), server=schema.Server())
    else:
        raise UsageError("no configuration file", fix="Give --config FILE, or --role server with --data DIR.")
    changes: dict[str, object] = {}
    if data is not None:
        changes["storage"] = config.storage.model_copy(update={"path": data})
    if listen is not None or (role in ("server", "both") and config.server is None):
        server = config.server or schema.Server()
        changes["server"] = server.model_copy(update={"listen": _listen(listen)} if listen else {})
    return config.model_copy(update=changes)


def _listen(text: str) -> object:
    from gateway.config.kinds import Listen

    host, port = host_port("--listen", text)
    return Listen(host=host, port=port)


def _say_ready(address: str) -> None:
    click.echo(f"lamppost is ready{f': {address}' if address else ''}", err=True)
