"""The edge role put together: clock, supervisor, pipeline, disaggregation, outbox, uplink, control socket, metrics."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from drivers import registry
from drivers.base import Frame, Observation, passed_over
from drivers.http1 import HttpClient
from gateway import __version__, notify
from gateway.clock import SystemClock
from gateway.config.diff import diff
from gateway.config.load import require
from gateway.config.schema import Config
from gateway.edge import report
from gateway.edge.control import Args, ControlServer
from gateway.edge.counter_file import CounterFile
from gateway.edge.disaggregation import Disaggregation
from gateway.edge.latest import Latest, as_json
from gateway.edge.metrics import MetricsServer
from gateway.edge.modbus import modbus_exchange
from gateway.edge.profiles import corrections, counter_rules, profiles, raw_counters
from gateway.edge.supervisor import Supervisor
from gateway.errors import ControlError, OutboxError
from gateway.mapping.mapper import GATEWAY, Mapper
from gateway.model import Link, LinkState, Priority
from gateway.outbox.records import may_heal
from gateway.outbox.retention import Limits
from gateway.outbox.store import Outbox
from gateway.pipeline.stages import Pipeline
from gateway.uplink import pace
from gateway.uplink.carrier import make_carriers
from gateway.uplink.client import open_client
from gateway.uplink.link_manager import Links, Settings
from gateway.uplink.make import make_access, make_transport
from gateway.uplink.sender import Uplink
from gateway.uplink.transport import Transport

log = logging.getLogger("lamppost.edge")
REPORT_S = 10.0
CLOCK_S = 5.0
SOCKET_NAME = "lamppost.sock"
CAPTURE_BACKLOG = 1000
NAME_MAX = 64  # characters of an appliance's name
FRESH_INTERVALS = 2  # readings stay live for so many batches: one may fail
MODBUS_KEYS = ("unit", "function", "address", "count")


class Edge:
    """One box. ``path`` is the configuration file, read again by :meth:`reload`.

    ``server_address`` is that of a server role in the same process, for the status only.
    """

    def __init__(self, config: Config, path: Path | None, server_address: str = "") -> None:
        self.config = config
        self._server_address = server_address
        self._path = path
        self._reloading = asyncio.Lock()
        self.clock = SystemClock(configured=config.clock.trusted)
        self._latest = Latest()
        self._counter_file = CounterFile(config.storage.path)
        self._counter_file.counters.learn(counter_rules(config), raw_counters(config))
        self._pipeline = Pipeline(self.clock, corrections(config), self._counter_file.counters)
        self._mapper = Mapper(config.site.id, profiles(config, __version__))
        storage = config.storage
        self._outbox = Outbox(
            storage.path / "outbox.sqlite",
            limits=Limits(storage.outbox_max, storage.acked_max, storage.full == "thin", storage.keep_for),
            commit_interval_s=storage.commit_interval,
            clock=self.clock,
            gateway=config.site.id,
        )
        self._supervisor = Supervisor(self._emit)
        self._links = self._make_links()
        self._uplink = self._make_uplink()
        self._disaggregation = self._make_disaggregation()
        self._metrics = MetricsServer(config.local.listen, self._render_metrics, self.progresses)
        self._control = ControlServer(
            storage.path / SOCKET_NAME,
            {
                "status": self._status,
                "readings": self._readings,
                "read": self._read,
                "scan": self._scan,
                "modbus": self._modbus,
                "links": self._explain_links,
                "appliances": self._appliances,
                "runs": self._runs,
                "correct": self._correct,
                "reload": self._reload_request,
            },
            {"watch": self._watch, "capture": self._capture},
        )

    async def run(self, stop: asyncio.Event, running: asyncio.Event) -> None:
        """Run until ``stop``; then flush and close everything. Sets ``running`` once all parts have started.

        Raises LamppostError when it cannot start.
        """
        self._make_folder()
        try:
            await self._outbox.start()  # first: its lock keeps a second daemon out of this folder
            await self._metrics.start()
            await self._supervisor.start(self.config)
            await self._control.start()  # last: who asks gets whole answers
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._report()), group.create_task(self._keep_time())]
                tasks.append(group.create_task(self._counter_file.keep()))
                if self._uplink is not None:
                    tasks.append(group.create_task(self._uplink.run()))
                if self._links is not None:
                    tasks.append(group.create_task(self._links.run()))
                if self._disaggregation is not None:
                    tasks.append(group.create_task(self._disaggregation.run()))
                running.set()
                await stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            await self._control.close()
            await self._metrics.close()
            await self._supervisor.close()
            self._counter_file.close()
            await self._outbox.close()

    def _make_folder(self) -> None:
        """Raises OutboxError where it cannot be; a sick disk is waited for, by who wants to write there."""
        folder = self.config.storage.path
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if not may_heal(error):
                fix = "Make it and give it to the service's user, or give another storage.path."
                cause = f"the folder {folder} cannot be made: {error.strerror}"
                raise OutboxError(cause, code="outbox.no-folder", fix=fix) from error

    async def reload(self) -> None:
        """Read the configuration again; what did not change goes on without a gap, a wrong file changes nothing."""
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        if self._path is None:
            raise ControlError("started without a configuration file", code="config.no-file", fix="Give --config.")
        new = require(self._path)
        change = diff(self.config, new)
        if change.needs_restart:
            log.warning("these parts of the configuration take effect at the next start: %s", change.needs_restart)
        if change.links_changed and self._links is not None:  # first: it may refuse what it is given
            await self._links.configure(new.links, make_carriers(new.links, self.config.storage.path))
        self._pipeline.correct(corrections(new))
        self._counter_file.counters.learn(counter_rules(new), raw_counters(new))
        self._mapper.learn(profiles(new, __version__))
        await self._supervisor.apply(new, change)
        for name in change.devices_removed:
            self._latest.forget(name)
        self.config = new
        log.info(
            "configuration reloaded: %d devices added, %d changed, %d removed; links %s",
            len(change.devices_added),
            len(change.devices_changed),
            len(change.devices_removed),
            "changed" if change.links_changed else "as before",
        )

    def progresses(self) -> bool:
        """Whether the devices' tasks and the outbox writer make progress: only then the watchdog is fed."""
        return self._outbox.stats().writer_alive and self._supervisor.progresses(time.monotonic_ns())

    async def healthy(self) -> bool:
        """:meth:`progresses`, as the watchdog asks for it."""
        return self.progresses()

    def status_line(self) -> str:
        """One line for systemd and the log."""
        holds = self._uplink is not None and self._uplink.stats().holds
        health, outbox = self._supervisor.health, self._outbox.stats()
        return report.summary(self.config, health, outbox, self._link_state(), self.clock, holds=holds)[1]

    def _emit(self, device: str, observation: Observation) -> None:
        if observation.time_trusted and observation.device_ns is not None:
            self.clock.learn_fix(observation.device_ns, observation.mono_ns)
        readings = self._pipeline.process(device, observation)
        if not readings:
            return
        self._outbox.append(readings)
        self._latest.put(readings, observation.mono_ns)
        counted = self._supervisor.health[device].readings_by_quality
        for reading in readings:
            counted[reading.quality.name.lower()] += 1
        if self._disaggregation is not None:
            self._disaggregation.appliances.observe(device, readings, observation.mono_ns)

    def _publish_appliance(self, device: str, observation: Observation, urgent: bool, replaces: bool) -> None:
        readings = self._pipeline.process(device, observation)
        self._latest.put(readings, observation.mono_ns)
        if self.config.privacy.appliances == "send":
            priority = Priority.ALARM if urgent else Priority.LIVE
            self._outbox.append(readings, priority=priority, replaces=replaces)

    async def _report(self) -> None:
        while True:
            stats = self._outbox.stats()
            observation = report.observation(self._supervisor.health, stats, self._link_state())
            readings = self._pipeline.process(GATEWAY, observation)
            self._outbox.append(readings)
            self._latest.put(readings, observation.mono_ns)
            notify.notify(f"STATUS={self.status_line()}")
            await asyncio.sleep(REPORT_S)

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(CLOCK_S)
            self.clock.refresh()

    def _make_uplink(self) -> Uplink | None:
        settings, links = self.config.uplink, self._links
        if settings is None or links is None:
            return None

        def transport(link: Link) -> Transport:
            return make_transport(settings, self._mapper, link, links.names(link))

        transport(Link("default"))  # settings that cannot be used are said at the start
        return Uplink(self._outbox, links, transport, clock=self.clock, backlog_share=settings.backlog_share)

    def _make_links(self) -> Links | None:
        settings = self.config.uplink
        if settings is None:
            return None
        interval_s = settings.interval or pace.INTERVAL_S
        server = Settings(settings.url, settings.ca_file, interval_s, settings.batch_max)
        zone = ZoneInfo(self.config.site.time_zone)
        folder = self.config.storage.path
        carriers = make_carriers(self.config.links, folder)
        return Links(self.config.links, server, carriers, clock=self.clock, zone=zone, folder=folder)

    def _make_disaggregation(self) -> Disaggregation | None:
        settings, uplink = self.config.disaggregation, self.config.uplink
        if settings is None or (settings.model is None and settings.key is None):
            return None

        def client(link: Link) -> HttpClient:
            assert uplink is not None
            assert self._links is not None
            return open_client(make_access(uplink, link, self._links.names(link)), {})

        opened = None if uplink is None else client
        return Disaggregation(self.config, self._publish_appliance, self.clock, self._links, opened)

    def _link_state(self) -> LinkState | None:
        return None if self._uplink is None else self._uplink.state()

    def _render_metrics(self) -> str:
        extra: dict[str, float] = {"invalid_values_total": self._pipeline.invalid}
        if self._uplink is not None:
            stats = self._uplink.stats()
            extra |= {"uplink_live_age_seconds": stats.live_age_s or 0.0, "uplink_drain_per_second": stats.drain_per_s}
        if self._disaggregation is not None:
            state = self._disaggregation.worker.state()
            extra |= {"nilm_ready": state.ready, "nilm_restarts_total": state.restarts}
        return report.metrics(self._supervisor.health, self._outbox.stats(), self._link_state(), extra)

    async def _status(self, _args: Args) -> dict[str, Any]:
        uplink = None if self._uplink is None else self._uplink.stats()
        health, outbox = self._supervisor.health, self._outbox.stats()
        edge = report.status(self.config, __version__, health, outbox, self._link_state(), self.clock, uplink)
        for name, device in edge["devices"].items():
            device["counters"] = self._counter_file.counters.offsets(name)
            device["passed"] = passed_over(self._supervisor.drivers[name])
        edge["disaggregation"] = None if self._disaggregation is None else self._disaggregation.as_json()
        edge["buses"] = {name: {"passed": passed_over(bus)} for name, bus in self._supervisor.buses.items()}
        address = self._server_address
        return edge | {"role": "both" if address else "edge", "server": {"listen": address} if address else None}

    async def _explain_links(self, _args: Args) -> list[dict[str, Any]]:
        if self._links is None or self._uplink is None:
            return []
        uplink = self._uplink.stats()
        sends = {"holds": uplink.holds, "thin": uplink.thin}
        return [link | (sends if link["used"] else {}) for link in self._links.explain()]

    async def _readings(self, args: Args) -> list[dict[str, Any]]:
        now = time.monotonic_ns()
        return [as_json(reading, mono_ns, now) for reading, mono_ns in self._latest.items(args.get("device"))]

    def _told_apart(self) -> Disaggregation:
        """Raises ControlError where nothing is."""
        if self._disaggregation is None:
            fix = "Configure `disaggregation`; see docs/howto/disaggregation.md."
            raise ControlError("no appliances are told apart on this box", code="control.no-appliances", fix=fix)
        return self._disaggregation

    async def _appliances(self, _args: Args) -> dict[str, Any]:
        return self._told_apart().appliances_json()

    async def _runs(self, args: Args) -> list[dict[str, Any]]:
        since = args.get("since_s", 0.0)
        if not isinstance(since, int | float):
            raise ControlError("since_s is no number", code="control.args", fix="Give UTC seconds.")
        return self._told_apart().runs_json(since)

    async def _correct(self, args: Args) -> dict[str, Any]:
        name, right, start_s = args.get("name"), args.get("right"), args.get("start_s")
        if not isinstance(name, str) or not isinstance(right, str) or not isinstance(start_s, int | float):
            raise ControlError("name, right or start_s is missing", code="control.args", fix="Ask as the page does.")
        if not 0 < len(right) <= NAME_MAX:
            raise ControlError(f"a name has 1 to {NAME_MAX} characters", code="control.args", fix="Give another name.")
        return self._told_apart().correct(name, start_s, right)

    async def _read(self, args: Args) -> list[dict[str, Any]]:
        name = args.get("device")
        if name not in self.config.devices:
            known = ", ".join(self.config.devices) or "none"
            raise ControlError(f"no device {name!r}", code="control.no-device", fix=f"Configured: {known}.")
        health = self._supervisor.health[name]
        if health.state != "up" and health.error is not None:
            raise ControlError(str(health.error), code=health.error.code, fix=health.error.fix)
        return await self._readings(args)

    async def _scan(self, args: Args) -> Any:
        bus = self._bus(args)
        scan = getattr(bus, "scan", None)
        if scan is None:
            raise ControlError(f"bus {bus.name!r} cannot be scanned", code="control.no-scan", fix="Scan another bus.")
        seconds = args.get("seconds")
        timed = isinstance(seconds, int | float) and "seconds" in inspect.signature(scan).parameters
        return [registry.found_json(found) for found in await (scan(seconds) if timed else scan())]

    async def _modbus(self, args: Args) -> dict[str, Any]:
        numbers = {key: args.get(key) for key in ("unit", "function", "address", "count")}
        wrong = [key for key, value in numbers.items() if not isinstance(value, int) or isinstance(value, bool)]
        if wrong:
            raise ControlError(
                f"{wrong[0]} is no number", code="control.args", fix="Ask as `lamppost modbus read` does."
            )
        return await modbus_exchange(self._bus(args), **numbers)

    async def _reload_request(self, _args: Args) -> str:
        await self.reload()
        return self.status_line()

    async def _watch(self, args: Args) -> AsyncIterator[dict[str, Any]]:
        wanted = args.get("device")
        with self._latest.watch() as queue:
            while True:
                reading, mono_ns = await queue.get()
                if wanted in (None, reading.device):
                    yield as_json(reading, mono_ns, time.monotonic_ns())

    async def _capture(self, args: Args) -> AsyncIterator[dict[str, Any]]:
        bus = self._bus(args)
        if bus.tap is not None:
            raise ControlError(
                f"bus {bus.name!r} is being captured already", code="control.captured", fix="Stop that one."
            )
        frames: asyncio.Queue[Frame] = asyncio.Queue(CAPTURE_BACKLOG)
        bus.tap = lambda frame: None if frames.full() else frames.put_nowait(frame)
        try:
            while True:
                frame = await frames.get()
                yield {"bus": frame.bus, "direction": frame.direction, "hex": frame.data.hex(), "at_ns": frame.at_ns}
        finally:
            bus.tap = None

    def _bus(self, args: Args) -> Any:
        name = args.get("bus")
        if name not in self._supervisor.buses:
            known = ", ".join(self._supervisor.buses) or "none"
            raise ControlError(f"no bus {name!r}", code="control.no-bus", fix=f"Configured: {known}.")
        return self._supervisor.buses[name]
