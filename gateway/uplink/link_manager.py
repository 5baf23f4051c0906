"""The links of a box: looks at each, probes those that carry nothing, counts their bytes, and says which one to use.

The sender asks ``current()`` before an exchange, tells what came of it, and is woken by ``changed()``. All that is
decided is decided in ``link_choice`` and ``link_pace``; here are the tasks and the clocks around it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

from drivers.bound import Resolve
from drivers.http1 import HttpError
from gateway.clock import Clock
from gateway.config.schema import LinkConfig
from gateway.errors import UplinkError
from gateway.model import Link, Priority
from gateway.uplink import link_budget
from gateway.uplink.carrier import Carriers, InterfaceCarriers, same_way
from gateway.uplink.link_choice import POLICY, Choice, Memory, Policy, choose, is_suspect
from gateway.uplink.link_demand import Demand
from gateway.uplink.link_file import LinkFile
from gateway.uplink.link_meter import LinkMeter
from gateway.uplink.link_names import Names
from gateway.uplink.link_pace import Pace, probe_spacing_s
from gateway.uplink.link_probe import Outcome, Prober, can_probe, is_authentic
from gateway.uplink.link_report import explain

LOG = logging.getLogger("lamppost.uplink")
LOOK_S = 1.0
LOOK_NONE_S = 0.25  # where no link can be used: what waits should leave soon after one can
COUNT_S = 5.0
SAVE_S = 60.0
DOUBT_S, DOUBT_METERED_S = 30.0, 300.0  # between two probes of the link in use where the server answers oddly
DEFAULT = (LinkConfig(name="default"),)


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the uplink: where the server is, and what a sender is to keep to on a link that costs nothing."""

    url: str
    ca_file: Path | None
    interval_s: float
    batch_max: int


