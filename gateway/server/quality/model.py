"""What is known of the quality of series, as counters that each new sample moves on. Pure: no clock, no storage.

The usual time between samples (a step) is estimated from those that come in order; half a step more than that without
a sample is a gap: at least one is missing. Several such distances in a row are no gaps but another step. A sample that
comes late and falls into a gap splits it; one that falls anywhere else was there before, or is more than the usual: it
counts as repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any

from gateway.server.storage.base import Sample

GAPS_MAX = 32  # open gaps that are known one by one
UNITS_MAX = 4  # different units of one attribute that are remembered
OTHER_STEP = 4  # so many distances in a row that are too long are the step from now on
LEARNING = 8  # a new distance between samples moves the usual one by this part of the difference
UNIT = b'"unitCode":"'


@dataclass(slots=True)
class Track:
    """Times of samples. ``samples`` are those with a time of their own; ``gaps`` are [from, to], in order.

    ``past_gaps`` and ``past_missing``: of gaps that are too many to be known one by one.
    """

    first_us: int
    last_us: int
    samples: int = 1
    late: int = 0
    repeated: int = 0
    step_us: int = 0
    gaps: list[list[int]] = field(default_factory=list)
    past_gaps: int = 0
    past_missing: int = 0
    streak: int = 0

    def take(self, at_us: int) -> None:
        """One more sample."""
        distance = at_us - self.last_us
        if distance <= 0 or at_us < self.first_us:
            self._take_late(at_us)
            return
        self.last_us = at_us
        self.samples += 1
        step = self.step_us
        if self._is_gap(distance):
            self._take_gap(at_us - distance, at_us)
            return
        self.streak = 0
        self.step_us = distance if 3 * distance < step or not step else step + (distance - step) // LEARNING

    def missing(self) -> int:
        """How many samples the gaps would have held."""
        return self.past_missing + sum(self._held(gap) for gap in self.gaps)

    def completeness(self) -> float:
        """The share of the samples that should be there: 1 where there are no gaps."""
        return self.samples / (self.samples + self.missing())

    def _take_late(self, at_us: int) -> None:
        if at_us < self.first_us:
            if self._is_gap(self.first_us - at_us):
                self.gaps.insert(0, [at_us, self.first_us])
            self.first_us = at_us
        else:
            inside = next((n for n, gap in enumerate(self.gaps) if gap[0] < at_us < gap[1]), None)
            if inside is None:
                self.repeated += 1
                return
            start, end = self.gaps[inside]
            parts = [[start, at_us], [at_us, end]]
            self.gaps[inside : inside + 1] = [p for p in parts if self._is_gap(p[1] - p[0])]
        self.late += 1
        self.samples += 1
        self._bound()

    def _is_gap(self, distance: int) -> bool:
        return bool(self.step_us) and 2 * distance > 3 * self.step_us

    def _take_gap(self, start_us: int, end_us: int) -> None:
        self.streak += 1
        self.gaps.append([start_us, end_us])
        if self.streak == OTHER_STEP:
            self.step_us = min(end - start for start, end in self.gaps[-OTHER_STEP:])
            del self.gaps[-OTHER_STEP:]
            self.streak = 0
        self._bound()

    def _bound(self) -> None:
        while len(self.gaps) > GAPS_MAX:
            self.past_missing += self._held(self.gaps.pop(0))
            self.past_gaps += 1

    def _held(self, gap: Sequence[int]) -> int:
        return max(round((gap[1] - gap[0]) / self.step_us) - 1, 0) if self.step_us else 0


MEMBERS = tuple(each.name for each in fields(Track))


class State:
    """Of one entity: attributes that always came together share one track."""

    __slots__ = ("_names", "tokens", "tracks", "units")

    def __init__(self) -> None:
        self.tracks: dict[str, Track] = {}
        self.units: dict[str, list[str]] = {}
        self.tokens: dict[str, bytes] = {}  # what an instance of the known unit has in it
        self._names: tuple[str, ...] = ()  # these share one track

    def take(self, samples: Sequence[Sample]) -> None:
        """Samples in the order in which they arrived; only what was observed, of the default dataset, counts."""
        names: list[str] = []
        at_us = 0
        tokens = self.tokens
        for name, dataset, moment, instance, mark, _, _, _ in samples:
            if mark != "observed" or dataset:
                continue
            token = tokens.get(name)
            if token is None or (token not in instance if token else UNIT in instance):
                self._take_unit(name, instance)
            if moment != at_us or name in names:
                if names:
                    self._take_time(tuple(names), at_us)
                    names = []
                at_us = moment
            names.append(name)
        if names:
            self._take_time(tuple(names), at_us)

    def _take_time(self, names: tuple[str, ...], at_us: int) -> None:
        if names == self._names:
            self.tracks[names[0]].take(at_us)
            return
        known = {name: self.tracks[name] for name in names if name in self.tracks}
        for track in {id(track): track for track in known.values()}.values():
            together = [name for name, each in known.items() if each is track]
            if len(together) < sum(1 for each in self.tracks.values() if each is track):
                track = deepcopy(track)
                self.tracks.update(dict.fromkeys(together, track))
            track.take(at_us)
        if len(known) < len(names):
            fresh = Track(at_us, at_us)
            self.tracks.update({name: fresh for name in names if name not in known})
        self._names = names if len({id(self.tracks[name]) for name in names}) == 1 else ()

    def _take_unit(self, name: str, instance: bytes) -> None:
        """A unit that differs from that of the sample before; "" is none."""
        _, found, rest = instance.partition(UNIT)
        unit = rest.partition(b'"')[0]
        self.tokens[name] = UNIT + unit + b'"' if found else b""
        known = self.units.setdefault(name, [])
        text = unit.decode("utf-8", "replace") if found else ""
        if text not in known and len(known) < UNITS_MAX:
            known.append(text)

    def dump(self) -> dict[str, Any]:
        """For the storage."""
        shared: dict[int, tuple[Track, list[str]]] = {}
        for name, track in self.tracks.items():
            shared.setdefault(id(track), (track, []))[1].append(name)
        tracks = [
            {**{name: getattr(track, name) for name in MEMBERS}, "names": names} for track, names in shared.values()
        ]
        return {"tracks": tracks, "units": self.units}

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> State:
        """From the storage."""
        state = cls()
        for part in document["tracks"]:
            track = Track(**{key: value for key, value in part.items() if key != "names"})
            state.tracks.update(dict.fromkeys(part["names"], track))
        state.units = {name: list(units) for name, units in document["units"].items()}
        return state
