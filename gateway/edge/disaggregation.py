"""Disaggregation as the edge runs it: the worker, its model (a file, or pulled from the server), and its roll-back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivers.http1 import HttpClient
from gateway.clock import Clock
from gateway.config.schema import Config
from gateway.edge.appliances import Appliances, Publish
from gateway.edge.model_pull import LinkChoice, ModelPull
from gateway.edge.model_store import ModelStore
from gateway.edge.residual import is_worse
from gateway.model import Link
from gateway.pipeline.nilm.client import Disaggregator
from gateway.pipeline.nilm.result import ApplianceResult

MODEL_LOOK_S = 2.0
WATCH_SAVE_S = 3600.0  # what is measured of the residual; flash wears
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
        self.worker = Disaggregator(self._model() or folder / "model.json", folder, self._result)
        self.appliances = Appliances(settings, self.worker.feed, publish)
        self._pull: ModelPull | None = None
        if settings.key is not None and links is not None and client is not None:
            made = (config.site.id, settings.key, self._store, links, client, clock, self._changed.set)
            self._pull = ModelPull(*made)
        self._last_mono_ns: int | None = None
        self._clock = clock

    async def run(self) -> None:
        """Pull, work and watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._pull is not None:
                group.create_task(self._pull.run())
                group.create_task(self._keep_watched())
            await self._work()

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
            path = self._model()
            if path is None or not path.exists():  # a file tells nobody that it is there
                await self._wait(MODEL_LOOK_S)
                continue
            self.worker.use(path)
            work = asyncio.create_task(self.worker.run())
            try:
                await self._changed.wait()
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def _result(self, result: ApplianceResult) -> None:
        before, self._last_mono_ns = self._last_mono_ns, result.mono_ns
        if before is not None and self._pull is not None:
            self._watch((result.mono_ns - before) / 1e9, result)
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

    async def _keep_watched(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SAVE_S)
            try:
                self._store.save()
            except OSError as error:
                LOG.warning("what models leave unexplained cannot be kept: %s", error.strerror)
