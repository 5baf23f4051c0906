"""What is known of the loads behind one meter, and the file that carries it (JSON, strict).

Durations are in samples of ``period_s``; powers in W. A model serves feeds whose period is within ``PERIOD_TOLERANCE``
of its own: edges and durations learned at 3 s say nothing about a feed of 60 s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.pipeline.nilm import window
from gateway.pipeline.nilm.result import TOTAL, ModelError

VERSION = 1
PERIOD_TOLERANCE = 1.5  # a factor, either way
FILE_MAX_BYTES = 8 * 2**20
LOADS_MAX = 24  # with 4 states each the joint state still fits 63 bits
STATES_MAX = 5
TREES_MAX = 200
NODES_MAX = 6400
SMALL_MAX = 48
BINS = 44  # of dwell time, two per octave: 0, 1, 2, 3, 4, 6, 8, 12 ... samples; over 22 days at 1 s
UNKNOWN_BINS = 96  # of edge size: 48 for falls, 48 for rises, four per octave from 4 W

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
PhaseName = Annotated[str, Meta(pattern=r"^L[123]$")]
Finite = Annotated[float, Meta(ge=-1e7, le=1e7)]
NotNegative = Annotated[float, Meta(ge=0, le=1e12)]
Positive = Annotated[float, Meta(gt=0, le=1e7)]
Share = Annotated[float, Meta(ge=0, le=1)]
Place = Annotated[int, Meta(ge=0, lt=NODES_MAX)]
Count = Annotated[int, Meta(ge=1, le=2**40)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An unknown field in a file is an error."""


class State(_Strict, frozen=True):
    """A level of a load; state 0 is off (its level is the standby power).

    ``drift_w``: slow change per square root of a sample where it modulates, ``low_w`` to ``high_w``; else 0.
    ``shortest`` and ``longest``: stays seen, in samples; ``share``: of all time;
    ``hazard``: chance per sample to leave, by bin of time already stayed.
    """

    level_w: NotNegative
    low_w: NotNegative
    high_w: NotNegative
    drift_w: NotNegative
    sigma_w: NotNegative
    shortest: Count
    longest: Count
    share: Share
    hazard: Annotated[tuple[Annotated[float, Meta(gt=0, le=1)], ...], Meta(min_length=BINS, max_length=BINS)]


class Transition(_Strict, frozen=True):
    """From a state to another: the edge that the mains shows (W, with spread), its share of all that leave.

    ``source`` = ``target``: an edge of a load that modulates; ``share`` is then the chance of one per sample.
    """

    source: Annotated[int, Meta(ge=0, lt=STATES_MAX)]
    target: Annotated[int, Meta(ge=0, lt=STATES_MAX)]
    edge_w: Finite
    spread_w: Positive
    share: Annotated[float, Meta(gt=0, le=1)]


class LoadModel(_Strict, frozen=True):
    """One appliance. ``longest_run``: samples from off to off; it is never believed on for longer than that.

    ``factor``: W that the mains shows for each W of the load (apparent power, one leg of two).
    """

    name: Name
    states: Annotated[tuple[State, ...], Meta(min_length=2, max_length=STATES_MAX)]
    transitions: Annotated[tuple[Transition, ...], Meta(min_length=2, max_length=STATES_MAX * STATES_MAX)]
    longest_run: Count
    factor: Annotated[float, Meta(ge=0.1, le=10)]

    @property
    def standby_w(self) -> float:
        """What it draws while off."""
        return self.states[0].level_w


class SteadyLoad(_Strict, frozen=True):
    """A load that was never seen to switch: its usual power, W, and for which share of the time it drew about that."""

    name: Name
    level_w: Positive
    share: Share


