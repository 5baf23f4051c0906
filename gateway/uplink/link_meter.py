"""One link as measured: its carrier, what the sender and the probes saw of it, its bytes against its budget."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import tzinfo

from gateway.clock import Clock
from gateway.config.schema import LinkConfig
from gateway.model import Link, Priority
from gateway.uplink.carrier import Carrier
from gateway.uplink.link_budget import SECOND, Sample, Usage, is_open, month_of
from gateway.uplink.link_choice import LinkView
from gateway.uplink.link_pace import Budget, Pace, pace
from gateway.uplink.link_probe import Outcome

RTT_GAIN = 1 / 8  # of a new round trip in the mean: RFC 6298, 2.3
PROBES_MIN, PROBES_KEPT = 5, 20  # the loss is counted over these
OUTAGE = 2  # so many failures in a row are an outage
PRIORITIES = {"alarm": Priority.ALARM, "live": Priority.LIVE, "history": Priority.HISTORY}


@dataclass(slots=True)
class Evidence:
    """What was seen of a link since its carrier came. Times are monotonic seconds."""

    acked_at: float | None = None
    ok_at: float | None = None
    waiting_since: float | None = None
    failures: int = 0
    portal: bool = False
    cause: str = ""


class LinkMeter:
    """Measures one link. ``now`` is monotonic seconds, from any clock, always the same."""

    def __init__(self, config: LinkConfig, zone: tzinfo, clock: Clock, usage: Usage, now: float) -> None:
        self.config = config
        self.usage = usage
        self.carrier = Carrier(False, problem="not looked at yet")
        self.since = now
        self.active_at = now
        self.rtt_s: float | None = None
        self.seen = Evidence()
        self.probing = False
        self.probed_at: float | None = None
        self._acked_at: float | None = None
        self._probes: deque[bool] = deque(maxlen=PROBES_KEPT)
        self._zone = zone
        self._clock = clock

    @property
    def link(self) -> Link:
        """The link as the transports know it, with the interface that it has now."""
        return Link(self.config.name, self.carrier.interface, self.metered)

    @property
    def metered(self) -> bool:
        """Whether bytes cost money: so configured, or so NetworkManager says."""
        return self.config.metered or bool(self.carrier.metered)

    @property
    def loss(self) -> float | None:
        """Share of the last probes that were lost, None where they are too few to say."""
        return self._probes.count(False) / len(self._probes) if len(self._probes) >= PROBES_MIN else None

    @property
    def exhausted(self) -> bool:
        """Whether the budget allows alarms only."""
        budget = self.budget()
        return budget is not None and budget.exhausted

    def carried(self, carrier: Carrier, now: float) -> bool:
        """Take the carrier; whether it came or went. What was seen before is no evidence of the new one."""
        changed = carrier.up != self.carrier.up or carrier.interface != self.carrier.interface
        self.carrier = carrier
        if changed:
            self.since, self.active_at, self.probed_at, self.seen = now, now, None, Evidence()
            self._probes.clear()
        return changed

    def began(self, now: float) -> None:
        """An exchange begins."""
        self.active_at = now
        if self.seen.waiting_since is None:
            self.seen.waiting_since = now

    def worked(self, rtt_s: float | None, now: float) -> None:
        """An exchange was acknowledged."""
        self._acked_at = self.seen.acked_at = self.active_at = now
        self.answered(now)
        self._measure(rtt_s)

    def heard(self, now: float) -> None:
        """Something small was answered; a batch that failed before still waits for its acknowledgement."""
        self.active_at = now
        self.seen.ok_at = now
        if not self.seen.failures:
            self.seen.waiting_since = None

    def answered(self, now: float) -> None:
        """The server answered what was sent, if only that it does not want it now: the link moves it."""
        self.seen.ok_at, self.seen.waiting_since, self.seen.failures, self.seen.cause = now, None, 0, ""

    def failed(self, cause: str, now: float) -> None:
        """An exchange failed: no answer, or it cannot have been the server's."""
        self.began(now)
        self.seen.failures += 1
        self.seen.cause = cause

    def probed(self, outcome: Outcome, now: float) -> None:
        """A probe is over. What it finds does not outweigh an exchange that waits for its acknowledgement."""
        works = outcome.found == "works"
        if works and self.seen.failures >= OUTAGE:
            self._probes.clear()  # that was an outage, not a lossy link
        self._probes.append(works)
        self.seen.portal = outcome.found == "portal"
        if works:
            self._measure(outcome.rtt_s)
            if self.seen.waiting_since is None:
                self.answered(now)
        elif self.seen.waiting_since is None or self.seen.portal:
            self.seen.failures += 1
            self.seen.cause = outcome.cause

    def left(self) -> None:
        """Another link is used from now on: an exchange that was waiting here has failed."""
        if self.seen.waiting_since is not None:
            self.seen.failures = max(1, self.seen.failures)
            self.seen.waiting_since = None
            self._probes.clear()

    def count(self, sample: Sample | None) -> None:
        """Take the kernel's counters, and the date where it is known."""
        if sample is not None:
            self.usage = self.usage.count(sample)
        utc_ns = self._clock.utc_ns(self._clock.mono_ns())
        if utc_ns is not None:
            begin, _ = month_of(utc_ns, self.config.budget_day, self._zone)
            self.usage = self.usage.date(begin.date().isoformat())

    def budget(self) -> Budget | None:
        """The budget of this month, None where none is configured."""
        if self.config.budget is None:
            return None
        utc_ns = self._clock.utc_ns(self._clock.mono_ns())
        if utc_ns is None:
            return Budget(self.config.budget, self.usage.used, 1.0, 1.0)
        begin, end = (moment.timestamp() for moment in month_of(utc_ns, self.config.budget_day, self._zone))
        return Budget(self.config.budget, self.usage.used, end - utc_ns / SECOND, end - begin)

    def pace(self, interval_s: float, batch_max: int) -> Pace:
        """How fast to send over it."""
        return pace(self.metered, self.budget(), interval_s, batch_max)

    def allows(self, priority: Priority) -> bool:
        """Whether readings of a priority may travel on it now."""
        carried = priority in {PRIORITIES[word] for word in self.config.carries}
        return carried and (priority == Priority.ALARM or not self.exhausted)

    def idle(self, now: float) -> bool:
        """Whether nothing was exchanged over it for as long as it may stay up without."""
        limit = self.config.idle
        waits = self.seen.waiting_since is not None
        return limit is not None and self.carrier.up and not waits and now - self.active_at >= limit

    def ack_age_s(self, now: float) -> float | None:
        """Seconds since the last acknowledgement of all, None without any."""
        return None if self._acked_at is None else now - self._acked_at

    def view(self, now: float) -> LinkView:
        """For the choice."""
        seen = self.seen
        return LinkView(
            self.config.name,
            up=self.carrier.up,
            problem=self.carrier.problem,
            open=is_open(self.config.hours, self._clock.utc_ns(self._clock.mono_ns()), self._zone),
            exhausted=self.exhausted,
            portal=seen.portal,
            waiting_s=0.0 if seen.waiting_since is None else now - seen.waiting_since,
            failures=seen.failures,
            ok_age_s=None if seen.ok_at is None else now - seen.ok_at,
            probing=self.probing,
            signal=self.carrier.signal,
            loss=self.loss,
        )

    def _measure(self, rtt_s: float | None) -> None:
        if rtt_s is not None:
            self.rtt_s = rtt_s if self.rtt_s is None else self.rtt_s + RTT_GAIN * (rtt_s - self.rtt_s)
