"""Where an MQTT broker is, and how to get in. Files are read when they are needed, and never told."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from drivers.errors import NoPermission

SECRET_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Session:
    """``password_file`` holds the password, alone.

    ``certificate_file`` and ``key_file`` are those of this box, where the broker asks for them. ``interface``: the
    network interface to use and no other; ``address``: the IP address of the host, where it was resolved elsewhere.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    interface: str | None = None
    address: str | None = None
    keepalive_s: int = 15  # a broker that vanished without a word is noticed after one and a half of it

    def password(self) -> str | None:
        """The password. Raises NoPermission."""
        if self.password_file is None:
            return None
        try:
            with self.password_file.open("rb") as file:
                return file.read(SECRET_BYTES_MAX).decode().strip()
        except OSError as error:
            raise NoPermission(f"{self.password_file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise NoPermission(f"{self.password_file} is not text") from None

    def context(self) -> ssl.SSLContext:
        """What TLS rests on: certificate and name of the broker are verified. Raises NoPermission."""
        path = self.ca_file
        try:
            context = ssl.create_default_context(cafile=None if path is None else str(path))
            path = self.certificate_file
            if path is not None:
                context.load_cert_chain(path, self.key_file)
        except OSError as error:  # ssl.SSLError is one
            raise NoPermission(f"{path} cannot be used: {error.strerror or error}") from None
        return context
