"""What is measured of a link, as the choice sees it."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.config.schema import LinkConfig
from gateway.model import Link, Priority
from gateway.uplink.carrier import Carrier
from gateway.uplink.link_budget import Sample, Usage
from gateway.uplink.link_meter import LinkMeter
from gateway.uplink.link_pace import Pace, probe_spacing_s
from gateway.uplink.link_probe import Outcome

WORKS, FAILS, PORTAL = Outcome("works", 0.2), Outcome("fails", cause="refused"), Outcome("portal", cause="a page")


UP = Carrier(True, "wwan0")


def meter(carrier: Carrier = UP, **config: Any) -> LinkMeter:
    one = LinkMeter(
        LinkConfig(name="gsm", interface="wwan0", **config), UTC, SystemClock(configured=True), Usage(), 0.0
    )
    one.carried(carrier, 0.0)
    return one


def test_waiting_begins_with_the_first_attempt_and_ends_with_an_answer() -> None:
    gsm = meter()
    assert (gsm.view(5.0).waiting_s, gsm.view(5.0).ok_age_s) == (0.0, None)
    gsm.began(10.0)
    gsm.failed("no answer", 15.0)
    gsm.began(16.0)
    view = gsm.view(20.0)
    assert (view.waiting_s, view.failures) == (10.0, 1)
    gsm.answered(21.0)
    assert (gsm.view(22.0).waiting_s, gsm.view(22.0).failures, gsm.view(22.0).ok_age_s) == (0.0, 0, 1.0)
    assert gsm.ack_age_s(22.0) is None
    gsm.worked(0.1, 30.0)
    assert gsm.ack_age_s(31.0) == 1.0


def test_a_probe_does_not_outweigh_an_exchange_that_waits() -> None:
    gsm = meter()
    gsm.failed("no answer", 10.0)
    gsm.probed(WORKS, 12.0)
    assert (gsm.view(20.0).waiting_s, gsm.view(20.0).failures) == (10.0, 1)
    gsm.left()
    assert (gsm.view(20.0).waiting_s, gsm.view(20.0).failures) == (0.0, 1)
    gsm.probed(WORKS, 25.0)
    assert (gsm.view(25.0).failures, gsm.view(25.0).ok_age_s) == (0, 0.0)


def test_small_answers_do_not_hide_that_batches_do_not_pass() -> None:
    """As where the path takes small packets only."""
    gsm = meter()
    gsm.began(0.0)
    gsm.heard(1.0)
    assert (gsm.view(2.0).waiting_s, gsm.view(2.0).ok_age_s) == (0.0, 1.0)
    gsm.began(2.0)
    gsm.failed("no answer", 12.0)
    gsm.began(13.0)
    gsm.heard(14.0)
    assert (gsm.view(22.0).waiting_s, gsm.view(22.0).failures) == (20.0, 1)


def test_a_link_that_was_left_while_it_waited_has_failed() -> None:
    gsm = meter()
    gsm.began(0.0)
    gsm.left()
    assert gsm.view(1.0).failures == 1


def test_a_portal_is_no_proof_and_goes_when_the_server_answers() -> None:
    gsm = meter()
    gsm.probed(PORTAL, 1.0)
    assert (gsm.view(1.0).portal, gsm.view(1.0).failures) == (True, 1)
    gsm.probed(WORKS, 2.0)
    assert (gsm.view(2.0).portal, gsm.view(2.0).failures) == (False, 0)
    gsm.began(3.0)
    gsm.probed(PORTAL, 4.0)
    assert (gsm.view(4.0).portal, gsm.seen.cause) == (True, "a page")


def test_loss_needs_some_probes_and_an_outage_is_not_loss() -> None:
    gsm = meter()
    for at in range(8):
        gsm.probed(WORKS if at % 2 else FAILS, float(at))
    assert gsm.loss == 0.5
    for at in range(8, 20):
        gsm.probed(FAILS, float(at))
    gsm.probed(WORKS, 20.0)
    assert gsm.loss is None


def test_a_new_carrier_is_new_evidence() -> None:
    gsm = meter()
    gsm.failed("no answer", 1.0)
    assert not gsm.carried(Carrier(True, "wwan0", signal=0.5), 2.0)
    assert gsm.view(2.0).failures == 1
    assert gsm.carried(Carrier(False, "wwan0", problem="gone"), 3.0)
    assert gsm.carried(Carrier(True, "wwan1"), 4.0)
    assert gsm.view(4.0).failures == 0
    assert gsm.link == Link("gsm", "wwan1", False)


def test_round_trips_are_smoothed() -> None:
    gsm = meter()
    gsm.worked(0.8, 1.0)
    gsm.worked(1.6, 2.0)
    gsm.worked(None, 3.0)
    assert gsm.rtt_s == pytest.approx(0.9)


def test_what_may_travel() -> None:
    gsm = meter(carries=["alarm", "live"], budget=1000, cost="metered")
    assert [gsm.allows(priority) for priority in Priority] == [True, True, False]
    gsm.count(Sample("b", 1, 0, 0))
    gsm.count(Sample("b", 1, 900, 49))
    assert not gsm.exhausted
    gsm.count(Sample("b", 1, 900, 50))
    assert [gsm.allows(priority) for priority in Priority] == [True, False, False]
    assert not meter(carries=["history"]).allows(Priority.ALARM)


def test_a_link_that_networkmanager_calls_metered_is_metered() -> None:
    assert meter(Carrier(True, "wwan0", metered=True)).metered
    assert meter(Carrier(True, "wwan0", metered=False), cost="metered").metered
    assert not meter().metered


def test_spacing_of_probes() -> None:
    free, metered = Pace(10.0, 2000), Pace(60.0, 10_000, probe_s=3000.0)
    assert probe_spacing_s(free, metered=False, needed=False, failures=9) == 60
    assert [probe_spacing_s(free, metered=False, needed=True, failures=n) for n in (0, 1, 9)] == [5, 10, 15]
    assert probe_spacing_s(metered, metered=True, needed=False, failures=9) == 3000
    assert [probe_spacing_s(metered, metered=True, needed=True, failures=n) for n in (0, 1, 2, 9)] == [300, 10, 20, 60]
