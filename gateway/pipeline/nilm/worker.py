"""The process that disaggregates: samples in on stdin, results out on stdout, one JSON object a line.

``python -m gateway.pipeline.nilm.worker MODEL.json --cache DIR [--pure]``

In: first ``{"start": {name: kWh}}`` (where the counters go on from), then ``{"t": mono_ns, "p": {phase: [W, var]}}``;
phases are ``L1``, ``L2``, ``L3``, those that have a value, or ``total`` alone.
Out: ``{"ready": ...}`` once everything is compiled; a result for each sample (see ``encode``), or ``{"passed": true}``
for what is none; final results of earlier samples, with ``"late": true``; ``{"note": text}``; or, before it
ends, ``{"error": {"code", "cause", "fix", "refused"}}``; refused: the model does not fit, starting again is of no use.

Energies are kept in DIR/energies-<model's name>.json, written at most once a minute and at the end. The process ends
with its parent: at the end of stdin, or when the parent dies.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gateway.pipeline.nilm.result import TOTAL, ApplianceResult, Mains, ModelError, Power

if TYPE_CHECKING:
    from gateway.pipeline.nilm.events import EventTracker
    from gateway.pipeline.nilm.model import Model
    from gateway.pipeline.nilm.phased import PhasedTracker
    from gateway.pipeline.nilm.tracker import Tracker

LINE_MAX_BYTES = 8192
SAVE_EVERY_S = 60.0
FOUND_MAX_BYTES = 65536
PERIODS_SEEN = 20  # intervals between samples before the feed's period is judged
REFUSED = 3  # exit code
NICE = 5
RESTARTED = "LAMPPOST_NILM_RESTARTED"  # in the environment: what was compiled is in the cache
PR_SET_PDEATHSIG = 1  # prctl(2)


def main(arguments: list[str] | None = None) -> int:
    """Run until stdin ends. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="gateway.pipeline.nilm.worker", description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="folder for compiled kernels and energies")
    parser.add_argument("--pure", action="store_true", help="plain Python: less memory, slower")
    options = parser.parse_args(arguments)
    _settle_in(options.cache, options.pure)
    try:
        _serve(options.model, options.cache)
    except ModelError as error:
        _say({"error": {"code": error.code, "cause": error.cause, "fix": error.fix, "refused": True}})
        return REFUSED
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    return 0


def _settle_in(cache: Path, pure: bool) -> None:
    """Die with the parent, be nice, and choose where and whether to compile; before numba is imported."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon, which then closes stdin
    sys.excepthook = _last_words
    if RESTARTED not in os.environ:
        os.nice(NICE)
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache))
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"  # each thread's arena costs memory and none is used
    if pure:
        os.environ["LAMPPOST_NILM_PURE"] = "1"


def _stop(*_: object) -> None:
    """SIGTERM: leave the loop so that energies are saved."""
    raise KeyboardInterrupt


def _last_words(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """A defect: say what it was in one line; the parent logs it and starts another worker."""
    cause = f"the worker failed: {kind.__name__}: {error}"
    _say(
        {"error": {"code": "nilm.worker", "cause": cause, "fix": "Please report this; it is started again by itself."}}
    )


def _serve(path: Path, cache: Path) -> None:
    """Load, compile, say ready, then a result for each sample until stdin ends."""
    from gateway.pipeline.nilm import jit, model

    begun = time.monotonic()
    loads = model.load(path)
    _drop_old_kernels(cache)
    kept = _kernels(jit.cache_folder(cache))
    warm_up(loads)
    if _kernels(jit.cache_folder(cache)) > kept and RESTARTED not in os.environ:
        _start_again()
    store = Energies(cache / f"energies-{path.stem}.json")
    _say({"ready": {"compiled": jit.COMPILED, "why": jit.WHY_PURE, "seconds": round(time.monotonic() - begun, 3)}})
    first = _read()
    found = Found(cache / f"found-{path.stem}.json")
    begin = store.begin(first.get("start") if first else None)
    tracker = make_tracker(loads, begin, found.read())
    feed = FeedCheck(loads)
    try:
        while (sample := _read()) is not None:
            mains = {str(phase): Power(*map(float, said)) for phase, said in sample["p"].items()}
            feed.see(int(sample["t"]), mains)
            result = take(tracker, int(sample["t"]), mains)
            if result is None:
                _say({"passed": True})
                continue
            for settled in tracker.settled:
                _say({**encode(settled), "late": True})
            _say(encode(result))
            store.keep({part.name: part.energy_kwh for part in result.parts})
            found.keep(tracker)
    finally:
        tracker.settle()
        store.keep(dict(zip(tracker.names, tracker.energy_kwh, strict=True)))
        store.save()
        found.keep(tracker, at_once=True)


def make_tracker(
    model: Model, energies: Mapping[str, float] | None = None, found: object = None
) -> Tracker | EventTracker | PhasedTracker:
    """What follows a meter with this model."""
    from gateway.pipeline.nilm.events import EventTracker
    from gateway.pipeline.nilm.phased import PhasedTracker
    from gateway.pipeline.nilm.tracker import Tracker

    if model.phases is not None:
        return PhasedTracker(model, energies, found)
    if model.found is not None:
        return EventTracker(model.period_s, found, model.found)
    return Tracker(model, energies)


def take(tracker: Tracker | EventTracker | PhasedTracker, mono_ns: int, mains: Mains) -> ApplianceResult | None:
    """Hand a sample to a tracker: all phases, or the total."""
    from gateway.pipeline.nilm.phased import PhasedTracker

    if isinstance(tracker, PhasedTracker):
        return tracker.step(mono_ns, mains)
    return tracker.step(mono_ns, *mains[TOTAL]) if TOTAL in mains else None


def _kernels(folder: Path) -> int:
    """How many compiled kernels lie in the cache."""
    return sum(1 for _ in folder.rglob("*.nbc"))


def _start_again() -> None:
    """The compiler's memory (more than all the rest) is never given back: go on as a process that loads the cache.

    The process id and the pipes stay; nothing was read from stdin yet.
    """
    os.environ[RESTARTED] = "1"
    os.execv(sys.executable, [sys.executable, "-m", "gateway.pipeline.nilm.worker", *sys.argv[1:]])  # noqa: S606


def warm_up(model: Model) -> None:
    """Run every kernel once, so that nothing is compiled while samples wait: each load on, all off, a gap."""
    for part in (model.phases or {TOTAL: model}).values():
        tracker = make_tracker(part)
        levels = [100.0, *(100.0 + load.states[-1].level_w for load in part.loads), 100.0]
        for index, power in enumerate(level for level in levels for _ in range(4)):
            take(tracker, round((index + 1) * part.period_s * 1e9), {TOTAL: Power(power)})


class FeedCheck:
    """Judges the feed once: its phases, and its period by the median of its first intervals."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._times: list[int] | None = []
        self._phases: set[str] = set()

    def see(self, mono_ns: int, mains: Mains) -> None:
        """Raises ModelError where the feed is not what the model was made for."""
        if self._times is None:
            return
        from gateway.pipeline.nilm.model import check_period, check_phases

        self._phases.update(mains)
        if not self._times or mono_ns > self._times[-1]:
            self._times.append(mono_ns)
        if len(self._times) <= PERIODS_SEEN:
            return
        gaps = [(b - a) / 1e9 for a, b in pairwise(self._times)]
        self._times = None
        check_phases(self._model, self._phases)
        check_period(self._model, statistics.median(gaps))