class SmallModel(_Strict, frozen=True):
    """A small supervised model of one load (layer c): trees over windows of the mains (gateway.pipeline.nilm.window).

    ``tracker``: how much of the tracker's estimate is added: 1 where trees only correct it, else 0; without trees
    ``base_w`` is a level. ``high_w``: the most it can draw; ``on_w``: on from there; ``sure_on`` and ``sure_off``: how
    often that was right in cross-validation. Nodes lie in preorder, see ``window.Forest``; ``roots`` count within this
    model.
    """

    name: Name
    tracker: Share
    base_w: Finite
    high_w: NotNegative
    on_w: NotNegative
    sure_on: Share
    sure_off: Share
    roots: Annotated[tuple[Place, ...], Meta(max_length=TREES_MAX)] = ()
    features: Annotated[tuple[Annotated[int, Meta(ge=-1, le=1000)], ...], Meta(max_length=NODES_MAX)] = ()
    values: Annotated[tuple[Finite, ...], Meta(max_length=NODES_MAX)] = ()
    rights: Annotated[tuple[Place, ...], Meta(max_length=NODES_MAX)] = ()


class Thresholds(_Strict, frozen=True):
    """Settings of the edge detector (gateway.pipeline.nilm.edges)."""

    threshold_w: Positive
    noise_factor: Annotated[float, Meta(ge=0, le=100)]
    ramp_max: Annotated[int, Meta(ge=1, le=60)]
    settle: Annotated[int, Meta(ge=1, le=20)]


class Model(_Strict, frozen=True):
    """All loads behind a meter, and how often edges come that are none of theirs.

    ``unknown``: expected number of foreign edges per sample and W, by signed size; ``floor_w``: the least that loads
    without a model draw together, ``drift_w`` their slow change per square root of a sample; ``provenance`` and
    ``trained_on``: where the training data came from and how much. ``found``: nothing was
    trained, loads are found while they run (layer a); the names given to them, by number (``load_1``). ``phases``: a
    model of each phase of the mains, and nothing here; a load on several phases has the same name in each.
    """

    version: int
    period_s: Positive
    loads: Annotated[tuple[LoadModel, ...], Meta(max_length=LOADS_MAX)]
    thresholds: Thresholds
    unknown: Annotated[tuple[NotNegative, ...], Meta(min_length=UNKNOWN_BINS, max_length=UNKNOWN_BINS)]
    floor_w: NotNegative
    drift_w: Positive
    provenance: Annotated[str, Meta(max_length=2000)]
    trained_on: Annotated[str, Meta(max_length=2000)]
    steady: Annotated[tuple[SteadyLoad, ...], Meta(max_length=LOADS_MAX)] = ()
    small: Annotated[tuple[SmallModel, ...], Meta(max_length=SMALL_MAX)] = ()
    found: dict[Name, Name] | None = None
    phases: dict[PhaseName, Model] | None = None

    @property
    def finds(self) -> bool:
        """Whether it finds its loads itself (layer a)."""
        return self.found is not None or any(part.finds for part in (self.phases or {}).values())

    @property
    def tracked(self) -> list[str]:
        """What layer (b) knows: the loads that switch, then the steady ones."""
        return [*(load.name for load in self.loads), *(load.name for load in self.steady)]

    @property
    def names(self) -> list[str]:
        """All loads in the order of results: the tracked ones, then those that have a small model only."""
        if self.phases is not None:
            return list(dict.fromkeys(name for part in self.phases.values() for name in part.names))
        tracked = self.tracked
        return [*tracked, *(own.name for own in self.small if own.name not in tracked)]


def load(path: Path) -> Model:
    """Read a model. Raises ModelError (the file, its place in it, what is wrong)."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    if len(data) > FILE_MAX_BYTES:
        raise ModelError(f"{path}: larger than {FILE_MAX_BYTES} bytes")
    return decode(data, str(path))


def decode(data: bytes, name: str) -> Model:
    """A model from the bytes of its file; ``name`` is for the message. Raises ModelError."""
    try:
        version = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("version", msgspec.Raw(b"null"))
        if bytes(version) != str(VERSION).encode():
            raise ModelError(f"{name}: version {bytes(version).decode()[:20]}, this program reads version {VERSION}")
        model = msgspec.json.decode(data, type=Model)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{name}: {error}") from None
    check(model, name)
    return model


def save(model: Model, path: Path) -> None:
    """Write a model: whole or not at all. Raises ModelError."""
    check(model, str(path))
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(model), indent=1))
        part.replace(path)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None


def check_period(model: Model, period_s: float) -> None:
    """Raises ModelError where the feed's period is not the one that the model was made for."""
    if not 1 / PERIOD_TOLERANCE <= period_s / model.period_s <= PERIOD_TOLERANCE:
        raise ModelError(
            f"the model was made for samples every {model.period_s:g} s, the meter gives one every {period_s:.3g} s",
            code="nilm.period",
        )


