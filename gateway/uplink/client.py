"""The HTTP client of an uplink, and what its failures mean."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from drivers.bound import Resolve
from drivers.http1 import HttpClient, HttpError
from gateway.errors import UplinkError
from gateway.uplink.transport import PortalError, UnreachableError


@dataclass(frozen=True, slots=True)
class Access:
    """Where a server is and how to get there. ``certificate``: files (PEM) of this box's certificate and its key.

    ``interface`` and ``names`` are those of the link, as for drivers.http1.HttpClient.
    """

    url: str
    token: str | None = None
    ca_file: Path | None = None
    certificate: tuple[Path, Path] | None = None
    timeout_s: float = 10.0
    interface: str | None = None
    names: Resolve | None = None


def open_client(access: Access, headers: Mapping[str, str]) -> HttpClient:
    """A client that shows the token. Raises UplinkError for settings that cannot be used."""
    bearer = {"Authorization": f"Bearer {access.token}"} if access.token else {}
    try:
        ssl.create_default_context(cafile=access.ca_file)
    except OSError as error:
        fix = "uplink.ca_file must be a readable PEM file with the certificate of the authority."
        raise UplinkError(f"cannot use {access.ca_file}: {error}", code="uplink.bad-ca", fix=fix) from error
    try:
        return HttpClient(
            access.url,
            ca_file=access.ca_file,
            certificate=access.certificate,
            timeout_s=access.timeout_s,
            headers={**headers, **bearer},
            interface=access.interface,
            names=access.names,
        )
    except HttpError as error:
        raise UplinkError(error.cause, code="uplink.bad-url", fix="Give uplink.url as http(s)://host:port.") from error
    except OSError as error:
        fix = "uplink.certificate_file and uplink.key_file must be PEM files of one pair, without password."
        cause = f"cannot use the client certificate: {error}"
        raise UplinkError(cause, code="uplink.bad-certificate", fix=fix) from error


def unreachable(error: HttpError) -> UnreachableError:
    """The failure of an exchange; TLS with a certificate of another name is somebody in the server's place."""
    if error.kind == "name":
        return PortalError(error.cause)
    return UnreachableError(error.cause, code=f"uplink.{error.kind}")


def is_loopback(host: str) -> bool:
    """Whether a host can only be this box."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
