"""The ladder for an adapter that sticks: order, pauses, ends; the reset at the USB port."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from drivers.buses import ble_ladder
from drivers.buses.ble_ladder import HARD_MAX, PAUSES_S, Ladder, Step, reset_usb, take, usb_node


def steps(ladder: Ladder, times: list[float], *, deaf: bool = False, linked: bool = False) -> list[Step]:
    return [ladder.next(now_s, deaf=deaf, linked=linked) for now_s in times]


def test_refusals_are_tried_a_few_times_before_anything_harder() -> None:
    found = steps(Ladder(), [0, 2, 4, 6, 8, 10, 12, 100])
    assert found == [Step.RESCAN] * 3 + [Step.POWER_CYCLE] + [Step.RESCAN] * 3 + [Step.RESET]


def test_a_deaf_adapter_is_scanned_anew_once_then_switched_then_reset() -> None:
    found = steps(Ladder(), [100.0 * number for number in range(8)], deaf=True)
    assert found[:4] == [Step.RESCAN, Step.POWER_CYCLE, Step.RESCAN, Step.RESET]


def test_links_are_spared_for_longer() -> None:
    assert Step.POWER_CYCLE not in steps(Ladder(), [100.0 * number for number in range(4)], deaf=True, linked=True)
    assert Step.POWER_CYCLE in steps(Ladder(), [100.0 * number for number in range(6)], deaf=True, linked=True)


def test_hard_steps_come_with_growing_pauses_and_end() -> None:
    ladder = Ladder()
    hard = [
        now_s
        for now_s in range(0, 100_000, 2)
        if ladder.next(float(now_s), deaf=False, linked=False) in ble_ladder.HARD
    ]
    assert len(hard) == HARD_MAX
    pauses = [after - before for before, after in pairwise(hard)]
    assert all(pause >= PAUSES_S[min(number, len(PAUSES_S) - 1)] for number, pause in enumerate(pauses))
    assert pauses == sorted(pauses)


def test_after_being_heard_it_begins_at_the_ground() -> None:
    ladder = Ladder()
    steps(ladder, [0, 2, 4, 6])
    assert ladder.climbing
    ladder.recovered()
    assert not ladder.climbing
    assert steps(ladder, [7, 9, 11, 13])[-1] is Step.POWER_CYCLE


@pytest.fixture
def usb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An adapter on a USB port, as sysfs shows it; its node below /dev/bus/usb is a plain file."""
    device = tmp_path / "sys/devices/pci0/usb1/1-1.4"
    hci = device / "1-1.4:1.0/bluetooth/hci0"
    hci.mkdir(parents=True)
    (device / "busnum").write_text("1\n")
    (device / "devnum").write_text("7\n")
    (hci / "device").symlink_to(device / "1-1.4:1.0")
    classes = tmp_path / "sys/class/bluetooth"
    classes.mkdir(parents=True)
    (classes / "hci0").symlink_to(hci)
    monkeypatch.setattr(ble_ladder, "CLASS", classes)
    monkeypatch.setattr(ble_ladder, "NODES", tmp_path / "dev")
    return tmp_path


def test_the_usb_node_of_an_adapter(usb: Path) -> None:
    assert usb_node("hci0") == usb / "dev/001/007"
    assert usb_node("hci1") is None


async def test_a_reset_that_cannot_be_says_why(usb: Path) -> None:
    assert "no USB port" in await take(Step.RESET, "hci1")
    assert "udev" in await take(Step.RESET, "hci0")
    node = usb / "dev/001/007"
    node.parent.mkdir(parents=True)
    node.touch()
    assert await take(Step.RESET, "hci0")  # a file is no USB device
    with pytest.raises(OSError):
        reset_usb("hci0")


async def test_without_bluez_a_power_cycle_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nothing")
    assert await take(Step.POWER_CYCLE, "hci0")
