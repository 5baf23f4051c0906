"""Options that several commands share, and how they find the daemon and its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.cli.control import SOCKET_NAME, ControlClient
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.config.schema import Config

DEFAULT_CONFIG = Path("/etc/lamppost/lamppost.yaml")
DEFAULT_DATA = Path("/var/lib/lamppost")
Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])


def daemon_options(function: Wrapped) -> Wrapped:
    """``--config``, ``--data`` and ``--socket``: which daemon to ask. Pass them to :func:`client`."""
    path = click.Path(path_type=Path, readable=False)
    options = (
        click.option("--socket", "socket_path", type=path, help="Control socket of the daemon."),
        click.option("--data", type=path, envvar="LAMPPOST_DATA", help="Folder of its data (storage.path)."),
        config_option,
    )
    for option in options:
        function = option(function)
    return function


def config_option(function: Wrapped) -> Wrapped:
    """``--config``; pass it to :func:`config_path`."""
    return click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path, readable=False),
        envvar="LAMPPOST_CONFIG",
        help=f"Configuration file; default {DEFAULT_CONFIG}.",
    )(function)


def config_path(config_file: Path | None) -> Path | None:
    """The file that is given, else the default one where it is there."""
    return config_file or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)


def require_config(config_file: Path | None) -> Config:
    """The configuration that is given or the default one. Raises ConfigError, or UsageError where there is none."""
    from gateway.config.load import require

    path = config_path(config_file)
    if path is None:
        raise UsageError("no configuration file", fix="Give --config FILE.")
    return require(path)


def client(config_file: Path | None, data: Path | None, socket_path: Path | None) -> ControlClient:
    """The client of the daemon: at ``--socket``, in ``--data``, or where the configuration says."""
    if socket_path is not None:
        return ControlClient(socket_path)
    if data is not None:
        return ControlClient(data / SOCKET_NAME)
    path = config_path(config_file)
    if path is None:
        return ControlClient(DEFAULT_DATA / SOCKET_NAME)
    return ControlClient(require_config(path).storage.path / SOCKET_NAME)


def host_port(option: str, text: str, port: int | None = None) -> tuple[str, int]:
    """``HOST:PORT``, IPv6 in brackets; just ``HOST`` where ``port`` is the usual one. Raises UsageError.

    An empty host is loopback.
    """
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, number = text, "" if port is None else str(port)
    if not number.isdecimal() or int(number) > 65535 or (not host and not colon):
        example = f"127.0.0.1:{port or 9090}"
        raise UsageError(
            f"{option} {text!r} is not HOST{'' if port is None else ' or HOST'}:PORT", fix=f"Such as {example}."
        )
    return host.strip("[]") or "127.0.0.1", int(number)
