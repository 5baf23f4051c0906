"""What is wrong with a write is said before any part of it is done: the same rules as those of the handlers here."""

from __future__ import annotations

from typing import Any

from gateway.server import wire
from gateway.server.broker.answers import entity_id_of
from gateway.server.broker.names import Fault, check_uri
from gateway.server.broker.parse import parse_attribute, parse_entity
from gateway.server.broker.patch import How, parse_attribute_patch, parse_patch
from gateway.server.broker.writing import MERGE_PARAMETERS, how_of, same_id, types_of
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData
from gateway.server.temporal.parse import parse_evolution
from gateway.server.wire import Request


def check_body(operation: str, request: Request, raw: Any, context: Context) -> None:
    """Of an operation on an entity. Raises BadRequestData, InvalidRequest."""
    if operation == "createEntity":
        wire.boolean(request.query({"local"}), "local")
        parse_entity(raw, context)
        return
    if operation.endswith("Temporal"):
        wire.boolean(request.query({"local"}), "local")
        fragment = operation != "upsertTemporal"
        if parse_evolution(raw, context, fragment=fragment).id not in (None, request.params.get("id", raw.get("id"))):
            raise BadRequestData("/id: it differs from the id in the path")
        return
    parameters = request.query(MERGE_PARAMETERS | {"type"})
    wire.boolean(parameters, "local")
    types_of(parameters, context)
    if operation == "appendAttrs":
        wire.options(parameters, {"noOverwrite"})
        members = parse_entity(raw, context, fragment=True)
    elif operation == "updateEntity":
        members = parse_entity(raw, context, fragment=True, nulls=True)
    else:
        how = how_of(parameters, context)
        if operation == "mergeEntity" or how.simplified:
            members = parse_patch(raw, how).entity
        else:
            members = parse_entity(raw, context, fragment=True)
        if operation == "replaceEntity" and "type" not in members:
            raise BadRequestData("/: an entity must have 'type'")
    same_id(members, entity_id_of(request))


def check_attribute(operation: str, request: Request, raw: Any, context: Context) -> None:
    """Of an operation on one attribute. Raises BadRequestData, InvalidRequest."""
    parameters = request.query({"local", "type", "datasetId", "deleteAll"})
    for name in ("local", "deleteAll"):
        wire.boolean(parameters, name)
    types_of(parameters, context)
    try:
        if "instance" in request.params:
            check_uri(request.params["instance"])
            if operation == "updateAttrInstanceTemporal" and (not isinstance(raw, dict) or not raw):
                raise BadRequestData("/: a fragment must be a JSON object with members")
        elif operation == "updateAttrs":
            parse_attribute_patch(request.params["attr"], raw, How(context, deep=False))
        elif operation == "replaceAttrs":
            parse_attribute(request.params["attr"], raw, context)
    except Fault as fault:
        raise fault.problem() from None
