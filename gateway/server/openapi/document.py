"""The document, made of the table of operations (OpenAPI 3.1.0)."""

from __future__ import annotations

import re
from typing import Any

from gateway import __version__
from gateway.server.openapi.operations import TAGS, Operation

Json = dict[str, Any]
PROBLEMS = {
    "400": "The request breaks a rule",
    "401": "No valid token came with it",
    "403": "Too complex, too much, or not allowed",
    "404": "There is no such thing",
    "405": "The method is not offered here",
    "406": "No such representation",
    "408": "The body took too long",
    "409": "It exists already, or conflicts",
    "411": "A body needs Content-Length",
    "413": "The body is too large",
    "414": "The query is too long",
    "415": "The media type is not known",
    "422": "Not offered by this version",
    "500": "A defect",
    "502": "A source of context failed",
    "503": "Too much waits: later",
    "504": "A source, or a @context, is not available",
    "507": "The disk is full",
    "508": "The request went in a circle of sources",
}
NUMBERS = {"limit": (0, 1000), "offset": (0, None), "lastN": (1, None), "joinLevel": (1, None)}
FLAGS = frozenset({"count", "local", "details", "reload", "deleteAll", "splitEntities", "entityMap"})
CHOICES = {
    "timerel": ["before", "after", "between"],
    "join": ["flat", "inline", "@none"],
    "state": ["waiting", "dead"],
    "kind": ["Hosted", "Cached", "ImplicitlyCreated"],
    "timeproperty": ["observedAt", "createdAt", "modifiedAt", "deletedAt"],
}
SCHEMAS: Json = {
    "Entity": {
        "type": "object",
        "required": ["type"],
        "properties": {
            "id": {"type": "string", "format": "uri"},
            "type": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
            "scope": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            "location": {"$ref": "#/components/schemas/GeoProperty"},
        },
        "additionalProperties": True,
    },
    "GeoProperty": {"type": "object", "description": "Or a geometry of GeoJSON, in the concise form."},
    "Entities": {
        "oneOf": [
            {"$ref": "#/components/schemas/EntityList"},
            {"type": "object", "description": "A FeatureCollection of GeoJSON."},
        ]
    },
    "EntityList": {"type": "array", "items": {"$ref": "#/components/schemas/Entity"}},
    "Fragment": {"type": "object", "additionalProperties": True},
    "Ids": {"type": "array", "items": {"type": "string", "format": "uri"}},
    "Query": {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"const": "Query"}, "entities": {"type": "array"}, "q": {"type": "string"}},
        "additionalProperties": True,
    },
    "Subscription": {
        "type": "object",
        "required": ["type", "notification"],
        "properties": {"type": {"const": "Subscription"}, "notification": {"type": "object"}},
        "additionalProperties": True,
    },
    "Snapshot": {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"const": "Snapshot"}, "snapshotQueries": {"type": "array"}},
        "additionalProperties": True,
    },
    "SubscriptionList": {"type": "array", "items": {"$ref": "#/components/schemas/Subscription"}},
    "Registration": {
        "type": "object",
        "required": ["type", "endpoint", "information"],
        "properties": {
            "type": {"const": "ContextSourceRegistration"},
            "endpoint": {"type": "string", "format": "uri"},
            "information": {"type": "array", "minItems": 1},
            "mode": {"enum": ["inclusive", "exclusive", "redirect", "auxiliary"]},
        },
        "additionalProperties": True,
    },
    "RegistrationList": {"type": "array", "items": {"$ref": "#/components/schemas/Registration"}},
    "Context": {"type": "object", "required": ["@context"], "properties": {"@context": {}}},
    "BatchResult": {
        "type": "object",
        "properties": {"success": {"type": "array", "items": {"type": "string"}}, "errors": {"type": "array"}},
    },
    "UpdateResult": {
        "type": "object",
        "properties": {"updated": {"type": "array", "items": {"type": "string"}}, "notUpdated": {"type": "array"}},
    },
    "Found": {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]},
    "Object": {"type": "object", "additionalProperties": True},
    "List": {"type": "array"},
    "Text": {"type": "string"},
    "Binary": {"type": "string", "format": "binary"},
    "Problem": {
        "type": "object",
        "description": "RFC 7807, with the code and the remedy of this server.",
        "required": ["type", "title", "detail", "status", "code", "fix"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string"},
            "fix": {"type": "string"},
        },
    },
}


def document() -> Json:
    """The whole of it, as JSON."""
    paths: Json = {}
    for tag, operations in TAGS.items():
        for key, operation in operations.items():
            method, path = key.split(" ")
            paths.setdefault(path, {})[method.lower()] = _operation(tag, method, path, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lamppost server",
            "version": __version__,
            "description": "NGSI-LD (ETSI GS CIM 009 v1.9.1) and the interfaces of Lamppost itself.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}, {}],
        "tags": [{"name": tag} for tag in TAGS],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {status: _problem(text) for status, text in PROBLEMS.items()},
        },
    }


def _operation(tag: str, method: str, path: str, operation: Operation) -> Json:
    words = re.sub(r"[^A-Za-z]+", " ", path.removeprefix("/ngsi-ld/v1")).title().replace(" ", "")
    made: Json = {
        "operationId": method.lower() + words,
        "tags": [tag],
        "summary": operation.summary,
        "parameters": [
            *(_in_path(name) for name in re.findall(r"{(\w+)}", path)),
            *(_in_query(name) for name in sorted(operation.parameters)),
        ],
        "responses": {
            **{str(status): _answer(schema, operation) for status, schema in operation.answers.items()},
            **{status: {"$ref": f"#/components/responses/{status}"} for status in PROBLEMS},
        },
    }
    if operation.body is not None:
        schema = {"$ref": f"#/components/schemas/{operation.body.schema}"}
        made["requestBody"] = {
            "required": True,
            "content": {media: {"schema": schema} for media in operation.body.media},
        }
    return made


def _in_path(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _in_query(name: str) -> Json:
    schema: Json = {"type": "string"}
    if name in NUMBERS:
        low, high = NUMBERS[name]
        schema = {"type": "integer", "minimum": low} | ({} if high is None else {"maximum": high})
    elif name in FLAGS:
        schema = {"type": "boolean"}
    elif name in CHOICES:
        schema = {"enum": CHOICES[name]}
    return {"name": name, "in": "query", "schema": schema}


def _answer(schema: str | None, operation: Operation) -> Json:
    if schema is None:
        return {"description": "Done" if 304 not in operation.answers else "As before"}
    return {
        "description": schema,
        "content": {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for media in operation.media},
    }


def _problem(text: str) -> Json:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}
