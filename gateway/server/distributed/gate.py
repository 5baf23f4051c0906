"""Whether others have a part in a request at all: what costs nothing while nobody is registered."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

from gateway.server.contexts import Context
from gateway.server.distributed.headers import Caller, alias_of, caller_of
from gateway.server.distributed.limits import CURRENT, Limits
from gateway.server.errors import LoopDetected
from gateway.server.sources.record import Record
from gateway.server.sources.registry import Match, Registry, Wanted
from gateway.server.wire import Request

Records = Callable[[str, str], Record | None]  # of a tenant's registration


class Gate:
    """``alias``: what this broker calls itself in Via; ``records``: all that a registration says."""

    def __init__(self, registry: Registry, alias: str, records: Records) -> None:
        self._registry = registry
        self._records = records
        self._alias = alias

    def open(self, request: Request) -> bool:
        """Whether sources are to be asked. A loop is not noticed here: who comes back finds nobody new to ask."""
        if not self._registry.any(request.tenant):
            return False
        parameters = parameters_of(request)
        return parameters.get("local") != "true" and parameters.get("type", "").strip() != "*"

    def any(self, tenant: str) -> bool:
        """Whether a tenant has registrations."""
        return self._registry.any(tenant)

    def alias(self, tenant: str) -> str:
        """What this broker calls itself, for a tenant."""
        return alias_of(self._alias, tenant)

    def caller(self, request: Request, context: Context) -> Caller:
        """Raises LoopDetected for a request that has been here before."""
        caller = caller_of(request, self._alias, context)
        if caller.looped:
            raise LoopDetected(f"the request has passed {caller.alias} before: Via {', '.join(caller.via)}")
        return caller

    def matching(self, caller: Caller, wanted: Wanted, limits: Limits = CURRENT) -> list[Match]:
        """Who has a part in what is wanted, whatever operations they offer.

        Without those that pass on a request that comes from them; one that owns its part stays, and is a loop.
        """
        found = [
            match
            for match in self._registry.matching(caller.tenant, None, wanted)
            if (record := self._records(caller.tenant, match.registration.id)) is not None and limits.allow(record)
        ]
        return [
            match
            for match in found
            if match.registration.mode in ("exclusive", "redirect") or not caller.passed(match.registration)
        ]


def parameters_of(request: Request) -> dict[str, str]:
    """The query parameters as they are; what is wrong with them is for the local handler to say."""
    if not request.query_string:
        return {}
    return dict(parse_qsl(request.query_string.decode("latin-1"), keep_blank_values=True))
