"""What is written to a source of an older version of the API, in the terms of that version (CIM 009 clause 4.3.6.8).

The source says which it is: ``ngsildConformance`` of its contextSourceInfo.
"""

from __future__ import annotations

from typing import Any

from gateway.server.broker.represent_filter import Version, members_gone, renamed_before
from gateway.server.distributed.translate import ENTITY_MEMBERS, TYPE


def older(body: Any, path: str, version: Version) -> Any:
    """The body of a forward to ``path``: entities, a fragment of one, one attribute; anything else as it is."""
    if path.endswith("/query") or not path.startswith(("/entit", "/temporal/entit")):
        return body
    if "/attrs/" in path:
        return _attribute(body, version)
    return [_entity(part, version) for part in body] if isinstance(body, list) else _entity(body, version)


def _entity(entity: Any, version: Version) -> Any:
    if not isinstance(entity, dict):
        return entity
    gone = members_gone(version)
    result: dict[str, Any] = {}
    for name, value in entity.items():
        if name in gone:
            continue
        if name in TYPE:
            result[name] = value[0] if version < (1, 3) and isinstance(value, list) and value else value
        else:
            result[name] = value if name in ENTITY_MEMBERS else _attribute(value, version)
    return result


def _attribute(value: Any, version: Version) -> Any:
    """One attribute, or its instances, of which a version without datasetId has one."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        if version < (1, 3):
            return _attribute(next((part for part in value if "datasetId" not in part), value[0]), version)
        return [_attribute(part, version) for part in value]
    if not isinstance(value, dict) or "coordinates" in value:
        return value
    gone = members_gone(version)
    result = {name: part for name, part in value.items() if name not in gone}
    for kind, (plain, member, other) in renamed_before(version).items():
        if member in result:
            result[other] = result.pop(member)
            if result.get("type") == kind:
                result["type"] = plain
    return result
