"""The choice of the link: a table of situations, and what holds in every history that hypothesis makes up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.uplink.link_choice import Choice, LinkView, Memory, Policy, choose, hold_s

POLICY = Policy()
WIFI = LinkView("wifi", ok_age_s=1.0)
GSM = LinkView("gsm", ok_age_s=60.0)
NEW = Memory()
ON_WIFI = Memory("wifi", good_since={"wifi": 0.0, "gsm": 0.0})
ON_GSM = Memory("gsm", good_since={"wifi": 990.0, "gsm": 0.0})  # wifi works since 10 s at 1000


def change(view: LinkView, **how: object) -> LinkView:
    return replace(view, **how)  # type: ignore[arg-type]


SITUATIONS: dict[str, tuple[Sequence[LinkView], Memory, str | None, dict[str, str]]] = {
    "the first at the start": ([change(WIFI, ok_age_s=None), GSM], NEW, "wifi", {"wifi": "used", "gsm": "ready"}),
    "the second where the first is down": ([change(WIFI, up=False), GSM], NEW, "gsm", {"wifi": "down"}),
    "nothing where all are down": ([change(WIFI, up=False), change(GSM, up=False)], ON_WIFI, None, {}),
    "a short wait is borne": ([change(WIFI, waiting_s=19.0), GSM], ON_WIFI, "wifi", {}),
    "a stall is not": ([change(WIFI, waiting_s=20.0), GSM], ON_WIFI, "gsm", {"wifi": "stalled"}),
    "two failures are borne": ([change(WIFI, failures=2), GSM], ON_WIFI, "wifi", {}),
    "three are not": ([change(WIFI, failures=3), GSM], ON_WIFI, "gsm", {"wifi": "failing"}),
    "a portal is not": ([change(WIFI, portal=True), GSM], ON_WIFI, "gsm", {"wifi": "portal"}),
    "the other is asked first": ([change(WIFI, failures=3), change(GSM, probing=True)], ON_WIFI, "wifi", {}),
    "unless nothing can be borne": ([change(WIFI, up=False), change(GSM, probing=True)], ON_WIFI, "gsm", {}),
    "the server is down: all fail, stay": ([change(WIFI, failures=9), change(GSM, failures=1)], ON_WIFI, "wifi", {}),
    "a portal is never used": ([change(WIFI, portal=True)], ON_WIFI, None, {"wifi": "portal"}),
    "one whose probes fail may still be tried": ([change(WIFI, failures=1)], NEW, "wifi", {}),
    "a return is slowed": ([WIFI, GSM], ON_GSM, "gsm", {"wifi": "waits"}),
    "a return comes": ([WIFI, GSM], replace(ON_GSM, good_since={"wifi": 980.0}), "wifi", {"gsm": "ready"}),
    "no return comes within a minute of the last switch": (
        [WIFI, GSM], replace(ON_GSM, good_since={"wifi": 950.0}, returned_at={"gsm": 941.0}), "gsm", {"wifi": "waits"},
    ),
    "but after it": (
        [WIFI, GSM], replace(ON_GSM, good_since={"wifi": 950.0}, returned_at={"gsm": 940.0}), "wifi", {},
    ),
    "a link that flaps waits longer": (
        [WIFI, GSM], replace(ON_GSM, good_since={"wifi": 900.0}, flaps={"wifi": 1}), "gsm", {"wifi": "waits"},
    ),
    "one not heard yet is not returned to": (
        [change(WIFI, ok_age_s=None), GSM], ON_GSM, "gsm", {"wifi": "untried"},
    ),
    "a weak one neither": (
        [change(WIFI, signal=0.1), GSM], replace(ON_GSM, good_since={"wifi": 0.0}), "gsm", {"wifi": "weak"},
    ),
    "but a weak one that moves data is kept": ([change(WIFI, signal=0.05, loss=0.9), GSM], ON_WIFI, "wifi", {}),
    "weak ones last of those that remain": (
        [change(WIFI, up=False), change(GSM, signal=0.0), change(GSM, name="eth")], ON_WIFI, "eth", {},
    ),
    "outside its hours it is left": ([change(WIFI, open=False), GSM], ON_WIFI, "gsm", {"wifi": "closed"}),
    "even for nothing": ([change(WIFI, open=False)], ON_WIFI, None, {"wifi": "closed"}),
    "a spent budget makes way": (
        [change(WIFI, exhausted=True), GSM], ON_WIFI, "gsm", {"wifi": "alarms-only"},
    ),
    "a spent budget is used where all else is dead": (
        [change(WIFI, waiting_s=60.0), change(GSM, exhausted=True)], ON_WIFI, "gsm", {},
    ),
    "a link that is configured no more": ([GSM], ON_WIFI, "gsm", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_situations(name: str) -> None:
    views, memory, link, codes = SITUATIONS[name]
    choice = choose(views, memory, 1000.0)
    assert choice.link == link
    assert {name: choice.why[name].code for name in codes} == codes
    assert {reason.code == "used" for name, reason in choice.why.items() if name == link} <= {True}
    assert all(reason.text for reason in choice.why.values())


def test_links_on_demand_are_wanted_where_those_before_them_are_in_doubt() -> None:
    assert choose([WIFI, GSM], ON_WIFI, 1000.0).wanted == {"wifi"}
    assert choose([change(WIFI, waiting_s=5.0), GSM], ON_WIFI, 1000.0).wanted == {"wifi", "gsm"}
    assert choose([change(WIFI, up=False), change(GSM, up=False)], ON_WIFI, 1000.0).wanted == {"wifi", "gsm"}
    assert choose([WIFI, GSM], ON_GSM, 1000.0).wanted == {"wifi", "gsm"}


def test_dead_links_are_named_whether_they_are_used_or_not() -> None:
    alone = choose([change(WIFI, waiting_s=30.0)], ON_WIFI, 1000.0)
    assert (alone.link, alone.dead) == ("wifi", {"wifi"})
    assert choose([change(WIFI, failures=3), GSM], ON_WIFI, 1000.0).dead == {"wifi"}
    assert choose([change(WIFI, up=False), change(GSM, failures=2)], ON_WIFI, 1000.0).dead == frozenset()


def test_signal_has_a_hysteresis() -> None:
    memory = replace(ON_GSM, good_since={"wifi": 0.0, "gsm": 0.0})
    for signal, link in ((0.20, "wifi"), (0.14, "gsm"), (0.20, "gsm"), (0.26, "wifi")):
        choice = choose([change(WIFI, signal=signal), GSM], memory, 1000.0)
        assert choice.link == link, signal
        memory = replace(choice.memory, current="gsm")


def test_the_hold_doubles_and_is_bounded() -> None:
    assert [hold_s(flaps) for flaps in (0, 1, 2, 3, 4, 5, 1000)] == [20, 120, 240, 480, 960, 960, 960]


class World:
    """Links that work or not by a script, measured as ``link_meter`` does, looked at each second."""

    def __init__(self, works: Sequence[Callable[[int], bool]]) -> None:
        self.works = works
        self.names = [f"link{n}" for n in range(len(works))]
        self.memory = Memory()
        self.choices: list[Choice] = []
        self.waiting = [0.0] * len(works)
        self.failed = [False] * len(works)
        self.heard = [False] * len(works)

    def run(self, seconds: int) -> None:
        for now in range(seconds):
            views = [self._view(n, now) for n in range(len(self.works))]
            before = self.memory.current
            choice = choose(views, self.memory, float(now))
            self.check(views, choice)
            self.memory = choice.memory
            if before is not None and before != choice.link:
                left = self.names.index(before)
                self.failed[left], self.waiting[left] = self.waiting[left] > 0, 0.0
            self.choices.append(choice)

    def _view(self, n: int, now: int) -> LinkView:
        works, used = self.works[n](now), self.memory.current == self.names[n]
        if works:
            self.waiting[n], self.failed[n], self.heard[n] = 0.0, False, True
        elif used:
            self.waiting[n] += 1.0
        else:
            self.failed[n] = True
        ok_age_s = 0.0 if self.heard[n] else None
        return LinkView(self.names[n], waiting_s=self.waiting[n], failures=int(self.failed[n]), ok_age_s=ok_age_s)

    def check(self, views: Sequence[LinkView], choice: Choice) -> None:
        chosen = next(view for view in views if view.name == choice.link)
        works = [view for view in views if not view.failures and not view.waiting_s]
        if works and (chosen.waiting_s >= POLICY.stall_s or chosen.failures):
            raise AssertionError(f"on a dead link while {works} work")

    def switches(self) -> list[int]:
        links = [choice.link for choice in self.choices]
        return [at for at in range(1, len(links)) if links[at] != links[at - 1]]


def script(spells: Sequence[int]) -> Callable[[int], bool]:
    """Works for the first spell, not for the second, and so on; then for ever."""
    ends = [sum(spells[: n + 1]) for n in range(len(spells))]
    return lambda now: sum(now >= end for end in ends) % 2 == 0 or now >= (ends[-1] if ends else 0)


def assert_slow(switches: Sequence[int]) -> None:
    """One a minute, and two: in every span of time."""
    for first in range(len(switches)):
        for last in range(first, len(switches)):
            count, span = last - first + 1, switches[last] - switches[first]
            assert count <= 2 + span / 60, switches[first : last + 1]


SPELLS = st.lists(st.integers(1, 200), max_size=12)


@settings(max_examples=30)
@given(SPELLS)
def test_a_flapping_link_costs_few_switches_and_is_returned_to(spells: list[int]) -> None:
    world = World([script(spells), lambda now: True])
    end = sum(spells) + int(POLICY.flap_max_s) + 60
    world.run(end)
    assert_slow(world.switches())
    assert world.choices[-1].link == "link0"
    assert len(world.switches()) <= 2 + end / 60


@pytest.mark.parametrize("spell", [1, 5, 10, 20, 25, 30, 45, 60, 90, 120, 300, 700])
def test_a_link_that_flaps_regularly(spell: int) -> None:
    world = World([lambda now: now // spell % 2 == 0, lambda now: True])
    world.run(7200)
    assert_slow(world.switches())


@settings(max_examples=30)
@given(st.lists(SPELLS, min_size=1, max_size=3))
def test_never_on_a_dead_link_while_another_works(scripts: list[list[int]]) -> None:
    world = World([script(spells) for spells in scripts])  # World.check asserts it each second
    world.run(max(sum(spells) for spells in scripts) + 30)


def test_one_outage_is_left_soon_and_returned_from_soon() -> None:
    world = World([lambda now: not 100 <= now < 160, lambda now: True])
    world.run(300)
    left, back = world.switches()
    assert left - 100 <= 30
    assert 0 < back - 160 <= 25


VIEWS = st.lists(
    st.builds(
        LinkView,
        st.sampled_from(["a", "b", "c"]),
        up=st.booleans(),
        open=st.booleans(),
        exhausted=st.booleans(),
        portal=st.booleans(),
        waiting_s=st.floats(0, 60),
        failures=st.integers(0, 5),
        ok_age_s=st.none() | st.floats(0, 600),
        probing=st.booleans(),
        signal=st.none() | st.floats(0, 1),
        loss=st.none() | st.floats(0, 1),
    ),
    max_size=3,
    unique_by=lambda view: view.name,
)


@given(st.lists(VIEWS, min_size=1, max_size=6))
def test_what_never_happens(steps: list[list[LinkView]]) -> None:
    memory = Memory()
    for number, views in enumerate(steps):
        choice = choose(views, memory, 30.0 * number)
        assert choice == choose(views, memory, 30.0 * number)
        chosen = {view.name: view for view in views}.get(choice.link or "")
        if chosen is None:
            assert choice.link is None
            assert not any(view.up and view.open and not view.portal for view in views)
        else:
            assert chosen.up and chosen.open and not chosen.portal
            assert choice.why[chosen.name].code == "used"
            assert chosen.name in choice.wanted
        assert set(choice.why) == {view.name for view in views} >= choice.memory.good_since.keys()
        memory = choice.memory
