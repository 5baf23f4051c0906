"""A subscription in the words of a source, its notifications in those of our subscriber (clauses 5.8.1, 5.8.6)."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.server.broker.model import NULL, SYSTEM_MEMBERS, VALUE_MEMBERS
from gateway.server.broker.qlang import nothing_linked
from gateway.server.broker.query import Selector
from gateway.server.broker.represent import represent
from gateway.server.contexts import Context
from gateway.server.distributed.entities import received
from gateway.server.distributed.question import Question, Wish
from gateway.server.distributed.translate import renamed
from gateway.server.sources.registry import Match
from gateway.server.subscriptions.model import Json, Subscription
from gateway.server.subscriptions.notification import wanted

AS_IT_IS = ("isActive", "expiresAt", "timeInterval", "notificationTrigger", "datasetId")
CONDITIONS = ("q", "expandValues", "jsonKeys")


def wanted_names(subscription: Subscription) -> frozenset[str] | None:
    """The attributes that a source must have one of; None for any."""
    view = subscription.view
    picked = frozenset(name for name in view.pick.names if ":" in name) if view.pick is not None else frozenset()
    return (subscription.watched | view.attrs | picked) or None


def body_for(
    subscription: Subscription, remote: str, callback: str, found: list[tuple[Selector | None, Match]], target: Context
) -> Json:
    """The subscription for one source: its entities, its attributes, and the conditions that it can judge."""
    raw, source, names = subscription.raw, subscription.context, names_of(found)
    split = raw.get("splitEntities") is True
    body: dict[str, Any] = {"id": remote, "type": "Subscription"}
    body |= {name: raw[name] for name in AS_IT_IS if name in raw}
    words = Question(Wish({}), source, target, (), None)
    entities = [one for selector, match in found for one in _entities(words, selector, match, target)]
    if entities:
        body["entities"] = [orjson.loads(one) for one in dict.fromkeys(orjson.dumps(one) for one in entities)]
    if subscription.watched:
        watched = subscription.watched if names is None else subscription.watched & names
        body["watchedAttributes"] = _compacted(watched or subscription.watched, target)
    judged = not split
    if judged and "scopeQ" in raw:
        body["scopeQ"] = raw["scopeQ"]
    if judged and "geoQ" in raw:
        geo = dict(raw["geoQ"])
        if "geoproperty" in geo:
            geo["geoproperty"] = renamed(geo["geoproperty"], source, target)
        body["geoQ"] = geo
    if judged and source is target:
        body |= {name: raw[name] for name in CONDITIONS if name in raw}
    notification: dict[str, Any] = {"endpoint": {"uri": callback, "accept": "application/json"}, "format": "normalized"}
    shown = _shown(subscription, names)
    if shown and not split and ("q" not in raw or source is target):
        notification["attributes"] = _compacted(shown, target)
    if subscription.view.system:
        notification["sysAttrs"] = True
    return body | {"notification": notification}


def names_of(found: list[tuple[Selector | None, Match]]) -> frozenset[str] | None:
    """The attributes that a source answers for; None for all."""
    names: set[str] = set()
    for _, match in found:
        if match.attributes is None:
            return None
        names |= match.attributes
    return frozenset(names)


def read(raw: Any, context: Context) -> tuple[Json | None, frozenset[str]]:
    """An entity of a notification in stored form, and the attributes (IRIs) that are said to be deleted.

    Raises BadRequestData for what is no entity.
    """
    if not isinstance(raw, dict):
        return received(raw, context), frozenset()
    if "deletedAt" in raw:
        entity = received({name: raw[name] for name in ("id", "type") if name in raw}, context)
        return None if entity is None else {**entity, "deletedAt": raw["deletedAt"]}, frozenset()
    gone = {name for name, value in raw.items() if _is_gone(value)}
    entity = received({name: value for name, value in raw.items() if name not in gone} if gone else raw, context)
    return entity, frozenset(context.expand_name(name) for name in gone)


def shown_of(subscription: Subscription, entity: Json, gone: frozenset[str], *, judge_q: bool, judge: bool) -> Json:
    """An entity as the subscriber wants it; empty where it is none that was asked for.

    ``judge_q``: the source could not judge ``q``; ``judge``: nor any other condition.
    """
    view, conditions = subscription.view, subscription.conditions
    if subscription.selectors and not any(selector.matches(entity) for selector in subscription.selectors):
        return {}
    if "deletedAt" in entity:
        return {
            "id": entity["id"],
            "type": view.context.compact_names(entity["type"]),
            "deletedAt": entity["deletedAt"],
        }
    if (judge_q and conditions.q is not None and not conditions.q.matches(entity, nothing_linked)) or (
        judge and not conditions.match(entity)
    ):
        return {}
    shown = represent(entity, view)
    holder = shown.get("properties", shown) if view.geometry is not None else shown
    for iri in gone:
        if wanted(iri, view):
            holder[view.context.compact_name(iri)] = NULL
    return shown


def _entities(words: Question, selector: Selector | None, match: Match, target: Context) -> list[Json]:
    """EntitySelectors, narrowed to what the source has."""
    ids = match.ids or (selector.ids if selector is not None else ())
    if selector is None or selector.types is None:
        types = [target.compact_name(iri) for iri in sorted(match.types)]
        pattern = selector.id_pattern if selector is not None else None
        base: list[Json] = [{"type": name} for name in types]
    else:
        pattern, base = selector.id_pattern, [{"type": words.selector(Selector(selector.types))["type"]}]
    if ids:
        return [{**one, "id": entity_id} for one in base for entity_id in ids]
    return [{**one, "idPattern": pattern.text} for one in base] if pattern is not None else base


def _shown(subscription: Subscription, names: frozenset[str] | None) -> frozenset[str]:
    """What the source is to send: empty for all that it has."""
    view = subscription.view
    asked = view.attrs
    if not asked and view.pick is not None:
        asked = frozenset(name for name in view.pick.names if ":" in name)
    if names is None:
        return asked
    return (asked & names) or names


def _compacted(names: frozenset[str], target: Context) -> list[str]:
    return sorted(target.compact_name(name) for name in names)


def _is_gone(value: Any) -> bool:
    """Whether an attribute of a notification only says that it was deleted."""
    if value == NULL:
        return True
    if not isinstance(value, dict):
        return False
    said = [part for name, part in value.items() if name in VALUE_MEMBERS.values() and name not in SYSTEM_MEMBERS]
    return any(part in (NULL, {"@none": NULL}) for part in said)