class Energies:
    """The counters' file: a whole one or the one before. A crash costs what was counted since, at most a minute's."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, float] = {}
        self._saved_s = time.monotonic()

    def begin(self, start: object) -> dict[str, float]:
        """The counters to go on from: the greater of the file's and those that the parent remembers."""
        try:
            kept = _numbers(json.loads(self._path.read_bytes()[:65536]))
        except (OSError, ValueError):
            kept = {}
        told = _numbers(start)
        self._values = {name: max(kept.get(name, 0.0), told.get(name, 0.0)) for name in {*kept, *told}}
        return dict(self._values)

    def keep(self, values: dict[str, float]) -> None:
        """Remember the counters; write them when the last time is long enough ago (flash wears)."""
        self._values.update(values)
        if time.monotonic() - self._saved_s >= SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the counters; a full disk costs them, not the disaggregation."""
        self._saved_s = time.monotonic()
        _write(self._path, self._values)


class Found:
    """The file of the loads that were found without training: a restart goes on with them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved_s = time.monotonic()

    def read(self) -> object:
        """What was kept; None where nothing is."""
        try:
            return json.loads(self._path.read_bytes()[:FOUND_MAX_BYTES])
        except (OSError, ValueError):
            return None

    def keep(self, tracker: Tracker | EventTracker | PhasedTracker, *, at_once: bool = False) -> None:
        """Write what a tracker found, when the last time is long enough ago; a tracker with a model finds nothing."""
        from gateway.pipeline.nilm.tracker import Tracker

        due = at_once or time.monotonic() - self._saved_s >= SAVE_EVERY_S
        if not due or isinstance(tracker, Tracker):
            return
        self._saved_s = time.monotonic()
        if state := tracker.state():
            _write(self._path, state)


def _write(path: Path, data: object) -> None:
    """Write a file: the whole or the one before. A full disk costs it, not the disaggregation."""
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(data))
        part.replace(path)
    except OSError as error:
        _say({"note": f"{path.name} is not saved: {error}"})


def _numbers(data: object) -> dict[str, float]:
    """The finite, not negative numbers of a JSON object by name."""
    if not isinstance(data, Mapping):
        return {}
    return {
        str(name): float(value)
        for name, value in data.items()
        if isinstance(value, int | float) and math.isfinite(value) and value >= 0
    }


def _drop_old_kernels(cache: Path) -> None:
    """Compiled kernels of earlier versions of this program are of no use."""
    from gateway.pipeline.nilm import jit

    own = jit.cache_folder(cache)
    for folder in cache.glob("nilm-*"):
        if folder != own and folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)


def _read() -> dict[str, Any] | None:
    """The next line's object; None at the end. A line that is none is passed over."""
    while line := sys.stdin.buffer.readline(LINE_MAX_BYTES):
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if isinstance(data, dict) and ("start" in data or ("t" in data and isinstance(data.get("p"), dict))):
            return data
    return None


def _say(data: object) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(data, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def encode(result: ApplianceResult) -> dict[str, object]:
    """A result as it goes over the pipe."""
    return {
        "t": result.mono_ns,
        "mains": result.mains_w,
        "other": result.other_w,
        "final": result.final,
        "parts": [[p.name, p.power_w, p.energy_kwh, p.on, p.confidence] for p in result.parts],
        "events": [[e.name, e.kind, e.mono_ns, e.duration_s, e.energy_kwh, e.confidence] for e in result.events],
    }


if __name__ == "__main__":
    sys.exit(main())
