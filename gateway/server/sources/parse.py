"""Registrations as clients give them: checked, names expanded (CIM 009 clauses 5.2.9 to 5.2.11, 5.2.34, 4.20)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from drivers.http1 import HttpError, parse_url
from gateway.server.broker.geojson import check_geometry
from gateway.server.broker.model import NULL, time_us
from gateway.server.broker.names import Fault, check_no_null, check_uri, expand_checked
from gateway.server.broker.regex import Pattern
from gateway.server.broker.values import check_depth
from gateway.server.contexts import Context
from gateway.server.errors import BadRequestData
from gateway.server.sources import operations
from gateway.server.sources.model import EntityInfo, Information, Mode, Registration
from gateway.server.sources.record import GEOMETRIES, INTERVALS, Interval, Json, Record
from gateway.server.temporal.duration import parse_duration
from gateway.server.wire import TENANT

T = TypeVar("T")
TYPE = "ContextSourceRegistration"
READ_ONLY = frozenset(
    {"status", "timesSent", "timesFailed", "lastSuccess", "lastFailure", "createdAt", "modifiedAt", "@context"}
)
MODES: dict[str, Mode] = {
    "inclusive": "inclusive",
    "exclusive": "exclusive",
    "redirect": "redirect",
    "auxiliary": "auxiliary",
}
TEXTS = ("registrationName", "description", "contextSourceAlias", "hostAlias")
KNOWN = frozenset(
    {"id", "type", "endpoint", "information", "mode", "operations", "contextSourceInfo", "tenant", "scope", "datasetId"}
    | {"refreshRate", "expiresAt", "management", *TEXTS, *GEOMETRIES, *INTERVALS}
)
INFORMATION_KNOWN = frozenset({"entities", "propertyNames", "relationshipNames", "attributeNames"})
MANAGEMENT_KNOWN = frozenset({"localOnly", "cacheDuration", "timeout", "cooldown"})
SCOPE = re.compile(r"/?\w+(?:/\w+)*\Z")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,1024}\Z")
VERSION = re.compile(r"\d\.\d{1,2}(?:\.\d+)?\Z")
COPY = "urn:ngsi-ld:request"  # as in the request that is forwarded
LIST_MAX = 1_000
TEXT_MAX = 2_000
TIMEOUT_MS_MAX = 60_000


def patched(raw: Json, fragment: object, context: Context) -> Json:
    """A registration after PATCH: members replace members, the null marker removes one (clause 5.9.3)."""
    if not isinstance(fragment, dict) or not fragment:
        raise BadRequestData("the fragment must be a JSON object with members")
    if fragment.get("id", raw["id"]) != raw["id"]:
        raise BadRequestData("/id: it differs from the id in the path")
    result = dict(raw)
    for given, value in fragment.items():
        name = given if given in KNOWN or given in READ_ONLY else context.expand_name(given)
        if value == NULL:
            result.pop(name, None)
        elif name not in READ_ONLY:
            result[name] = value
    return result


def check_given(raw: Json) -> None:
    """What is refused where it is given, though it is read where it was kept before. Raises BadRequestData."""
    try:
        check_no_null(raw)
        if isinstance(raw.get("endpoint"), str):
            _under(_base, raw["endpoint"], "endpoint")
    except Fault as fault:
        raise fault.problem() from None


def parse_registration(tenant: str, raw: object, context: Context, now: str, *, again: bool = False) -> Record:
    """Check what a client gave; ``again``: it was accepted before, and may have expired since.

    Raises BadRequestData with a JSON pointer.
    """
    try:
        return _Reader(raw, context, time_us(now), again).record(tenant, now)
    except Fault as fault:
        raise fault.problem() from None


class _Reader:
    """Reads one registration; every refusal is a Fault with its path."""

    def __init__(self, raw: object, context: Context, now_us: int, again: bool) -> None:
        if not isinstance(raw, dict):
            raise Fault("a registration must be a JSON object")
        self._raw: Json = {name: value for name, value in raw.items() if name not in READ_ONLY}
        self._context = context
        self._now_us = now_us
        self._again = again

    def record(self, tenant: str, now: str) -> Record:
        """All of it."""
        raw = self._raw
        if raw.get("type") != TYPE:
            raise Fault(f'must be "{TYPE}"', "type")
        for name in TEXTS:
            if name in raw:
                _under(_text, raw[name], name)
        for name in GEOMETRIES:
            if name in raw:
                _under(_geometry, raw[name], name)
        if "refreshRate" in raw:
            _under(_duration, raw["refreshRate"], "refreshRate")
        information, kept_information = _under(self._information, raw.get("information"), "information")
        properties = self._properties()
        kept = {name: value for name, value in raw.items() if name in KNOWN and name != "type"}
        kept |= {"information": kept_information, **{name: part["value"] for name, part in properties.items()}}
        registration = self._registration(information)
        self._check_mode(registration)
        return Record(
            tenant=tenant,
            raw=kept,
            registration=registration,
            intervals={name: _under(_interval, raw[name], name) for name in INTERVALS if name in raw},
            scopes=_under(_scopes, raw.get("scope", []), "scope"),
            datasets=_under(_datasets, raw["datasetId"], "datasetId") if "datasetId" in raw else None,
            properties=properties,
            created=now,
            modified=now,
        )

    def _registration(self, information: tuple[Information, ...]) -> Registration:
        raw = self._raw
        mode = raw.get("mode", "inclusive")
        if not isinstance(mode, str) or mode not in MODES:
            raise Fault(f"must be one of {', '.join(MODES)}", "mode")
        default = "retrieveOps" if mode == "auxiliary" else operations.DEFAULT
        management = _under(_management, raw.get("management", {}), "management")
        alias = raw.get("contextSourceAlias", raw.get("hostAlias"))
        return Registration(
            id=_under(check_uri, raw.get("id"), "id"),
            endpoint=_under(_endpoint, raw.get("endpoint"), "endpoint"),
            information=information,
            mode=MODES[mode],
            operations=_under(_operations, raw.get("operations", [default]), "operations"),
            tenant=_under(_tenant, raw.get("tenant", ""), "tenant"),
            source_info=_under(_pairs, raw.get("contextSourceInfo", []), "contextSourceInfo"),
            host_alias=alias,
            expires_at=_under(self._expiry, raw["expiresAt"], "expiresAt") if "expiresAt" in raw else None,
            timeout_s=_milliseconds(management, "timeout"),
            cooldown_s=_milliseconds(management, "cooldown"),
            local_only=management.get("localOnly") is True,
        )

    def _check_mode(self, registration: Registration) -> None:
        """Clause 4.3.6.3 and following: what each mode may be about."""
        if registration.mode == "auxiliary" and not registration.operations <= operations.RETRIEVE:
            raise Fault("an auxiliary source is asked to retrieve and query only (retrieveOps)", "operations")
        if registration.mode != "exclusive":
            return
        for index, part in enumerate(registration.information):
            if not part.entities or any(entity.id is None for entity in part.entities):
                raise Fault("an exclusive source must name the ids of its entities", "information", index, "entities")
            if part.attributes is None:
                raise Fault("an exclusive source must name its attributes", "information", index)

    def _information(self, value: object) -> tuple[tuple[Information, ...], list[Json]]:
        pairs = [_under(self._part, part, index) for index, part in enumerate(_filled(value))]
        return tuple(information for information, _ in pairs), [kept for _, kept in pairs]

    def _part(self, value: object) -> tuple[Information, Json]:
        part = _object(value)
        for name in part:
            if name not in INFORMATION_KNOWN:
                raise Fault("a part of the information has no such member", name)
        if not part:
            raise Fault("must have entities, propertyNames or relationshipNames")
        kept: Json = {}
        entities: list[EntityInfo] = []
        if "entities" in part:
            pairs = _under(
                lambda given: [_under(self._entity, one, index) for index, one in enumerate(_filled(given))],
                part["entities"],
                "entities",
            )
            entities = [entity for entity, _ in pairs]
            kept["entities"] = [one for _, one in pairs]
        names: dict[str, list[str]] = {
            name: _under(self._names, part[name], name)
            for name in ("propertyNames", "relationshipNames", "attributeNames")
            if name in part
        }
        kept |= names
        either = names.get("attributeNames")
        properties = [*names.get("propertyNames", []), *(either or [])] if "propertyNames" in names or either else None
        relationships = names.get("relationshipNames")
        information = Information(
            tuple(entities),
            None if properties is None else frozenset(properties),
            None if relationships is None else frozenset(relationships),
        )
        return information, kept

    def _entity(self, value: object) -> tuple[EntityInfo, Json]:
        given = _object(value)
        for name in given:
            if name not in ("id", "idPattern", "type"):
                raise Fault("an entity of the information has no such member", name)
        named = given.get("type")
        several = [named] if isinstance(named, str) else _under(_filled, named, "type")
        types = [_under(lambda one: expand_checked(one, self._context), one, "type") for one in several]
        kept: Json = {"type": types[0] if isinstance(named, str) else types}
        entity_id = pattern = None
        if "id" in given:
            entity_id = kept["id"] = _under(check_uri, given["id"], "id")
        if "idPattern" in given:
            pattern = _under(_pattern, given["idPattern"], "idPattern")
            kept["idPattern"] = given["idPattern"]
        return EntityInfo(frozenset(types), entity_id, pattern), kept

    def _names(self, value: object) -> list[str]:
        return [
            _under(lambda one: expand_checked(one, self._context), name, index)
            for index, name in enumerate(_filled(value))
        ]

    def _properties(self) -> Json:
        """What the standard does not know: properties of the source, under their IRIs."""
        found: Json = {}
        for name, value in self._raw.items():
            if name in KNOWN:
                continue
            _under(check_depth, value, name)
            iri = _under(lambda given: expand_checked(given, self._context), name, name)
            found[iri] = {"type": "Property", "value": value}
        return found

    def _expiry(self, value: object) -> int:
        expires_us = _moment(value)
        if expires_us <= self._now_us and not self._again:
            raise Fault("must be a DateTime in the future")
        return expires_us


def _under(read: Callable[[Any], T], value: object, *path: str | int) -> T:
    try:
        return read(value)
    except Fault as fault:
        raise fault.under(*path) from None


def _object(value: object) -> Json:
    if not isinstance(value, dict):
        raise Fault("must be an object")
    return value


def _filled(value: object) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= LIST_MAX:
        raise Fault(f"must be a list of 1 to {LIST_MAX} elements")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_MAX:
        raise Fault(f"must be a text of 1 to {TEXT_MAX} characters")
    return value


def _endpoint(value: object) -> str:
    url = check_uri(value)
    if not url.startswith(("http://", "https://")):
        raise Fault("must be a URL of http or https")
    return url


def _base(url: str) -> None:
    """What paths are put behind: nothing may come after it."""
    if any(sign in url for sign in "?#"):
        raise Fault("must have neither query nor fragment: paths are put behind it")
    try:
        parse_url(url)
    except HttpError as error:
        raise Fault(str(error)) from None


def _geometry(value: object) -> None:
    try:
        check_geometry(value)
    except ValueError as error:
        raise Fault(str(error)) from None


def _duration(value: object) -> str:
    text = _text(value)
    try:
        parse_duration(text)
    except (ValueError, BadRequestData):
        raise Fault("must be a duration like PT5M (ISO 8601)") from None
    return text


def _moment(value: object) -> int:
    try:
        return time_us(_text(value))
    except ValueError as error:
        raise Fault(str(error)) from None


def _interval(value: object) -> Interval:
    given = _object(value)
    for name in given:
        if name not in ("startAt", "endAt"):
            raise Fault("an interval has startAt and endAt", name)
    start = _under(_moment, given.get("startAt"), "startAt")
    end = _under(_moment, given["endAt"], "endAt") if "endAt" in given else None
    if end is not None and end < start:
        raise Fault("ends before it starts", "endAt")
    return Interval(start, end)


def _scopes(value: object) -> tuple[str, ...]:
    scopes = [value] if isinstance(value, str) else value
    if not isinstance(scopes, list) or not all(isinstance(one, str) and SCOPE.match(one) for one in scopes):
        raise Fault("must be a scope like /city/centre, or a list of them")
    return tuple(one if one.startswith("/") else f"/{one}" for one in scopes)


def _datasets(value: object) -> frozenset[str]:
    given = [value] if isinstance(value, str) else _filled(value)
    return frozenset(one if one == "@none" else _under(check_uri, one) for one in given)


def _pattern(value: object) -> Pattern:
    try:
        return Pattern(_text(value))
    except (ValueError, BadRequestData) as error:
        raise Fault(str(error)) from None


def _operations(value: object) -> frozenset[str]:
    names = _filled(value)
    for index, name in enumerate(names):
        if not isinstance(name, str) or (name not in operations.OPERATIONS and name not in operations.GROUPS):
            raise Fault("is neither an operation nor a group of operations", index)
    return operations.expanded(names)


def _tenant(value: object) -> str:
    if not isinstance(value, str) or (value and not TENANT.match(value)):
        raise Fault("must be the name of a tenant: 1 to 256 visible ASCII characters")
    return value


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or len(value) > LIST_MAX:
        raise Fault(f"must be a list of at most {LIST_MAX} pairs of key and value")
    pairs = []
    for index, pair in enumerate(value):
        key, text = (pair.get("key"), pair.get("value")) if isinstance(pair, dict) else (None, None)
        if not isinstance(key, str) or not isinstance(text, str):
            raise Fault("must have key and value, both strings", index)
        if not HEADER_NAME.match(key) or not HEADER_VALUE.match(text):
            raise Fault(f"{key!r} cannot be set as a header", index)
        if text != COPY and key.lower() == "jsonldcontext" and not text.startswith(("http://", "https://")):
            raise Fault("must be the URL of a context", index)
        if text != COPY and key.lower() == "ngsildconformance" and not VERSION.match(text):
            raise Fault("must be a version such as 1.8", index)
        pairs.append((key, text))
    return tuple(pairs)


def _management(value: object) -> Json:
    given = _object(value)
    for name in given:
        if name not in MANAGEMENT_KNOWN:
            raise Fault("the management has no such member", name)
    if not isinstance(given.get("localOnly", False), bool):
        raise Fault("must be a boolean", "localOnly")
    if "cacheDuration" in given:
        _under(_duration, given["cacheDuration"], "cacheDuration")
    for name in ("timeout", "cooldown"):
        number = given.get(name, 1)
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < float("inf"):
            raise Fault("must be a number of milliseconds above 0", name)
    return given


def _milliseconds(management: Json, name: str) -> float | None:
    value = management.get(name)
    return None if value is None else min(float(value), TIMEOUT_MS_MAX) / 1000
