"""Which link to use: a pure function of what is measured of each, and of what was chosen before.

A link that moves nothing is dead, however well its signal looks; a dead link is left at once for one that works. What
is slowed is coming back: the better link must have worked for a while, and for longer each time that it failed soon
after, and no return comes within a minute of the last switch. So a single outage costs ``hold_s`` on the second-best
link, and a link that flaps costs few switches: one a minute, and two, in any span of time. Times are seconds of one
monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers of the choice."""

    suspect_s: float = 5.0
    """Waiting so long for an acknowledgement makes the other links be looked at."""
    stall_s: float = 20.0
    """Waiting so long means that the link moves nothing."""
    failures: int = 3
    """So many attempts in a row that failed mean the same."""
    hold_s: float = 20.0
    """A better link must have worked so long before it is used again, ..."""
    rate_s: float = 60.0
    """... so long after the last switch at the earliest, ..."""
    flap_s: float = 120.0
    """... and so long where it failed soon after its last return, doubling ..."""
    flap_max_s: float = 960.0
    """... up to this."""
    steady_s: float = 600.0
    """A link that worked so long after a return does not flap."""
    weak: tuple[float, float] = (0.15, 0.25)
    """Signal: weak below the first, no more above the second."""
    lossy: tuple[float, float] = (0.5, 0.2)
    """Share of probes lost: weak above the first, no more below the second."""


POLICY = Policy()


@dataclass(frozen=True, slots=True)
class LinkView:
    """What is measured of one link.

    ``waiting_s``: how long an exchange has been tried without an acknowledgement. ``ok_age_s``: since the last
    acknowledgement or answered probe, None without any since its carrier came. ``failures``: since then. ``open``: its
    schedule allows it now. ``exhausted``: its budget allows alarms only. ``probing``: it is being asked right now.
    """

    name: str
    up: bool = True
    problem: str = ""
    open: bool = True
    exhausted: bool = False
    portal: bool = False
    waiting_s: float = 0.0
    failures: int = 0
    ok_age_s: float | None = None
    probing: bool = False
    signal: float | None = None
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a link is used or not. ``code``: `used`, `ready`, `untried`, `waits`, `weak`, `alarms-only`, `closed`,
    `down`, `portal`, `stalled` or `failing`; ``text`` for people.
    """

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What the next choice needs of this one; by link: since when it works, when it was last switched to, how many of
    its returns failed soon.
    """

    current: str | None = None
    good_since: Mapping[str, float] = field(default_factory=dict)
    returned_at: Mapping[str, float] = field(default_factory=dict)
    flaps: Mapping[str, int] = field(default_factory=dict)
    weak: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Choice:
    """``link``: the one to use, None where there is none. ``wanted``: those that should be up, for links on demand.
    ``dead``: those that are up and move nothing, whether they are used or not.
    """

    link: str | None
    why: Mapping[str, Reason]
    wanted: frozenset[str]
    memory: Memory
    dead: frozenset[str] = frozenset()


def choose(views: Sequence[LinkView], memory: Memory, now: float, policy: Policy = POLICY) -> Choice:
    """The link to use; ``views`` in the order of preference."""
    memory = _look(views, memory, now, policy)
    by_name = {view.name: view for view in views}
    current = by_name.get(memory.current or "")
    ranked = sorted((view for view in views if _usable(view)), key=lambda view: _rank(view, views))
    if current is None:
        chosen = _first(ranked, memory) or _last_resort(views)
    elif _dead(current, policy) or not current.open:
        chosen = _escape(current, ranked, memory) or (current if _bearable(current) else _last_resort(views))
    else:
        better = [view for view in ranked if _rank(view, views) < _rank(current, views)]
        chosen = next((view for view in better if not _held_s(view, memory, now, policy)), current)
    memory = _switch(memory, current, chosen, now, policy)
    why = {view.name: _why(view, views, chosen, memory, now, policy) for view in views}
    dead = frozenset(view.name for view in views if _dead(view, policy) in ("stalled", "failing"))
    return Choice(memory.current, why, _wanted(views, chosen, policy), memory, dead)


def is_suspect(view: LinkView, policy: Policy = POLICY) -> bool:
    """Whether the others should be looked at, because this one may be dead."""
    return not view.up or view.portal or view.failures > 0 or view.waiting_s >= policy.suspect_s


def hold_s(flaps: int, policy: Policy = POLICY) -> float:
    """How long a link must have worked before it is used again, after so many returns that failed."""
    return policy.hold_s if not flaps else min(policy.flap_s * 2.0 ** min(flaps - 1, 16), policy.flap_max_s)


def _look(views: Sequence[LinkView], memory: Memory, now: float, policy: Policy) -> Memory:
    """Since when each works, and which are weak, each with its hysteresis."""
    good = {
        view.name: memory.good_since.get(view.name, now)
        for view in views
        if _usable(view) and view.ok_age_s is not None
    }
    weak = frozenset(view.name for view in views if _is_weak(view, view.name in memory.weak, policy))
    return replace(memory, good_since=good, weak=weak)


def _is_weak(view: LinkView, was: bool, policy: Policy) -> bool:
    limit_signal, limit_loss = policy.weak[was], policy.lossy[was]
    return (view.signal is not None and view.signal < limit_signal) or (
        view.loss is not None and view.loss > limit_loss
    )


