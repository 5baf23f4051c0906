"""Wires the roles into one TaskGroup: signals, readiness, watchdog. No logic of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from drivers.errors import DriverError
from gateway import notify
from gateway.config.schema import Config
from gateway.errors import LamppostError

log = logging.getLogger("lamppost")
Role = Literal["edge", "server", "both"]
Probe = Callable[[], Awaitable[bool]]
WITHOUT_WATCHDOG_S = 10.0


async def run(config: Config, path: Path | None, role: Role, on_ready: Callable[[str], None]) -> None:
    """Run the roles until SIGTERM or SIGINT. ``on_ready`` gets the server's address, or "" without that role.

    Raises LamppostError when a role cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, log.info, "the server role reads its configuration at the start only")
    try:
        async with asyncio.TaskGroup() as group:
            address, probes = "", list[Probe]()
            if role in ("server", "both"):
                address = await _start_server(config, group, stop, probes)
            if role in ("edge", "both"):
                await _start_edge(config, path, address, group, stop, probes)
            group.create_task(_keep_alive(probes, stop))
            on_ready(address)
            notify.notify("READY=1")
            await stop.wait()
            notify.notify("STOPPING=1")
    except* LamppostError as errors:
        raise errors.exceptions[0] from None


async def _start_server(config: Config, group: asyncio.TaskGroup, stop: asyncio.Event, probes: list[Probe]) -> str:
    from gateway.server.http import create_app  # a box without the server role never pays for it
    from gateway.server.serve import serve, settings_of

    settings = settings_of(config)
    application = create_app(settings)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    group.create_task(serve(settings, ready=ready.set_result, stop=stop, app=application))
    address = await ready
    probes.append(application.healthy)
    return address


async def _start_edge(
    config: Config,
    path: Path | None,
    address: str,
    group: asyncio.TaskGroup,
    stop: asyncio.Event,
    probes: list[Probe],
) -> None:
    from gateway.edge.service import Edge

    edge = Edge(config, path, address)
    running = asyncio.Event()
    group.create_task(edge.run(stop, running))
    await running.wait()
    probes.append(edge.healthy)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, edge.reload, group)


def _reload(reload: Callable[[], Awaitable[None]], group: asyncio.TaskGroup) -> None:
    async def follow() -> None:
        notify.reloading()
        try:
            await reload()
        except (LamppostError, DriverError) as error:
            log.error("the configuration stays as it was: %s (%s). %s", error, error.code, error.fix)
        notify.notify("READY=1")

    group.create_task(follow())


async def _keep_alive(probes: list[Probe], stop: asyncio.Event) -> None:
    """Feed the watchdog while every role makes progress."""
    interval = notify.watchdog_interval_s()
    while not stop.is_set():
        if interval is not None and all([await probe() for probe in probes]):
            notify.notify("WATCHDOG=1")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval or WITHOUT_WATCHDOG_S):
                await stop.wait()
