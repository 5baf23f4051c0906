"""What each route is for: summary, parameters, body and answers. A test holds it against the routes themselves."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.server.broker.asked import CONDITIONS, QUERY_PARAMETERS, RETRIEVE_PARAMETERS
from gateway.server.broker.discovery_routes import PARAMETERS as DISCOVERY
from gateway.server.broker.entity_routes import PURGE_PARAMETERS
from gateway.server.broker.query_routes import BODY_PARAMETERS
from gateway.server.broker.writing import MERGE_PARAMETERS
from gateway.server.sources.discovery import PARAMETERS as SOURCES
from gateway.server.temporal.ask import PARAMETERS as TEMPORAL
from gateway.server.temporal.routes import BODY_PARAMETERS as TEMPORAL_BODY
from gateway.server.temporal.routes import QUERY_PARAMETERS as TEMPORAL_QUERY
from gateway.server.wire import ROOT

JSON_LD = ("application/json", "application/ld+json")
MERGE_PATCH = (*JSON_LD, "application/merge-patch+json")
LOCAL = frozenset({"local"})
TYPED = LOCAL | {"type"}
PAGES = frozenset({"limit", "offset", "count"})
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Body:
    """Of a request: the name of its schema, and the media types that are read."""

    schema: str
    media: tuple[str, ...] = JSON_LD


@dataclass(frozen=True, slots=True)
class Operation:
    """``answers``: schema by status, None for no body. ``media``: of answers with a body."""

    summary: str
    answers: dict[int, str | None]
    parameters: frozenset[str] = NOTHING
    body: Body | None = None
    media: tuple[str, ...] = JSON_LD


def _ngsi(method: str, path: str) -> str:
    return f"{method} {ROOT}{path}"


ENTITIES = {
    _ngsi("POST", "/entities"): Operation("Create an entity", {201: None, 207: "BatchResult"}, LOCAL, Body("Entity")),
    _ngsi("GET", "/entities"): Operation(
        "Query entities", {200: "Entities"}, QUERY_PARAMETERS, media=(*JSON_LD, "application/geo+json")
    ),
    _ngsi("DELETE", "/entities"): Operation("Purge entities", {204: None, 207: "BatchResult"}, PURGE_PARAMETERS),
    _ngsi("GET", "/entities/{id}"): Operation(
        "Retrieve an entity", {200: "Entity"}, RETRIEVE_PARAMETERS, media=(*JSON_LD, "application/geo+json")
    ),
    _ngsi("PUT", "/entities/{id}"): Operation(
        "Replace an entity", {204: None, 207: "UpdateResult"}, TYPED | {"options", "format"}, Body("Fragment")
    ),
    _ngsi("PATCH", "/entities/{id}"): Operation(
        "Merge into an entity",
        {204: None, 207: "UpdateResult"},
        MERGE_PARAMETERS | {"type"},
        Body("Fragment", MERGE_PATCH),
    ),
    _ngsi("DELETE", "/entities/{id}"): Operation("Delete an entity", {204: None, 207: "BatchResult"}, TYPED),
    _ngsi("POST", "/entities/{id}/attrs"): Operation(
        "Append attributes", {204: None, 207: "UpdateResult"}, TYPED | {"options"}, Body("Fragment")
    ),
    _ngsi("PATCH", "/entities/{id}/attrs"): Operation(
        "Update attributes", {204: None, 207: "UpdateResult"}, TYPED, Body("Fragment", MERGE_PATCH)
    ),
    _ngsi("PATCH", "/entities/{id}/attrs/{attr}"): Operation(
        "Update part of an attribute", {204: None, 207: "UpdateResult"}, TYPED, Body("Fragment", MERGE_PATCH)
    ),
    _ngsi("PUT", "/entities/{id}/attrs/{attr}"): Operation(
        "Replace an attribute", {204: None, 207: "UpdateResult"}, TYPED, Body("Fragment")
    ),
    _ngsi("DELETE", "/entities/{id}/attrs/{attr}"): Operation(
        "Delete an attribute", {204: None, 207: "UpdateResult"}, TYPED | {"datasetId", "deleteAll"}
    ),
}
BATCHES = {
    _ngsi("POST", "/entityOperations/create"): Operation(
        "Create entities", {201: "Ids", 207: "BatchResult"}, LOCAL, Body("EntityList"), JSON_LD[:1]
    ),
    _ngsi("POST", "/entityOperations/upsert"): Operation(
        "Create or change entities",
        {201: "Ids", 204: None, 207: "BatchResult"},
        LOCAL | {"options"},
        Body("EntityList"),
        JSON_LD[:1],
    ),
    _ngsi("POST", "/entityOperations/update"): Operation(
        "Change entities", {204: None, 207: "BatchResult"}, LOCAL | {"options"}, Body("EntityList"), JSON_LD[:1]
    ),
    _ngsi("POST", "/entityOperations/merge"): Operation(
        "Merge into entities", {204: None, 207: "BatchResult"}, MERGE_PARAMETERS, Body("EntityList"), JSON_LD[:1]
    ),
    _ngsi("POST", "/entityOperations/delete"): Operation(
        "Delete entities", {204: None, 207: "BatchResult"}, LOCAL, Body("Ids"), JSON_LD[:1]
    ),
    _ngsi("POST", "/entityOperations/query"): Operation(
        "Query entities", {200: "Entities"}, BODY_PARAMETERS, Body("Query"), (*JSON_LD, "application/geo+json")
    ),
}
DISCOVERED = {
    _ngsi("GET", "/types"): Operation("Types in use", {200: "Found"}, DISCOVERY),
    _ngsi("GET", "/types/{name}"): Operation("One type", {200: "Object"}, LOCAL),
    _ngsi("GET", "/attributes"): Operation("Attributes in use", {200: "Found"}, DISCOVERY),
    _ngsi("GET", "/attributes/{name}"): Operation("One attribute", {200: "Object"}, LOCAL),
}
HISTORY = {
    _ngsi("POST", "/temporal/entities"): Operation(
        "Add history of an entity", {201: None, 204: None, 207: "BatchResult"}, LOCAL, Body("Entity")
    ),
    _ngsi("GET", "/temporal/entities"): Operation(
        "Query history", {200: "EntityList", 206: "EntityList"}, TEMPORAL_QUERY
    ),
    _ngsi("POST", "/temporal/entityOperations/query"): Operation(
        "Query history", {200: "EntityList", 206: "EntityList"}, TEMPORAL_BODY, Body("Query")
    ),
    _ngsi("GET", "/temporal/entities/{id}"): Operation(
        "History of an entity", {200: "Entity", 206: "Entity"}, TEMPORAL | {"type"}
    ),
    _ngsi("DELETE", "/temporal/entities/{id}"): Operation("Delete history", {204: None, 207: "BatchResult"}, LOCAL),
    _ngsi("POST", "/temporal/entities/{id}/attrs"): Operation(
        "Add history of attributes", {204: None, 207: "UpdateResult"}, LOCAL, Body("Fragment")
    ),
    _ngsi("DELETE", "/temporal/entities/{id}/attrs/{attr}"): Operation(
        "Delete history of an attribute", {204: None, 207: "UpdateResult"}, LOCAL | {"datasetId", "deleteAll"}
    ),
    _ngsi("PATCH", "/temporal/entities/{id}/attrs/{attr}/{instance}"): Operation(
        "Change an instance", {204: None}, LOCAL, Body("Fragment", MERGE_PATCH)
    ),
    _ngsi("DELETE", "/temporal/entities/{id}/attrs/{attr}/{instance}"): Operation(
        "Delete an instance", {204: None}, LOCAL
    ),
}
MAPS = {
    _ngsi("GET", "/entityMaps"): Operation("Make an entity map of a query", {201: "Object"}, CONDITIONS | {"local"}),
    _ngsi("POST", "/entityMaps"): Operation("Make an entity map of a query", {201: "Object"}, NOTHING, Body("Query")),
    _ngsi("GET", "/temporal/entityMaps"): Operation(
        "Make an entity map of a query of history", {201: "Object"}, CONDITIONS | {"local", "timerel", "timeAt"}
    ),
    _ngsi("POST", "/temporal/entityMaps"): Operation(
        "Make an entity map of a query of history", {201: "Object"}, NOTHING, Body("Query")
    ),
    _ngsi("GET", "/entityMaps/{id}"): Operation("An entity map", {200: "Object"}),
    _ngsi("PATCH", "/entityMaps/{id}"): Operation("When it ends", {204: None}, NOTHING, Body("Object", MERGE_PATCH)),
    _ngsi("DELETE", "/entityMaps/{id}"): Operation("Delete an entity map", {204: None}),
}


SNAPSHOTS = {
    _ngsi("POST", "/snapshots"): Operation("Make a snapshot", {201: None}, NOTHING, Body("Snapshot")),
    _ngsi("DELETE", "/snapshots"): Operation("Delete the snapshots that q means", {204: None}, frozenset({"q"})),
    _ngsi("GET", "/snapshots/{id}"): Operation("A snapshot", {200: "Snapshot"}),
    _ngsi("PATCH", "/snapshots/{id}"): Operation(
        "Change a snapshot", {204: None}, NOTHING, Body("Object", MERGE_PATCH)
    ),
    _ngsi("DELETE", "/snapshots/{id}"): Operation("Delete a snapshot", {204: None}),
    _ngsi("POST", "/snapshots/{id}/clone"): Operation("Clone a snapshot", {201: None}, NOTHING, Body("Object")),
}


def _managed(path: str, one: str, several: str, schema: str, found: frozenset[str]) -> dict[str, Operation]:
    """Create, list, retrieve, change, delete."""
    collection, single = f"/{path}", f"/{path}/{{id}}"
    return {
        _ngsi("POST", collection): Operation(f"Create {one}", {201: None}, LOCAL, Body(schema)),
        _ngsi("GET", collection): Operation(several, {200: f"{schema}List"}, found),
        _ngsi("GET", single): Operation(f"Retrieve {one}", {200: schema}, frozenset({"options"})),
        _ngsi("PATCH", single): Operation(f"Change {one}", {204: None}, NOTHING, Body("Object", MERGE_PATCH)),
        _ngsi("DELETE", single): Operation(f"Delete {one}", {204: None}),
    }


SUBSCRIPTIONS = {
    "POST /api/forwarded/{token}": Operation(
        "Notify of a forwarded subscription", {204: None}, NOTHING, Body("Object")
    ),
    **_managed("subscriptions", "a subscription", "Subscriptions", "Subscription", PAGES | {"options"}),
    "GET /api/subscriptions/{id}/notifications": Operation(
        "What waits, or was given up", {200: "Object"}, frozenset({"state", "limit"}), media=JSON_LD[:1]
    ),
    "POST /api/subscriptions/{id}/redeliver": Operation(
        "Send dead letters again", {200: "Object"}, NOTHING, Body("Object", ("application/json",)), JSON_LD[:1]
    ),
}
CONTEXT_SOURCES = {
    **_managed("csourceRegistrations", "a registration", "Registrations that match", "Registration", SOURCES),
    **_managed(
        "csourceSubscriptions",
        "a subscription to registrations",
        "Subscriptions to registrations",
        "Subscription",
        PAGES | {"options"},
    ),
    _ngsi("GET", "/info/sourceIdentity"): Operation("What this server says of itself", {200: "Object"}),
}
CONTEXTS = {
    _ngsi("POST", "/jsonldContexts"): Operation("Host a @context", {201: None}, NOTHING, Body("Context")),
    _ngsi("GET", "/jsonldContexts"): Operation(
        "Contexts that are kept", {200: "List"}, PAGES | {"details", "kind"}, media=JSON_LD[:1]
    ),
    _ngsi("GET", "/jsonldContexts/{id}"): Operation("A @context", {200: "Object"}, frozenset({"details"})),
    _ngsi("DELETE", "/jsonldContexts/{id}"): Operation("Delete or reload it", {204: None}, frozenset({"reload"})),
}
CBOR, JOSE = ("application/cbor",), ("application/jose",)
GATEWAY = "/lamppost/v1/gateways/{gateway}"
OWN = {
    "GET /api/quality": Operation(
        "Quality of data", {200: "List"}, PAGES - {"count"} | {"id", "type", "attrs"}, media=JSON_LD[:1]
    ),
    "POST /lamppost/v1/batches": Operation("A compact batch", {200: "Binary"}, NOTHING, Body("Binary", CBOR), CBOR),
    f"PUT {GATEWAY}/profiles/{{hash}}": Operation("What a gateway has", {204: None}, NOTHING, Body("Binary", CBOR)),
    f"GET {GATEWAY}/streams": Operation("What was received of a gateway", {200: "Binary"}, media=CBOR),
    f"GET {GATEWAY}/model": Operation("The gateway's model", {200: "Binary", 304: None}, media=JOSE),
    f"PUT {GATEWAY}/model": Operation("Publish a model", {204: None}, NOTHING, Body("Binary", JOSE)),
    "GET /api/time": Operation("The time of the server", {200: "Object"}, media=JSON_LD[:1]),
    "GET /healthz": Operation("Whether it works", {200: "Object"}, media=JSON_LD[:1]),
    "GET /metrics": Operation("Prometheus metrics", {200: "Text"}, media=("text/plain",)),
    "GET /openapi.json": Operation("This document", {200: "Object"}, media=JSON_LD[:1]),
}
TAGS: dict[str, dict[str, Operation]] = {
    "Entities": ENTITIES,
    "Batches": BATCHES,
    "Types and attributes": DISCOVERED,
    "History": HISTORY,
    "Entity maps": MAPS,
    "Snapshots": SNAPSHOTS,
    "Subscriptions": SUBSCRIPTIONS,
    "Context sources": CONTEXT_SOURCES,
    "Contexts": CONTEXTS,
    "Lamppost": OWN,
}
