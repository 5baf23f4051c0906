"""What a registration says beyond entities and attributes that keeps a request from its source (CIM 009 clause 5.12).

Stricter tests are those of discovery (``sources.discovery``), where a source that says nothing is no match: here it may
have what is asked for, and is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.server import wire
from gateway.server.broker.qlang import Condition, parse_q
from gateway.server.broker.scope_query import ScopeTest, parse_scope_query
from gateway.server.contexts import Context
from gateway.server.sources.discovery import Area, When, area_of, when_of
from gateway.server.sources.record import GEOMETRIES, Record


@dataclass(frozen=True, slots=True)
class Limits:
    """Every condition must hold; one that is not set always does. ``temporal``: it is history that is wanted."""

    csf: Condition | None = None
    datasets: frozenset[str] | None = None
    scope: ScopeTest | None = None
    geo: Area | None = None
    when: When | None = None
    temporal: bool = False

    def allow(self, record: Record) -> bool:
        """Whether the source may have something of what is wanted."""
        if self.datasets and record.datasets is not None and not self.datasets & record.datasets:
            return False
        if self.scope is not None and record.scopes and not self.scope(record.scopes):
            return False
        if self.geo is not None and self.geo.geometry in record.raw and not self.geo.touches(record):
            return False
        return self._timely(record) and (self.csf is None or self.csf.matches(record.as_entity()))

    def _timely(self, record: Record) -> bool:
        """A source of an interval has history only, that of the interval."""
        if not record.intervals or not self.temporal:
            return not record.intervals
        return self.when is None or self.when.interval not in record.intervals or self.when.touches(record)


CURRENT, HISTORY = Limits(), Limits(temporal=True)


def limits_of(parameters: Mapping[str, str], context: Context, *, temporal: bool = False) -> Limits:
    """Of a read. Where parts of an entity are anywhere (splitEntities), what holds of the whole keeps nobody away.

    Raises BadRequestData.
    """
    split = parameters.get("splitEntities") == "true"
    placed = "georel" in parameters and parameters.get("geoproperty", "location") in GEOMETRIES
    return Limits(
        csf=parse_q(parameters["csf"], context) if "csf" in parameters else None,
        datasets=frozenset(wire.comma_list(parameters, "datasetId")) or None,
        scope=parse_scope_query(parameters["scopeQ"]) if "scopeQ" in parameters and not split else None,
        geo=area_of(parameters, context) if placed and not split else None,
        when=when_of(parameters) if temporal else None,
        temporal=temporal,
    )
