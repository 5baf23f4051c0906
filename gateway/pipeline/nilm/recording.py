"""Recordings with labels, for learning and scoring: wide tables (Parquet, CSV, npz), one column an appliance, W."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.pipeline.nilm.batch import Array
from gateway.pipeline.nilm.result import ModelError
from gateway.pipeline.nilm.tracker import POWER_MAX_W

SEGMENT, COUNTER = "segment", "i"
GAP = 3.5  # periods: more between two rows is a gap, as it is online
CLOCK = re.compile(
    r"(__index_level_\d+__|index|time|times|timestamp|unix\w*|epoch\w*|ts|t|date|datetime)", re.IGNORECASE
)
EPOCH_LEAST = 1e8  # smaller numbers count rows or seconds of the recording: they are no times
NOT_POWER = re.compile(r"(_VA|_VAR|_V|_A|_Hz|\[(?!k?W\])[^\]]*\])$", re.IGNORECASE)
KW_MOST = 50.0
PHASES_MAX = 3
UNDATED_MAX = 0.1  # of the rows may lack a time
PERIODS_ALIKE = 0.01
BACK_MAX = 0.01  # of the steps may go back in time
FIX = "Give a wide table: one column an appliance in W, one for the mains (--mains)."
_ODD = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Recording:
    """``mains`` and each of ``appliances`` have the same length, W, every ``period_s``; a row of NaN parts two runs.

    ``rows``: without those that part runs; ``left_out``: columns that are no power of an appliance; ``scale``: W for
    each of the file's units, 1000 where it has kW; ``phases``: the mains by phase, where the file has it so.
    """

    name: str
    period_s: float
    rows: int
    mains: Array
    appliances: dict[str, Array]
    left_out: tuple[str, ...]
    scale: float = 1.0
    phases: dict[str, Array] | None = None

    def split(self, share: float) -> tuple[Recording, Recording]:
        """The first share in time, and the rest. Raises ModelError where one of them would be empty."""
        cut = round(share * len(self.mains))
        if not 0 < cut < len(self.mains):
            raise ModelError(f"{self.name}: a split at {share:g} leaves nothing to learn from or to score", fix=FIX)
        return self._part(slice(0, cut)), self._part(slice(cut, None))

    def _part(self, where: slice) -> Recording:
        mains = self.mains[where]
        appliances = {name: watts[where] for name, watts in self.appliances.items()}
        rows = int((~np.isnan(mains)).sum())
        phases = None if self.phases is None else {phase: watts[where] for phase, watts in self.phases.items()}
        return Recording(self.name, self.period_s, rows, mains, appliances, self.left_out, self.scale, phases)


def joined(recordings: Sequence[Recording]) -> Recording:
    """Recordings of several houses as one, parted by a row of NaN; an appliance that a house lacks is NaN there.

    Raises ModelError where their periods differ.
    """
    first = recordings[0]
    for other in recordings[1:]:
        if not math.isclose(other.period_s, first.period_s, rel_tol=PERIODS_ALIKE):
            cause = f"{first.name} has a row each {first.period_s:g} s, {other.name} each {other.period_s:g} s"
            raise ModelError(cause, fix="Give recordings of one period.")
    gap = np.full(1, np.nan)
    names = dict.fromkeys(name for one in recordings for name in one.appliances)
    phases = first.phases or {}
    if any((one.phases or {}).keys() != phases.keys() for one in recordings):
        raise ModelError("some of the recordings have phases, others have not, or others", fix="Give the same --mains.")
    lacking = {id(one): np.full(len(one.mains), np.nan) for one in recordings}

    def column(parts: Sequence[Array]) -> Array:
        return np.concatenate([part for pair in zip(parts, [gap] * len(parts), strict=True) for part in pair][:-1])

    return Recording(
        " + ".join(one.name for one in recordings),
        first.period_s,
        sum(one.rows for one in recordings),
        column([one.mains for one in recordings]),
        {name: column([one.appliances.get(name, lacking[id(one)]) for one in recordings]) for name in names},
        tuple(dict.fromkeys(column for one in recordings for column in one.left_out)),
        phases={phase: column([(one.phases or {})[phase] for one in recordings]) for phase in phases} or None,
    )


def read(path: Path, *, mains: str = "main", period_s: float | None = None) -> Recording:
    """Read a recording. ``period_s`` is needed where the rows have no times; ``mains``: its column, or those of the
    phases with commas between.

    Raises ModelError for what is no such table.
    """
    columns = _columns(path)
    of_phases = tuple(dict.fromkeys(mains.split(",")))
    if len(of_phases) > PHASES_MAX:
        raise ModelError(f"{path}: {len(of_phases)} columns of the mains; there are three phases at most", fix=FIX)
    for column in of_phases:
        if column not in columns:
            raise ModelError(f"{path}: no column {column!r}; there are {', '.join(sorted(columns))}", fix=FIX)
    mains = of_phases[0]
    times = _times(columns, mains)
    if times is not None and (rows := _rows_in_time(times)) is not None:
        times, columns = times[rows], {name: values[rows] for name, values in columns.items()}
    segment = columns.pop(SEGMENT, None)
    columns.pop(COUNTER, None)
    period = _period(path, times, period_s)
    power = {name: watts for name, values in columns.items() if (watts := _watts(values)) is not None}
    for column in of_phases:
        if column not in power:
            raise ModelError(f"{path}: the column {column!r} has no numbers", fix=FIX)
    only_w = mains.endswith("_W")  # a table that says units has them in all its names
    scale = _scale(np.sum([power[column] for column in of_phases], axis=0))
    power = {name: _clean(watts, scale) for name, watts in power.items()}
    own = [n for n in power if n not in of_phases and not NOT_POWER.search(n) and (not only_w or n.endswith("_W"))]
    if not own:
        raise ModelError(f"{path}: no column of an appliance with numbers beside {mains!r}", fix=FIX)
    cuts = _cuts(times, segment, period)
    names = _names(own)
    appliances = {names[name]: np.insert(power[name], cuts, np.nan) for name in own}
    left_out = tuple(name for name in columns if name not in of_phases and name not in own)
    parts = [_consumed(np.insert(power[column], cuts, np.nan)) for column in of_phases]
    phases = {f"L{number}": part for number, part in enumerate(parts, 1)} if len(parts) > 1 else None
    whole = np.sum(parts, axis=0)
    return Recording(path.name, period, len(power[mains]), whole, appliances, left_out, scale, phases)


def _columns(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """All columns of one dimension and one length."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                columns = {name: np.asarray(file[name]) for name in file.files}
        else:
            columns = _arrow(path)
    except ModelError:
        raise
    except (OSError, EOFError, ValueError) as error:
        raise ModelError(f"{path}: {error}", fix=FIX) from None
    lengths = {values.shape for values in columns.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1:
        raise ModelError(f"{path}: the columns differ in length", fix=FIX)
    return columns


def _arrow(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    try:
        import pyarrow
        from pyarrow import csv, parquet
    except ImportError:
        raise ModelError(f"{path}: reading it needs pyarrow", fix="pip install pyarrow") from None
    try:
        table = csv.read_csv(path) if path.suffix == ".csv" else parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ModelError(f"{path}: {error}", fix=FIX) from None
    return {name: table[name].to_numpy() for name in table.column_names}


def _times(columns: dict[str, npt.NDArray[np.generic]], mains: str) -> npt.NDArray[np.generic] | None:
    """The first column of times; takes out all columns that are a clock or count rows."""
    found = None
    for name in [name for name in columns if name != mains]:
        values = columns[name]
        if CLOCK.fullmatch(name) and values.dtype.kind in "OUS":
            values = _from_text(values)
        if values.dtype.kind != "M" and not (CLOCK.fullmatch(name) and values.dtype.kind in "iuf"):
            continue
        del columns[name]
        if values.dtype.kind != "M":
            seconds = values.astype(np.float64)
            seconds = np.where(np.isfinite(seconds), seconds, np.nan)
            least = float(np.nanmin(seconds)) if not np.isnan(seconds).all() else 0.0
            if least < EPOCH_LEAST:
                continue
            unit = 1e3 ** max(0, int(np.log10(least) - 8) // 3)  # since 1970 in s, ms, us or ns
            values = (seconds / unit * 1e6).astype("datetime64[us]")
        found = values if found is None and np.isnat(values).mean() <= UNDATED_MAX else found
    return found


def _from_text(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Texts as times (UTC where they say nothing else), where all are; else as they are."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy takes a zone, converts to UTC, and says that it had rather not
            return values.astype("datetime64[us]")
    except (TypeError, ValueError):
        return values


def _rows_in_time(times: npt.NDArray[np.generic]) -> npt.NDArray[np.int64] | None:
    """Which rows to take, in which order; None: all as they are.

    Rows without a time, or with that of the row before, go. A clock that was set back now and then (summer time) begins
    a new run each time; where many rows step back they are not in order, and are put into it.
    """
    rows = np.nonzero(~np.isnat(times))[0]
    back = np.diff(times[rows]) < np.timedelta64(0)
    if back.mean() > BACK_MAX if len(back) else False:
        rows = rows[np.argsort(times[rows], kind="stable")]
    again = np.concatenate([[False], np.diff(times[rows]) == np.timedelta64(0)])
    rows = rows[~again[: len(rows)]]
    return None if len(rows) == len(times) and not np.any(np.diff(rows) != 1) else rows


def _scale(mains: Array) -> float:
    """W for each unit of the file: no mains of a house stays below 50 W, none goes above 50 kW."""
    known = np.abs(mains[~np.isnan(mains)])
    return 1000.0 if len(known) and 0.0 < float(np.quantile(known, 0.999)) < KW_MOST else 1.0


def _clean(watts: Array, scale: float) -> Array:
    """In W; what is no power of a building is a gap, as it is online."""
    scaled = watts * scale
    return np.where(np.abs(scaled) <= POWER_MAX_W, scaled, np.nan)


def _watts(values: npt.NDArray[np.generic]) -> Array | None:
    """A column as W, infinite ones as gaps; None where it has no numbers."""
    if values.dtype.kind not in "iufbO":
        return None
    try:
        watts = values.astype(np.float64)
    except (TypeError, ValueError):
        return None
    return np.where(np.isfinite(watts), watts, np.nan)


def _consumed(mains: Array) -> Array:
    """Some meters count what is consumed as negative."""
    known = mains[~np.isnan(mains)]
    return -mains if len(known) and float(np.median(known)) < 0 and float(known.mean()) < 0 else mains


def _names(columns: list[str]) -> dict[str, str]:
    """The names that a model may have, by column: unique, and none of them is ``other``."""
    names: dict[str, str] = {}
    taken = {"other"}
    for column in columns:
        name = wanted = _name(column)
        number = 2
        while name in taken:
            name, number = f"{wanted[:58]}_{number}", number + 1
        taken.add(name)
        names[column] = name
    return names


def _period(path: Path, times: npt.NDArray[np.generic] | None, given_s: float | None) -> float:
    if given_s is not None:
        if not 0 < given_s < 1e6:
            raise ModelError(f"a period of {given_s} s is none", fix="Give the seconds between two rows.")
        return given_s
    if times is None or len(times) < 2:
        raise ModelError(f"{path}: the rows have no times", fix="Give the seconds between two rows: --period S.")
    steps = np.diff(_seconds(times))
    steps = steps[steps > 0]
    if not len(steps):
        raise ModelError(f"{path}: the times do not advance", fix="Give the seconds between two rows: --period S.")
    return float(np.median(steps))


def _seconds(times: npt.NDArray[np.generic]) -> Array:
    return times.astype("datetime64[us]").astype(np.float64) / 1e6


def _cuts(
    times: npt.NDArray[np.generic] | None, segment: npt.NDArray[np.generic] | None, period_s: float
) -> npt.NDArray[np.int64]:
    """Before which rows a new run begins."""
    length = len(times) if times is not None else len(segment) if segment is not None else 0
    starts = np.zeros(max(0, length - 1), dtype=bool)
    if segment is not None:
        starts |= segment[1:] != segment[:-1]
    if times is not None:
        steps = np.diff(_seconds(times))
        starts |= (steps > GAP * period_s) | (steps <= 0)
    return np.nonzero(starts)[0] + 1


def _name(column: str) -> str:
    """A name that a model may have."""
    return _ODD.sub("_", column.removesuffix("_W")).strip("_-")[:64].rstrip("_-") or "load"
