"""What is known of one Sparkplug edge node: births with their aliases, the order of its messages, deaths.

Source: Sparkplug 3.0.0, 5 "Operational behavior" and 6.4. Pure: messages in, metrics and wishes out.

Data count only behind the birth that names them. One counter numbers all messages of a node: where it jumps, a message
is missing, which may have been a birth with other aliases; from there on metrics without their name are refused until
the node is born again. Nodes in the field repeat numbers: the same message again is dropped and counted, another
message under the number of the last one is taken, and so is a number skipped right after that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from drivers.codecs.sparkplug import Metric, Payload, Value, parse, value
from drivers.errors import BadFrame

RECENT_MAX = 16
DEVICES_MAX = 256
BD_SEQ = "bdSeq"


@dataclass(frozen=True, slots=True)
class Named:
    """A value of the node (or of its device). ``age_ms`` is how old it was when sent; history was kept by the node."""

    name: str
    value: Value
    age_ms: int = 0
    historical: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a message brings. ``rebirth`` says why the node should be asked to be born again, empty: it need not."""

    named: tuple[Named, ...] = ()
    rebirth: str = ""
    gone: bool = False


@dataclass(frozen=True, slots=True)
class _Birth:
    """Names and data types by alias, data types by name."""

    aliases: dict[int, tuple[str, int]]
    types: dict[str, int]


_NOTHING = Outcome()


class Node:
    """``take`` its messages in the order of their arrival. ``device`` is "" for the node itself."""

    def __init__(self) -> None:
        self.duplicates = 0
        self.gaps = 0
        self.refused = 0  # metrics that no birth names
        self._births: dict[str, _Birth] = {}
        self._bd_seq: Value | None = None
        self._seq = 0  # of the last message
        self._repeated = False  # it was another message under the number of the one before
        self._doubtful = False
        self._recent: deque[tuple[str, str, bytes]] = deque(maxlen=RECENT_MAX)

    @property
    def is_born(self) -> bool:
        """Whether its birth was heard, and no death since."""
        return "" in self._births

    def forget(self) -> None:
        """The session is over: what comes next may be anything."""
        self._births.clear()
        self._recent.clear()

    def take(self, kind: str, device: str, data: bytes) -> Outcome:
        """A message of the node. Raises BadFrame for a damaged one, which changes nothing."""
        if (kind, device, data) in self._recent and kind != "NDEATH":
            self.duplicates += 1
            return _NOTHING
        payload = parse(data)
        if kind == "NDEATH":
            return self._death(payload)
        if payload.seq is None:
            raise BadFrame(f"{kind} without a sequence number")
        if kind == "NBIRTH":
            outcome = self._birth("", payload)
            self._seq, self._repeated, self._doubtful = payload.seq, False, False
            self._births = {"": self._births[""]}
        elif not self.is_born:
            return self._refuse(payload, f"{kind} before the birth of its node")
        else:
            outcome = self._in_order(kind, device, payload)
        self._recent.append((kind, device, data))
        return outcome

    def _in_order(self, kind: str, device: str, payload: Payload) -> Outcome:
        seq = payload.seq or 0
        step = (seq - self._seq) % 256
        gap = step > 1 and not (step == 2 and self._repeated)
        self._doubtful |= gap
        if kind == "DBIRTH":
            values = self._birth(device, payload)
        elif kind == "DDEATH":
            self._births.pop(device, None)
            values = Outcome(gone=True)
        else:
            values = self._data(device, payload)
        why = f"message {(self._seq + 1) % 256} is missing before {seq}" if gap else ""
        self.gaps += gap
        self._seq, self._repeated = seq, step == 0
        return Outcome(values.named, values.rebirth or why, values.gone)

    def _birth(self, device: str, payload: Payload) -> Outcome:
        """A birth names all metrics and gives their present values; how long ago they changed does not matter."""
        if device not in self._births and len(self._births) >= DEVICES_MAX:
            raise BadFrame(f"an edge node with more than {DEVICES_MAX} devices")
        birth = _Birth({}, {})
        named: list[Named] = []
        for metric in payload.metrics:
            if not metric.name:
                raise BadFrame("a birth with a metric that has no name")
            birth.types[metric.name] = metric.datatype
            if metric.alias is not None:  # an alias of two metrics names neither
                twice = metric.alias in birth.aliases
                birth.aliases[metric.alias] = ("", 0) if twice else (metric.name, metric.datatype)
            found = value(metric, metric.datatype)
            if found is not None:
                named.append(Named(metric.name, found))
        if not device:
            self._bd_seq = next((one.value for one in named if one.name == BD_SEQ), None)
        self._births[device] = birth
        return Outcome(tuple(named))

    def _death(self, payload: Payload) -> Outcome:
        """The will of an earlier session may come after the birth of the next: its bdSeq is another then."""
        stated = next((value(one, one.datatype) for one in payload.metrics if one.name == BD_SEQ), None)
        if None not in (stated, self._bd_seq) and stated != self._bd_seq:
            return _NOTHING
        self.forget()
        return Outcome(gone=True)

    def _data(self, device: str, payload: Payload) -> Outcome:
        birth = self._births.get(device)
        if birth is None:
            return self._refuse(payload, f"data of {device!r} before its birth")
        named: list[Named] = []
        unknown = 0
        for metric in payload.metrics:
            name, datatype = self._known(metric, birth)
            if not datatype:
                unknown += 1
                continue
            found = value(metric, datatype)
            if found is not None:
                named.append(Named(name, found, _age(payload, metric), metric.historical))
        self.refused += unknown
        return Outcome(tuple(named), "metrics that the birth does not name" if unknown else "")

    def _known(self, metric: Metric, birth: _Birth) -> tuple[str, int]:
        """Name and data type of a metric; type 0 where they are not certain."""
        if metric.name:
            return metric.name, metric.datatype or birth.types.get(metric.name, 0)
        if metric.alias is None or self._doubtful:
            return "", 0
        name, datatype = birth.aliases.get(metric.alias, ("", 0))
        return (name, datatype) if metric.datatype in (0, datatype) else ("", 0)

    def _refuse(self, payload: Payload, why: str) -> Outcome:
        self.refused += len(payload.metrics)
        return Outcome(rebirth=why)


def _age(payload: Payload, metric: Metric) -> int:
    """By the node's own clock alone: how far that is off does not matter."""
    if not payload.timestamp_ms or not metric.timestamp_ms:
        return 0
    return max(0, payload.timestamp_ms - metric.timestamp_ms)
