"""Readings to NGSI-LD entities (normalized form) and the count of readings in an entity.

One entity object per device and instant, in the order of the readings. Members that never change (name, place,
location, type of phase ...) ride on the first object of each entity in a call, so a batch carries them once; the date
of the entity as a whole (``dateObserved``) rides on the last one: it is the present that it speaks of.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from drivers.base import Position, Quality, Reading
from gateway.mapping.tables import MODELS, Target, target

Json = dict[str, object]
GATEWAY = "gateway"
RUN = "/run"  # <meter>/<appliance>/run: the runs of an appliance, an entity of their own
_QUALITY = {Quality.SUSPECT: "suspect", Quality.BAD: "bad"}


@dataclass(frozen=True, slots=True)
class Profile:
    """What the mapping must know of a device. ``constant`` are further members that never change.

    ``moves``: only the device itself says where it is; the place of the site is not claimed for it. ``refers``:
    relationships to other entities, by name.
    """

    data_model: str
    latitude: float
    longitude: float
    place: str = ""
    constant: Mapping[str, object] = field(default_factory=dict)
    moves: bool = False
    refers: Mapping[str, str] = field(default_factory=dict)


def entity_id(site: str, device: str, data_model: str) -> str:
    """``urn:ngsi-ld:<Type>:<site>:<device>``; an appliance's name ``meter/kettle`` becomes ``meter:kettle``."""
    return f"urn:ngsi-ld:{data_model}:{site}:{device.replace('/', ':')}"


def iso(ns: int) -> str:
    """UTC with six fractional digits and Z (CIM 009, 4.6.3); digits below a microsecond are cut."""
    seconds, micros = divmod(ns // 1000, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{micros:06d}Z"


class Mapper:
    """Maps the readings of one site. ``profiles`` by device name, the gateway's own (``GATEWAY``) among them.

    An appliance inherits from its meter.
    """

    def __init__(self, site: str, profiles: Mapping[str, Profile]) -> None:
        self._site = site
        self._profiles = dict(profiles)

    @property
    def site(self) -> str:
        """The site that the entities belong to."""
        return self._site

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """What is known of the devices."""
        return self._profiles

    def learn(self, profiles: Mapping[str, Profile]) -> None:
        """Take the profiles of a new configuration; those of removed devices stay for what is still in the outbox."""
        self._profiles |= profiles

    def entities(self, readings: Sequence[Reading], *, history: bool = False) -> list[Json]:
        """Entities in the order of the readings. ``history``: they are old, so nothing is said of the present.

        A device that is no longer configured, but whose readings still wait, goes out as a plain Device.
        """
        made: list[Json] = []
        introduced: set[str] = set()
        dated: dict[str, tuple[Json, str]] = {}
        for (device, observed_ns), group in groupby(readings, key=lambda r: (r.device, r.observed_ns)):
            profile = self._profile(device)
            entity: Json = {
                "id": entity_id(self._site, device, profile.data_model),
                "type": profile.data_model,
                "@context": MODELS[profile.data_model].context,
            }
            if device not in introduced:
                introduced.add(device)
                entity |= _constants(device, profile)
            observed_at = iso(observed_ns)
            entity |= _attributes(profile.data_model, group, observed_at)
            made.append(entity)
            if MODELS[profile.data_model].dated and (device not in dated or dated[device][1] <= observed_at):
                dated[device] = entity, observed_at
        for entity, observed_at in () if history else dated.values():
            entity["dateObserved"] = _property({"@type": "DateTime", "@value": observed_at})
        return made

    def _profile(self, device: str) -> Profile:
        known = self._profiles.get(device)
        if known is None:
            meter, slash, appliance = device.partition("/")
            origin = self._profiles.get(meter, self._profiles[GATEWAY])
            if slash and device.endswith(RUN):
                own = entity_id(self._site, device.removesuffix(RUN), "ACMeasurement")
                place = origin.latitude, origin.longitude, origin.place
                named = {"applianceType": appliance.removesuffix(RUN)}
                known = Profile("ApplianceRun", *place, named, refers={"refDevice": own})
            elif slash:
                constant = {"applianceType": appliance, "disaggregated": True}
                known = Profile("ACMeasurement", origin.latitude, origin.longitude, origin.place, constant)
            else:
                known = Profile("Device", origin.latitude, origin.longitude, "", {"controlledProperty": ["power"]})
            self._profiles[device] = known
        return known


def count_readings(entity: Mapping[str, object]) -> int:
    """How many readings an entity as made by :class:`Mapper` carries: a structured value counts each member."""
    total = 0
    for attribute in entity.values():
        instances = attribute if isinstance(attribute, list) else [attribute]
        for instance in instances:
            if isinstance(instance, dict) and "observedAt" in instance:
                value = instance.get("value")
                total += len(value) if isinstance(value, dict) and instance.get("type") != "GeoProperty" else 1
    return total


def _constants(device: str, profile: Profile) -> Json:
    members: Json = {"name": _property(device)}
    if profile.place:
        members["description"] = _property(profile.place)
    if not profile.moves:
        coordinates = [profile.longitude, profile.latitude]
        members["location"] = {"type": "GeoProperty", "value": {"type": "Point", "coordinates": coordinates}}
    constants = {**MODELS[profile.data_model].constant, **profile.constant}
    members |= {name: {"type": "Relationship", "object": other} for name, other in profile.refers.items()}
    return members | {name: _property(value) for name, value in constants.items()}


def _attributes(model: str, readings: Iterable[Reading], observed_at: str) -> Json:
    members: Json = {}
    for reading in readings:
        place = target(model, reading.quantity)
        if isinstance(reading.value, Position):
            members[place.attribute] = _position(reading.value, observed_at)
            continue
        attribute = members.get(place.attribute)
        if attribute is None or place.key is None:
            attribute = members[place.attribute] = {"type": "Property", "value": {}, "observedAt": observed_at}
            if place.unit_code != "C62":
                attribute["unitCode"] = place.unit_code
        assert isinstance(attribute, dict)
        _put(attribute, place, reading)
    return members


def _put(attribute: Json, place: Target, reading: Reading) -> None:
    value: object = reading.value
    if place.factor != 1.0 and isinstance(value, float | int):
        value = round(value * place.factor, 9)
    if place.key is None:
        attribute["value"] = value
    else:
        structured = attribute["value"]
        assert isinstance(structured, dict)
        structured[place.key] = value
    if reading.quality is not Quality.GOOD:
        attribute["quality"] = _property(_QUALITY[reading.quality])
        attribute["qualityReason"] = _property(reading.reason.value)


def _property(value: object) -> Json:
    return {"type": "Property", "value": value}


def _position(value: Position, observed_at: str) -> Json:
    coordinates = [value.longitude, value.latitude]
    if value.altitude is not None:
        coordinates.append(value.altitude)
    return {"type": "GeoProperty", "value": {"type": "Point", "coordinates": coordinates}, "observedAt": observed_at}
