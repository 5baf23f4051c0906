"""The rules of the modem ladder and what is read out of ModemManager's objects."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.schema import ModemConfig
from gateway.uplink.modem import Modem, ModemState, modem_of, modems, needs_human, technology
from gateway.uplink.modem_ladder import FIRST, HARD, HARD_MAX, Ladder, Rung, Symptom, Timing, symptom

R, S = ModemState.REGISTERED, ModemState.SEARCHING


@pytest.mark.parametrize(
    ("state", "online", "stalled", "seen"),
    [
        (ModemState.CONNECTED, True, False, None),
        (ModemState.CONNECTED, True, True, Symptom.STALLED),
        (ModemState.CONNECTED, False, False, Symptom.UNCONNECTED),
        (ModemState.CONNECTING, False, False, Symptom.UNCONNECTED),
        (ModemState.REGISTERED, False, False, Symptom.UNCONNECTED),
        (ModemState.SEARCHING, False, False, Symptom.UNREGISTERED),
        (ModemState.ENABLED, False, False, Symptom.UNREGISTERED),
        (ModemState.DISABLED, False, False, Symptom.DISABLED),
        (ModemState.ENABLING, False, False, Symptom.DISABLED),
        (ModemState.FAILED, False, False, Symptom.SILENT),
        (ModemState.UNKNOWN, False, False, Symptom.SILENT),
        (ModemState.INITIALIZING, False, False, Symptom.SILENT),
    ],
)
def test_symptoms(state: ModemState, online: bool, stalled: bool, seen: Symptom | None) -> None:
    assert symptom(Modem("/", state), online=online, stalled=stalled) is seen


def climb(ladder: Ladder, seen: Symptom, seconds: int, start: float = 0.0) -> list[tuple[float, Rung]]:
    """What is done about a symptom that stays, looked at every 5 s."""
    steps = ((start + now, ladder.next(start + now, seen)) for now in range(0, seconds, 5))
    return [(now, rung) for now, rung in steps if rung is not None]


@pytest.mark.parametrize("seen", list(Symptom))
def test_each_symptom_has_its_time_and_its_first_rung_and_goes_up_from_there(seen: Symptom) -> None:
    done = climb(Ladder(), seen, 3600)
    assert done[0] == (Timing().patience_s[seen], FIRST[seen])
    upward = [rung for rung in Rung if rung >= FIRST[seen]]
    assert [rung for _, rung in done[: len(upward)]] == upward


def test_pauses_grow_and_hard_rungs_end() -> None:
    done = climb(Ladder(), Symptom.UNCONNECTED, 7 * 86_400)
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(done)]
    assert gaps == sorted(gaps) and gaps[-1] == 3600
    assert sum(rung in HARD for _, rung in done) == HARD_MAX
    assert {rung for _, rung in done[-20:]} <= {Rung.RECONNECT, Rung.REGISTER, Rung.ENABLE}
    assert len(climb(Ladder(), Symptom.SILENT, 30 * 86_400)) < 30 * 24 + 10  # about one an hour


def test_where_only_hard_rungs_are_left_the_softest_goes_on() -> None:
    done = climb(Ladder(), Symptom.SILENT, 7 * 86_400)
    assert sum(rung in HARD for _, rung in done) == HARD_MAX
    assert {rung for _, rung in done[-10:]} == {Rung.REGISTER}


def test_it_is_forgotten_only_after_it_was_well_for_a_while() -> None:
    ladder = Ladder()
    climb(ladder, Symptom.UNCONNECTED, 200)
    attempts = ladder.attempts
    assert attempts == 2
    ladder.next(205, None)
    ladder.next(300, None)  # not long enough: it goes on from where it was
    assert climb(ladder, Symptom.UNCONNECTED, 300, 305)[0][1] is Rung.ENABLE
    ladder.next(1000, None)
    ladder.next(1120, None)
    assert ladder.attempts == 0
    assert climb(ladder, Symptom.UNCONNECTED, 300, 1200)[0][1] is Rung.RECONNECT


def test_what_the_modem_cannot_do_is_passed_over() -> None:
    ladder, unsupported = Ladder(), {Rung.RESET}
    rungs = [ladder.next(now, Symptom.UNCONNECTED, unsupported) for now in range(0, 3600, 5)]
    assert Rung.RESET not in rungs and Rung.POWER in rungs
    ladder = Ladder()
    first = next(rung for now in range(0, 600, 5) if (rung := ladder.next(now, Symptom.SILENT)) is not None)
    assert first is Rung.RESET
    assert ladder.instead({Rung.RESET}) is Rung.POWER
    assert ladder.instead({Rung.RESET, Rung.POWER}) is None


@given(
    st.lists(st.tuples(st.floats(0, 4000), st.sampled_from([None, *Symptom])), max_size=200),
    st.sets(st.sampled_from(Rung)),
)
def test_whatever_comes_it_never_hammers(course: list[tuple[float, Symptom | None]], unsupported: set[Rung]) -> None:
    ladder, now, last = Ladder(), 0.0, None
    for pause, seen in course:
        now += pause
        before = ladder.attempts
        rung = ladder.next(now, seen, unsupported)
        if rung is not None:
            assert seen is not None
            assert rung not in unsupported or rung is Rung.REGISTER
            assert last is None or before == 0 or now - last >= Timing().pauses_s[min(before - 1, 6)]
            last = now


def of(**more: object) -> Modem:
    return Modem(**({"path": "/", "state": R} | more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("modem", "code"),
    [
        (of(), None),
        (of(state=ModemState.FAILED, failed=2), "modem.sim-missing"),
        (of(state=ModemState.FAILED, failed=3), "modem.sim-missing"),
        (of(state=ModemState.FAILED, failed=1), None),  # for a reset
        (of(state=ModemState.LOCKED, lock=2), "modem.pin-needed"),
        (of(state=ModemState.LOCKED, lock=4), "modem.puk-needed"),
        (of(state=ModemState.LOCKED, lock=8), "modem.locked"),
        (of(lock=3), None),  # PIN2 is for the telephone book
        (of(state=S, registration=3), "modem.denied"),
        (of(state=S, registration=8), "modem.denied"),
        (of(state=S, registration=2), None),
        (of(registration=5), "modem.roaming"),
        (of(connect_error="org.freedesktop.ModemManager1.Error.MobileEquipment.MissingOrUnknownApn"), "modem.apn"),
        (of(connect_error="org.freedesktop.ModemManager1.Error.MobileEquipment.Unknown"), None),
        (of(state=ModemState.CONNECTED, connect_error="x.UserAuthenticationFailed"), None),  # an old one
    ],
)
def test_what_only_people_can_mend(modem: Modem, code: str | None) -> None:
    found = needs_human(modem, ModemConfig())
    assert (None if found is None else found.code) == code
    assert found is None or (found.cause and found.fix)


def test_a_modem_is_read_from_objects_as_they_come() -> None:
    path = "/org/freedesktop/ModemManager1/Modem/0"
    shown = {"Ports": [["cdc-wdm0", 6], ["wwan0", 2]], "State": 8, "SignalQuality": [64, True], "Sim": "/S",
             "AccessTechnologies": 1 << 14, "UnlockRetries": {2: 3, 4: 10}, "UnlockRequired": 1}  # fmt: skip
    network = {"RegistrationState": 1, "OperatorName": "", "OperatorCode": "26201"}
    objects = {
        path: {"org.freedesktop.ModemManager1.Modem": shown, "org.freedesktop.ModemManager1.Modem.Modem3gpp": network},
        "/S": {"org.freedesktop.ModemManager1.Sim": {"SimIdentifier": "8949"}},
    }
    (found,) = modems(objects)
    assert (found.quality, found.technology, found.operator, found.retries) == (64, "lte", "26201", 3)
    assert (found.sim_identifier, found.roaming) == ("8949", False)
    assert modem_of(objects, "wwan0") == modem_of(objects, None) == found
    assert modem_of(objects, "cdc-wdm0") is None and modem_of({}, None) is None
    assert modems({path: {"org.freedesktop.ModemManager1.Modem": {}}})[0].state is ModemState.UNKNOWN
    assert modems({path: {"org.freedesktop.ModemManager1.Modem": {"State": 99}}})[0].state is ModemState.UNKNOWN


@pytest.mark.parametrize(("bits", "word"), [(0, ""), (1 << 14, "lte"), (0x20 | 0x100, "hspa"), (0xFFFFFFFF, "nb-iot")])
def test_technologies(bits: int, word: str) -> None:
    assert technology(bits) == word
