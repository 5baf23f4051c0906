"""Pulls the gateway's model from its server over the uplink, has it checked, and hands it to the store.

A conditional GET each ``EVERY_S`` (each ``EVERY_METERED_S`` where bytes cost money): a few hundred bytes while nothing
is new. Checking is done by a process of its own (gateway.pipeline.nilm.verify).
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

from drivers.http1 import HttpClient, HttpError
from gateway.clock import Clock
from gateway.edge.model_store import ModelStore
from gateway.errors import LamppostError, UplinkError
from gateway.model import Link

EVERY_S = 3600.0
EVERY_METERED_S = 86_400.0
AGAIN_S = 300.0  # where the server did not answer
CHECK_MAX_S = 60.0
JOSE = "application/jose"
LOG = logging.getLogger("lamppost.edge")


class PullError(LamppostError):
    """The server's model cannot be used."""

    code = "nilm.pull"
    fix = "The model in use goes on. Look at what is published for this gateway (`lamppost models publish`)."


class LinkChoice(Protocol):
    """What it asks the links."""

    def current(self) -> Link | None:
        """The link to use now."""

    async def changed(self, since: Link | None) -> Link | None:
        """Wait for another one."""


class ModelPull:
    """``client`` opens a client over a link; ``key`` is the public key that a model must be signed with."""

    def __init__(
        self,
        gateway: str,
        key: str,
        store: ModelStore,
        links: LinkChoice,
        client: Callable[[Link], HttpClient],
        clock: Clock,
        on_new: Callable[[], None],
    ) -> None:
        self._gateway = gateway
        self._key = key
        self._store = store
        self._links = links
        self._client = client
        self._clock = clock
        self._on_new = on_new
        self.problem: LamppostError | None = None
        self._refused: dict[str, PullError] = {}  # by tag: what the server still offers is still wrong

    async def run(self) -> None:
        """Pull until cancelled."""
        while True:
            link = self._links.current() or await self._links.changed(None)
            if link is None:
                continue
            pause = EVERY_METERED_S if link.metered else EVERY_S
            try:
                await self.once(link)
                self.problem = None
            except LamppostError as error:
                if self.problem is None or self.problem.cause != error.cause:
                    LOG.warning("no new model: %s", error.cause, extra={"code": error.code, "fix": error.fix})
                self.problem = error
                pause = pause if isinstance(error, PullError) else AGAIN_S
            await asyncio.sleep(pause)

    async def once(self, link: Link) -> bool:
        """Look once; whether another model is in use now. Raises LamppostError."""
        state = self._store.state
        client = self._client(link)
        try:
            headers = {"Accept": JOSE} | ({"If-None-Match": state.tag} if state.tag else {})
            path = f"/lamppost/v1/gateways/{quote(self._gateway, safe='')}/model"
            answer = await client.request("GET", path, headers)
        except HttpError as error:
            raise UplinkError(error.cause) from None
        finally:
            await client.close()
        if answer.status == 304 and state.tag in self._refused:
            raise self._refused[state.tag]
        if answer.status in (304, 404):  # nothing new; nothing was ever published for this gateway
            return False
        if answer.status != 200:
            raise PullError(f"the server answered {answer.status} when asked for the model")
        try:
            return await self._take(answer.body, answer.headers.get("etag", ""))
        except OSError as error:
            raise PullError(f"the model cannot be kept: {error.strerror}") from None
        except PullError as error:
            self._refused = {state.tag: error}
            raise

    async def _take(self, body: bytes, tag: str) -> bool:
        """Check and install. What is refused once is not fetched again: its tag is remembered."""
        store, state = self._store, self._store.state
        received, model = store.scratch("release.part"), store.scratch("model.part")
        received.write_bytes(body)
        state.tag = tag
        try:
            found = await self._check(str(received), str(model))
            serial: int = found["serial"]
            if serial == state.serial:
                return False
            if serial < state.serial or serial in state.refused:
                cause = f"the server offers the model {serial}, which was in use here before and gave way"
                raise PullError(cause, fix="Publish a new one; an older model is never taken.")
            store.install(model, serial, found["expires"])
        finally:
            received.unlink(missing_ok=True)
            model.unlink(missing_ok=True)
            store.save()
        LOG.info("a new model of the appliances is in use: %d", serial)
        self._on_new()
        return True

    async def _check(self, received: str, model: str) -> dict[str, Any]:
        """What the checking process found. Raises PullError."""
        command = [sys.executable, "-m", "gateway.pipeline.nilm.verify", received]
        command += ["--key", self._key, "--gateway", self._gateway, "--output", model]
        now_ns = self._clock.utc_ns(self._clock.mono_ns())
        if now_ns is not None:
            command += ["--now", str(now_ns // 10**9)]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(CHECK_MAX_S):
                output, _ = await process.communicate()
            found: dict[str, Any] = json.loads(output)
        except (TimeoutError, ValueError):
            raise PullError("the model could not be checked", fix="Run `lamppost doctor`.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if "error" in found:
            error = found["error"]
            raise PullError(str(error["cause"]), code=str(error["code"]), fix=str(error["fix"]))
        return found