def _dead(view: LinkView, policy: Policy) -> str:
    """Why a link that is used is dead, as a code; empty where it is not."""
    if not view.up:
        return "down"
    if view.portal:
        return "portal"
    if view.waiting_s >= policy.stall_s:
        return "stalled"
    return "failing" if view.failures >= policy.failures else ""


def _usable(view: LinkView) -> bool:
    """Whether a link that is not used may be taken: nothing speaks against it."""
    return view.up and view.open and not view.portal and not view.failures


def _bearable(view: LinkView) -> bool:
    """Whether a dead link may be kept while there is no better: what it takes may still arrive."""
    return view.up and view.open and not view.portal


def _rank(view: LinkView, views: Sequence[LinkView]) -> tuple[bool, int]:
    return view.exhausted, [other.name for other in views].index(view.name)


def _first(ranked: Sequence[LinkView], memory: Memory) -> LinkView | None:
    """The best there is; a weak one only where all are."""
    return min(ranked, key=lambda view: view.name in memory.weak, default=None)


def _escape(current: LinkView, ranked: Sequence[LinkView], memory: Memory) -> LinkView | None:
    """Where to go from a dead link; None while the best of the others is still being asked."""
    best = _first([view for view in ranked if view.name != current.name], memory)
    return None if best is not None and best.probing and _bearable(current) else best


def _last_resort(views: Sequence[LinkView]) -> LinkView | None:
    """Where nothing works the first that is up: its probes may fail for reasons of their own."""
    return next((view for view in views if _bearable(view)), None)


def _held_s(view: LinkView, memory: Memory, now: float, policy: Policy) -> float:
    """Seconds until a better link may be used again; infinite where it is weak or was not heard."""
    since = memory.good_since.get(view.name)
    if since is None or view.name in memory.weak:
        return float("inf")
    switched = memory.returned_at.get(memory.current or "", float("-inf"))
    return max(0.0, since + hold_s(memory.flaps.get(view.name, 0), policy) - now, switched + policy.rate_s - now)


def _switch(memory: Memory, old: LinkView | None, new: LinkView | None, now: float, policy: Policy) -> Memory:
    """Remember a switch: a link that is left dead soon after its return flaps."""
    name = None if new is None else new.name
    if name == memory.current:
        return memory
    flaps, returned = dict(memory.flaps), dict(memory.returned_at)
    if old is not None and _dead(old, policy):
        soon = now - returned.get(old.name, float("-inf")) < policy.steady_s
        flaps[old.name] = flaps.get(old.name, 0) + 1 if soon else 0
    if name is not None and memory.current is not None:
        returned[name] = now
    return replace(memory, current=name, flaps=flaps, returned_at=returned)


def _wanted(views: Sequence[LinkView], chosen: LinkView | None, policy: Policy) -> frozenset[str]:
    """The links up to the one in use, and all where that one is suspect."""
    names = [view.name for view in views]
    if chosen is None or is_suspect(chosen, policy) or chosen.exhausted:
        return frozenset(names)
    return frozenset(names[: names.index(chosen.name) + 1])


def _why(
    view: LinkView, views: Sequence[LinkView], chosen: LinkView | None, memory: Memory, now: float, policy: Policy
) -> Reason:
    dead = _dead(view, policy) or ("failing" if view.failures else "")
    trouble = {
        "down": view.problem or "its interface is down",
        "portal": "a portal answers in place of the server",
        "stalled": f"nothing was acknowledged for {view.waiting_s:.0f} s",
        "failing": f"{view.failures} {'attempt' if view.failures == 1 else 'attempts'} in a row failed",
    }.get(dead, "")
    if chosen is not None and chosen.name == view.name:
        return _why_used(view, trouble)
    if not view.open:
        return Reason("closed", "its hours do not allow it now")
    if trouble:
        return Reason(dead, trouble)
    if view.exhausted:
        return Reason("alarms-only", "its budget is spent but for alarms")
    if chosen is not None and _rank(view, views) < _rank(chosen, views):
        return _why_held(view, memory, now, policy)
    if view.ok_age_s is None:
        return Reason("untried", "nothing is known of it yet")
    return Reason("ready", f"works, and {chosen.name if chosen else 'no link'} is preferred")


def _why_held(view: LinkView, memory: Memory, now: float, policy: Policy) -> Reason:
    """Why a better link than the one in use is not used yet."""
    if view.name in memory.weak:
        return Reason("weak", "too weak to go back to")
    if view.ok_age_s is None:
        return Reason("untried", "not heard yet")
    flaps = memory.flaps.get(view.name, 0)
    often = f", after {flaps} {'return' if flaps == 1 else 'returns'} that failed soon" if flaps else ""
    return Reason("waits", f"works again; used in {_held_s(view, memory, now, policy):.0f} s{often}")


def _why_used(view: LinkView, trouble: str) -> Reason:
    if trouble:
        return Reason("used", f"no other works better, though {trouble}")
    if view.exhausted:
        return Reason("used", "no other works; its budget is spent but for alarms")
    return Reason("used", "the first that works")
