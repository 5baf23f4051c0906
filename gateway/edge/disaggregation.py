"""Disaggregation as the edge runs it: the worker, its model (a file, or pulled from the server), and its roll-back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from drivers.http1 import HttpClient
from gateway.clock import Clock
from gateway.config.schema import Config
from gateway.edge.appliances import Appliances, Publish
from gateway.edge.model_pull import LinkChoice, ModelPull
from gateway.edge.model_store import ModelStore
from gateway.edge.residual import is_worse
from gateway.edge.run_store import Run, RunStore
from gateway.errors import ControlError
from gateway.model import Link
from gateway.pipeline.nilm.client import Disaggregator
from gateway.pipeline.nilm.result import ApplianceResult

MODEL_LOOK_S = 2.0
RUNS_SHOWN = 10_000  # in one answer
KEEP_S = 60.0  # between two writes of runs,
WATCH_SAVE_S = 3600.0  # and of what is measured of the residual: flash wears
MEMORY_LEAST_KIB = 700 * 1024  # a board with less (512 MB, of which the kernel takes a part) compiles nothing
LOG = logging.getLogger("lamppost.edge")


class Disaggregation:
    """One meter's appliances. ``links`` and ``client`` are for models that are pulled; None without an uplink."""

    def __init__(
        self,
        config: Config,
        publish: Publish,
        clock: Clock,
        links: LinkChoice | None,
        client: Callable[[Link], HttpClient] | None,
    ) -> None:
        settings = config.disaggregation
        assert settings is not None
        folder = config.storage.path / "nilm"
        self._file = settings.model
        self._store = ModelStore(folder / "models")
        self._changed = asyncio.Event()
        model = self._model() or folder / "model.json"
        self.worker = Disaggregator(model, folder, self._result, pure=has_little_memory())
        self.appliances = Appliances(settings, self.worker.feed, publish, clock.utc_ns)
        self._pull: ModelPull | None = None
        if settings.key is not None and links is not None and client is not None:
            made = (config.site.id, settings.key, self._store, links, client, clock, self._changed.set)
            self._pull = ModelPull(*made)
        self._latest: ApplianceResult | None = None
        self._final_ns: int | None = None
        self._clock = clock
        self._settings = settings
        self._runs = RunStore(folder / "runs.jsonl")

    async def run(self) -> None:
        """Pull, work and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._pull is not None:
                group.create_task(self._pull.run())
            group.create_task(self._keep())
            try:
                await self._work()
            finally:
                self._runs.flush()

    def as_json(self) -> dict[str, Any]:
        """For the status; its keys are documented in docs/reference/status.md."""
        worker, state = self.worker.state(), self._store.state
        problem = self._pull.problem if self._pull is not None else None
        error = worker.error or problem
        return {
            "ready": worker.ready,
            "compiled": worker.compiled,
            "model": None if (path := self._model()) is None else str(path),
            "serial": state.serial or None,
            "expires_s": state.expires_s,
            "expired": self._is_expired(),
            "unexplained": round(state.watched.share, 4) if state.watched.seconds else None,
            "refused": list(state.refused),
            "restarts": worker.restarts,
            "problem": None if error is None else {"code": error.code, "cause": error.cause, "fix": error.fix},
        }

    def appliances_json(self) -> dict[str, Any]:
        """What each appliance does now, for those who are let in here."""
        latest, now_ns = self._latest, self._clock.mono_ns()
        parts = () if latest is None else latest.parts
        return {
            "meter": self._settings.meter,
            "mains_w": None if latest is None else latest.mains_w,
            "other_w": None if latest is None else latest.other_w,
            "age_s": None if latest is None else round((now_ns - latest.mono_ns) / 1e9, 3),
            "appliances": {
                part.name: {
                    "power_w": part.power_w,
                    "energy_kwh": part.energy_kwh,
                    "on": part.on,
                    "confidence": part.confidence,
                }
                for part in parts
            },
        }

    def runs_json(self, since_s: float) -> list[dict[str, Any]]:
        """The newest runs that ended after an instant (UTC s), at most ``RUNS_SHOWN``."""
        return [asdict(run) for run in self._runs.since(since_s)[-RUNS_SHOWN:]]

    def correct(self, name: str, start_s: float, right: str) -> dict[str, Any]:
        """Give a run its right name. Raises ControlError where there is no such run."""
        run = self._runs.correct(name, start_s, right)
        if run is None:
            fix = "See `lamppost appliances export --json`."
            raise ControlError(f"there is no run of {name!r} that began then", code="control.no-run", fix=fix)
        return asdict(run)

    def _model(self) -> Path | None:
        """What was pulled comes before the file of the configuration, which is where a box begins."""
        return self._store.path or self._file

    def _is_expired(self) -> bool:
        expires_s, now_ns = self._store.state.expires_s, self._clock.utc_ns(self._clock.mono_ns())
        return expires_s is not None and now_ns is not None and now_ns >= expires_s * 10**9

    async def _work(self) -> None:
        """Run the worker with the model of the hour; it may be learned or pulled after the start."""
        while True:
            self._changed.clear()
            path, stamp = self._model(), self._stamp()
            if path is None or stamp is None:
                await self._wait(MODEL_LOOK_S)
                continue
            self.worker.use(path)
            work = asyncio.create_task(self.worker.run())
            try:
                while not self._changed.is_set() and self._stamp() == stamp:
                    await self._wait(MODEL_LOOK_S)
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)

    def _stamp(self) -> tuple[Path, int, int] | None:
        """Which model there is: a file tells nobody that it is there, or another one."""
        path = self._model()
        try:
            status = None if path is None else path.stat()
        except OSError:
            return None
        return None if path is None or status is None else (path, status.st_mtime_ns, status.st_size)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _result(self, result: ApplianceResult) -> None:
        if self._latest is None or result.mono_ns >= self._latest.mono_ns:  # final ones may be of earlier instants
            self._latest = result
        if result.final:
            before_ns, self._final_ns = self._final_ns, result.mono_ns
            if before_ns is not None and self._pull is not None:
                self._watch((result.mono_ns - before_ns) / 1e9, result)
        for event in result.events:
            end_ns = self._clock.utc_ns(event.mono_ns)
            if event.kind == "end" and event.duration_s > 0 and end_ns is not None:
                end_s = round(end_ns / 1e9, 3)
                start_s, sure = round(end_s - event.duration_s, 3), round(event.confidence, 4)
                self._runs.add(Run(event.name, start_s, end_s, event.energy_kwh, confidence=sure))
        self.appliances.result(result)

    def _watch(self, seconds: float, result: ApplianceResult) -> None:
        """Measure what stays unexplained; a model that explains less than the one before it goes."""
        state = self._store.state
        state.watched.add(seconds, result.mains_w, result.other_w)
        if not state.before or not is_worse(state.watched, state.watched_before):
            return
        LOG.warning(
            "model %d leaves %.0f %% of the mains unexplained, model %d before it left %.0f %%: that one is back",
            state.serial,
            100 * state.watched.share,
            state.before,
            100 * state.watched_before.share,
            extra={"code": "nilm.rolled-back", "fix": "Train again with newer data, and publish."},
        )
        try:
            self._store.roll_back()
        except OSError as error:
            LOG.warning("that cannot be kept over a restart: %s", error.strerror)
        self._changed.set()

    async def _keep(self) -> None:
        """Write runs, and now and then what models leave unexplained."""
        watched_s = 0.0
        while True:
            await asyncio.sleep(KEEP_S)
            self._runs.flush()
            watched_s += KEEP_S
            if self._pull is None or watched_s < WATCH_SAVE_S:
                continue
            watched_s = 0.0
            try:
                self._store.save()
            except OSError as error:
                LOG.warning("what models leave unexplained cannot be kept: %s", error.strerror)


def has_little_memory(meminfo: Path = Path("/proc/meminfo")) -> bool:
    """Whether this board is too small for compiled kernels (60 to 130 MB): plain Python does the same more slowly."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        return int(lines["MemTotal"].split()[0]) < MEMORY_LEAST_KIB
    except (OSError, ValueError, LookupError):
        return False
