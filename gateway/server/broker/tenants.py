"""Which tenants there are."""

from __future__ import annotations

from gateway.server.errors import NonexistentTenant
from gateway.server.storage.base import Reader


def check_tenant(reader: Reader, tenant: str) -> None:
    """Raises NonexistentTenant; the default tenant is always there."""
    if tenant and tenant not in reader.tenants():
        raise NonexistentTenant(f"there is no tenant {tenant!r}")