class Links:
    """The links in the order of preference; without any, one over whatever the routing table says.

    ``folder``: where the bytes of the month are kept. Raises UplinkError for settings that cannot be used.
    """

    def __init__(
        self,
        configs: Sequence[LinkConfig],
        settings: Settings,
        carriers: Carriers,
        *,
        clock: Clock,
        zone: tzinfo,
        folder: Path,
        policy: Policy = POLICY,
    ) -> None:
        self._settings = settings
        self._carriers = carriers
        self._clock = clock
        self._policy = policy
        self._file = LinkFile(folder)
        self._saved = self._file.read()
        now = self._now()
        self._zone = zone
        self._meters = {config.name: self._meter(config) for config in configs or DEFAULT}
        self._names: dict[str, Names] = {}
        self._probers: dict[str, Prober] = {}
        self._demand = Demand()
        self._counted_at = self._saved_at = now
        self._authentic = is_authentic(settings.url)
        self._doubt = False
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        for meter in self._meters.values():
            self._make_prober(meter, self._probers)  # a wrong URL or CA file is said at the start
        self._choice = Choice(None, {}, frozenset(), Memory())

    # what a sender asks

    def current(self) -> Link | None:
        """The link to use now, None where there is none."""
        return None if self._choice.link is None else self._meters[self._choice.link].link

    def allows(self, priority: Priority) -> bool:
        """Whether readings of a priority may travel now."""
        return self._choice.link is not None and self._meters[self._choice.link].allows(priority)

    def pace(self) -> Pace:
        """What to keep to on the current link."""
        if self._choice.link is None:
            return Pace(self._settings.interval_s, self._settings.batch_max)
        return self._meters[self._choice.link].pace(self._settings.interval_s, self._settings.batch_max)

    def names(self, link: Link) -> Resolve | None:
        """What resolves names over a link; None where the system does it, over whatever link."""
        meter = self._meters.get(link.name)
        return None if meter is None else self._resolver(meter)

    async def changed(self, since: Link | None) -> Link | None:
        """Wait until another link than ``since`` is to be used, and return it."""
        while (now := self.current()) == since:
            await self._changed.wait()
        return now

    # what a sender tells

    async def ready(self, link: Link) -> bool:
        """Wait until a link that sleeps is up for an exchange, or did not come up; whether it slept."""
        if not self._demand.sleeps(link.name):
            return False
        self._demand.wake(link.name, self._now())
        self._told(link).active_at = self._now()
        await self._carriers.bring_up(self._told(link).config)
        self._wake.set()
        await self._demand.woken(link.name)
        return True

    def began(self, link: Link) -> None:
        """An exchange begins. Without an answer the link is left after a while, whatever the exchange waits for."""
        self._told(link).began(self._now())

    def worked(self, link: Link, rtt_s: float | None = None) -> None:
        """An exchange was acknowledged; ``rtt_s`` where it says something about the link."""
        self._told(link).worked(rtt_s, self._now())

    def answered(self, link: Link) -> None:
        """What was sent got an answer, if no acknowledgement: the link is not at fault, unless a portal answers."""
        self._told(link).answered(self._now())
        self._doubt = not self._authentic
        self._wake.set()

    def heard(self, link: Link) -> None:
        """A small question was answered. It does not outweigh a batch that failed before and still waits."""
        self._told(link).heard(self._now())

    def portal(self, link: Link, cause: str) -> None:
        """Somebody else answered in place of the server: the link is left, and used again when a probe reaches it."""
        self._told(link).probed(Outcome("portal", cause=cause), self._now())
        self._wake.set()

    def failed(self, link: Link, cause: str) -> None:
        """No answer came."""
        self._told(link).failed(cause, self._now())
        self._wake.set()

    def _told(self, link: Link) -> LinkMeter:
        """Its meter; of a link that is configured no more nobody looks at it."""
        return self._meters.get(link.name) or self._meter(LinkConfig(name=link.name))

    # the configuration

    async def configure(self, configs: Sequence[LinkConfig], carriers: Carriers) -> None:
        """Take another configuration: what is known of links that go the same way stays, and so do the bytes of all.

        ``carriers`` replace those that are in use, where these cannot serve the new links. Raises UplinkError for
        settings that cannot be used; then nothing has changed.
        """
        old, now = self._meters, self._now()
        meters: dict[str, LinkMeter] = {}
        probers: dict[str, Prober] = {}
        for config in configs or DEFAULT:
            kept = old.get(config.name)
            stays = kept is not None and same_way(kept.config, config)
            meters[config.name] = kept if kept is not None and stays else self._meter(config, kept)
            self._make_prober(meters[config.name], probers, config)
        gone = [meter.config for name, meter in old.items() if meters.get(name) is not meter]
        for config in configs or DEFAULT:
            meters[config.name].config = config
        self._meters, self._probers = meters, probers
        for config in gone:
            self._names.pop(config.name, None)
            self._demand.forget(config.name)
        self._choice = replace(self._choice, link=None) if self._choice.link not in meters else self._choice
        self._follow(now)
        for config in gone:
            if config.on_demand or (config.modem is not None and config.name in meters):
                await self._carriers.bring_down(config)
        await self._serve_by(carriers)
        self._follow(self._now())

    def _look_at_carriers(self, now: float) -> None:
        for name, meter in self._meters.items():
            carrier = self._carriers.carrier(meter.config)
            if self._demand.covers(name, carrier.up, now):
                continue
            if meter.carried(carrier, now):
                self._names.pop(meter.config.name, None)
                self._make_prober(meter, self._probers)
                self._tell()  # it may have another interface now
            self._resolver(meter)  # or other name servers

    def _follow(self, now: float) -> None:
        self._look_at_carriers(now)
        self._choose(now)
        self._tell()
        self._wake.set()

    async def _serve_by(self, carriers: Carriers) -> None:
        """The source that is there goes on where it can do as much as the other one."""
        configs = [meter.config for meter in self._meters.values()]
        if isinstance(carriers, InterfaceCarriers) or type(carriers) is type(self._carriers):
            self._carriers.follow(configs)
            return
        await carriers.start()
        left, self._carriers = self._carriers, carriers
        await left.close()

    def _meter(self, config: LinkConfig, before: LinkMeter | None = None) -> LinkMeter:
        usage = self._saved.get(config.name, link_budget.Usage()) if before is None else before.usage
        return LinkMeter(config, self._zone, self._clock, usage, self._now())

    # the task

    async def run(self) -> None:
        """Look after the links until cancelled."""
        await self._carriers.start()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self.look(group)
                    await self._sleep()
                    await self._save()
        finally:
            await self._carriers.close()
            self._file.write({name: meter.usage for name, meter in self._meters.items()})

    def look(self, group: asyncio.TaskGroup) -> None:
        """One look at everything: carriers, counters, the choice, and what is to be done about it."""
        now = self._now()
        self._look_at_carriers(now)
        if now >= self._counted_at:
            self._count()
            self._counted_at = now + COUNT_S
        self._probe(group, now)  # before the choice: what is in doubt is asked before another is taken
        self._choose(now)
        self._bring(group, now)
        for name, meter in self._meters.items():
            self._carriers.works(meter.config, works=name not in self._choice.dead)

    def explain(self) -> list[dict[str, Any]]:
        """Each link and why it is used or not; the keys are those of ``lamppost link --json``.

        What the sender makes of the pace, ``holds`` and ``thin``, is the sender's to say.
        """
        now, used = self._now(), self._choice.link
        return [
            explain(meter, self._choice.why.get(name), now, used=name == used, asleep=self._demand.sleeps(name))
            for name, meter in self._meters.items()
        ]

    def _choose(self, now: float) -> None:
        old = self._choice
        self._choice = choose([m.view(now) for m in self._meters.values()], old.memory, now, self._policy)
        if self._choice.link == old.link:
            return
        if old.link is not None:
            self._meters[old.link].left()
        self._say(old.link)
        self._tell()

    def _tell(self) -> None:
        """Wake those who wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _say(self, left: str | None) -> None:
        why = "" if left is None else f"; {left}: {self._choice.why[left].text}"
        if self._choice.link is None:
            LOG.warning("no link can be used%s", why)
        else:
            LOG.info("link %s is used%s", self._choice.link, why, extra={"link": self._choice.link})

    def _probe(self, group: asyncio.TaskGroup, now: float) -> None:
        used = self._choice.link
        in_doubt = used is None or is_suspect(self._meters[used].view(now), self._policy)
        better = True
        for name, meter in self._meters.items():
            better = better and name != used
            if name in self._probers and not meter.probing and meter.carrier.up and not self._demand.sleeps(name):
                due = self._is_due_used(meter, now) if name == used else self._is_due(meter, now, in_doubt or better)
                if due:
                    meter.probing = True
                    group.create_task(self._ask(meter, self._probers[name]))
        self._doubt = False

    def _is_due(self, meter: LinkMeter, now: float, needed: bool) -> bool:
        pace = meter.pace(self._settings.interval_s, self._settings.batch_max)
        spacing = probe_spacing_s(pace, metered=meter.metered, needed=needed, failures=meter.seen.failures)
        return meter.probed_at is None or now - meter.probed_at >= spacing

    def _is_due_used(self, meter: LinkMeter, now: float) -> bool:
        """The link in use is its own proof; it is asked where an answer looked odd, or it carries nothing."""
        since_s = float("inf") if meter.probed_at is None else now - meter.probed_at
        ok_age_s = float("inf") if meter.seen.ok_at is None else now - meter.seen.ok_at
        idle_s = meter.pace(self._settings.interval_s, self._settings.batch_max).probe_s
        idle = len(self._meters) > 1 and min(since_s, ok_age_s) >= idle_s
        doubt = self._doubt and since_s >= (DOUBT_METERED_S if meter.metered else DOUBT_S)
        return doubt or (idle and meter.seen.waiting_since is None)

    async def _ask(self, meter: LinkMeter, prober: Prober) -> None:
        try:
            outcome = await prober.ask()
            if prober is self._probers.get(meter.config.name):  # else the interface is another by now
                meter.probed(outcome, self._now())
        finally:
            meter.probing, meter.probed_at = False, self._now()
            self._wake.set()

    def _bring(self, group: asyncio.TaskGroup, now: float) -> None:
        """Links on demand: up where they are wanted, down where they are not."""
        for name, meter in self._meters.items():
            up, wanted, used = self._carriers.carrier(meter.config).up, name in self._choice.wanted, self._choice.link
            wish = self._demand.wish(meter, up=up, wanted=wanted, used=name == used, now=now)
            if wish is not None:
                bring = self._carriers.bring_up if wish else self._carriers.bring_down
                group.create_task(bring(meter.config))

    def _count(self) -> None:
        for meter in self._meters.values():
            interface = meter.carrier.interface
            meter.count(None if interface is None else link_budget.sample(interface, self._clock.boot_id))

    async def _save(self) -> None:
        now, usages = self._now(), {name: meter.usage for name, meter in self._meters.items()}
        if usages != self._saved and now >= self._saved_at + SAVE_S:
            self._saved, self._saved_at = usages, now
            await asyncio.to_thread(self._file.write, usages)  # a card may take long to sync

    async def _sleep(self) -> None:
        """Until something happens, at most LOOK_S, or LOOK_NONE_S."""
        look_s = LOOK_NONE_S if self._choice.link is None else LOOK_S
        waits = [asyncio.ensure_future(event.wait()) for event in (self._wake, self._carriers.changed)]
        try:
            await asyncio.wait(waits, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._wake.clear()
        self._carriers.changed.clear()

    def _resolver(self, meter: LinkMeter) -> Names | None:
        carrier, name = meter.carrier, meter.config.name
        if carrier.interface is None:
            return None
        known = self._names.get(name)
        if known is None or known.interface != carrier.interface:
            known = self._names[name] = Names(carrier.interface, carrier.dns)
        known.servers = carrier.dns  # whoever has it asks the new ones from now on
        return known

    def _make_prober(self, meter: LinkMeter, probers: dict[str, Prober], config: LinkConfig | None = None) -> None:
        """``config``: the one that the meter is going to have."""
        name, own = meter.config.name, (config or meter.config).probe
        url = own or self._settings.url
        if not can_probe(url):
            return
        try:
            probers[name] = Prober(
                url, meter.carrier.interface, self._resolver(meter), ca_file=self._settings.ca_file, own=own is not None
            )
        except HttpError as error:
            fix = "Give uplink.url and the probe of each link as http(s)://host:port."
            raise UplinkError(error.cause, code="uplink.bad-url", fix=fix) from error
        except OSError as error:
            fix = "uplink.ca_file must be a readable PEM file with the certificate of the authority."
            raise UplinkError(f"cannot use the CA file: {error}", code="uplink.bad-ca", fix=fix) from error

    def _now(self) -> float:
        return self._clock.mono_ns() / link_budget.SECOND