def check_phases(model: Model, phases: Collection[str]) -> None:
    """Raises ModelError where the meter's phases are not those that the model was made for."""
    wanted = set(model.phases or (TOTAL,))
    if set(phases) != wanted:
        told, made = (", ".join(sorted(some)) or "nothing" for some in (phases, wanted))
        raise ModelError(
            f"the model was made for {made} of the mains, the meter gives {told}",
            code="nilm.phases",
            fix="Set disaggregation.quantity to what it was made for, or make a model for this meter.",
        )


def check(model: Model, name: str, *, whole: bool = True) -> None:
    """What the schema cannot say: names are unique, transitions lead somewhere, every state leads to off at last.

    ``whole``: it is not of one phase of several, of which loads that were found may share a name.
    """
    if model.version != VERSION:
        raise ModelError(f"{name}: version {model.version}, this program writes version {VERSION}")
    if model.phases is not None:
        _check_phases(model, model.phases, name)
        return
    names = model.names
    if names and model.found is not None:
        raise ModelError(f"{name}: a model either has loads or finds them")
    if not names and model.found is None:
        raise ModelError(f"{name}: there is nothing in `loads`")
    given = names or [*(model.found or {}).values()]
    twice = len(set(given)) != len(given) and (whole or model.found is None)
    if twice or "other" in given:
        raise ModelError(f"{name}: names of loads must be unique, and `other` is taken")
    for load in model.loads:
        places = {arc.source for arc in load.transitions if arc.source != arc.target}
        targets = {transition.target for transition in load.transitions}
        if max(places | targets) >= len(load.states) or places != set(range(len(load.states))):
            raise ModelError(f"{name}: transitions of {load.name} do not fit its states")
        if any(not state.low_w <= state.level_w <= state.high_w for state in load.states):
            raise ModelError(f"{name}: a level of {load.name} lies outside its range")
    if len({own.name for own in model.small}) != len(model.small):
        raise ModelError(f"{name}: two small models of one load")
    for own in model.small:
        _check_trees(own, window.width(len(model.loads)), name)


def _check_phases(model: Model, phases: Mapping[str, Model], name: str) -> None:
    """Each is a model of one phase, all of one kind and one period; small models look at the whole mains only."""
    if not phases or model.loads or model.steady or model.small or model.found is not None:
        raise ModelError(f"{name}: a model of phases has its loads in them")
    if not model.names and not model.finds:
        raise ModelError(f"{name}: there is nothing in `loads`")
    for phase, part in phases.items():
        if part.phases is not None or part.small or part.period_s != model.period_s:
            raise ModelError(f"{name}: {phase} is no model of one phase at {model.period_s:g} s")
        if part.finds != model.finds:
            raise ModelError(f"{name}: either all phases have loads or all find them")
        if part.names or part.finds:  # a phase without loads: all on it is `other`
            check(part, f"{name}: {phase}", whole=False)


def _check_trees(own: SmallModel, features: int, name: str) -> None:
    """Every way through the nodes ends at a leaf of the model: children lie behind their parent."""
    count = len(own.features)
    if len(own.values) != count or len(own.rights) != count or any(root >= count for root in own.roots):
        raise ModelError(f"{name}: trees of {own.name} do not fit together")
    for node, (feature, right) in enumerate(zip(own.features, own.rights, strict=True)):
        if feature >= features or (feature >= 0 and not (right > 1 and node + right < count)):
            raise ModelError(f"{name}: node {node} of the trees of {own.name} leads nowhere")
