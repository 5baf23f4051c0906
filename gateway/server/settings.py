"""Settings and limits of the server role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drivers.buses.mqtt_login import Session

HEADER_BYTES_MAX = 32 * 1024
QUERY_BYTES_MAX = 8 * 1024
PARAMETERS_MAX = 64
BATCH_MAX = 10_000
PAGE_MAX = 1_000
PAGE_DEFAULT = 20
BODIES_BYTES_MAX = 64 * 2**20  # of all requests in flight together
BODY_SECONDS_MAX = 30.0  # from the first byte of a request to the last of its body
HEADER_SECONDS_MAX = 10.0
IDLE_SECONDS_MAX = 75  # of a kept-alive connection between two requests
CONNECTIONS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class CoapSettings:
    """Where compact batches come over CoAP. ``credentials``: OSCORE keys; ``state``: what OSCORE must remember."""

    credentials: Path
    host: str = "127.0.0.1"
    port: int = 5683
    state: Path | None = None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What an operator decides. ``port`` 0 takes a free one.

    ``ca_file``: authorities (PEM) that it trusts beside those of the system where it connects to others.
    ``notify_prefixes``: URL prefixes inside private networks that subscriptions may notify; ``context_prefixes``:
    from which contexts may be loaded; ``context_files``: URL of a context -> file with it, instead of a download.
    ``alias``: what it calls itself among sources of context. ``hosts``: names by which it is called, apart from
    its address, where it has no token (a reverse proxy). ``mqtt``: the broker where gateways publish compact batches.
    ``database``: URL of PostgreSQL, instead of a file in ``data``; ``database_replica``: of a hot standby that queries
    are read from. ``history_days``: what is older goes.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 9090
    token: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    key: Path | None = None
    body_max: int = 4 * 2**20
    database: str | None = None
    database_password_file: Path | None = None
    database_replica: str | None = None
    storage_max: int = 16 * 2**30
    history_days: int | None = None
    ca_file: Path | None = None
    notify_prefixes: tuple[str, ...] = ()
    context_prefixes: tuple[str, ...] = ()
    context_files: Mapping[str, Path] = field(default_factory=dict)
    alias: str = "lamppost"
    hosts: tuple[str, ...] = ()
    mqtt: Session | None = None
    coap: CoapSettings | None = None

    @property
    def secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.certificate is not None and self.key is not None
