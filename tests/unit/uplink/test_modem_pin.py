"""What is remembered of PINs, so that none is sent twice in vain."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.uplink.modem import PinNeededError, PinWrongError
from gateway.uplink.modem_pin import FILE_NAME, TRIED_MAX, PinMemory, read_pin


def test_one_that_was_tried_is_not_sent_again(tmp_path: Path) -> None:
    PinMemory(tmp_path).check("8949", "1234", 3)
    PinMemory(tmp_path).trying("8949", "1234")
    with pytest.raises(PinWrongError):
        PinMemory(tmp_path).check("8949", "1234", 3)
    PinMemory(tmp_path).check("8949", "1235", 3)  # another PIN
    PinMemory(tmp_path).check("8950", "1234", 3)  # another SIM
    PinMemory(tmp_path).took("8949", "1234")
    PinMemory(tmp_path).check("8949", "1234", 3)


@pytest.mark.parametrize(("retries", "may"), [(None, True), (3, True), (2, True), (1, False), (0, False)])
def test_the_last_try_is_left_to_people(tmp_path: Path, retries: int | None, may: bool) -> None:
    if may:
        PinMemory(tmp_path).check("8949", "1234", retries)
        return
    with pytest.raises(PinWrongError):
        PinMemory(tmp_path).check("8949", "1234", retries)


def test_the_file_is_for_the_service_only_bounded_and_holds_no_pin(tmp_path: Path) -> None:
    for number in range(3 * TRIED_MAX):
        PinMemory(tmp_path).trying("8949", f"77{number:02}")
    file = tmp_path / FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().count("8949") == TRIED_MAX and "7747" not in file.read_text()
    with pytest.raises(PinWrongError):
        PinMemory(tmp_path).check("8949", "7747", 3)


def test_where_nobody_knows_what_was_tried_nothing_is_sent(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    with pytest.raises(PinWrongError, match="nobody knows"):
        PinMemory(tmp_path).check("8949", "1234", 3)
    with pytest.raises(OSError):
        PinMemory(tmp_path / "missing").trying("8949", "1234")


@pytest.mark.parametrize("text", ["", "12", "123456789", "12a4", "12 34", "ä", "x" * 100])
def test_what_is_no_pin_is_not_sent(tmp_path: Path, text: str) -> None:
    (tmp_path / "pin").write_text(text, encoding="utf-8")
    with pytest.raises(PinNeededError):
        read_pin(tmp_path / "pin")


def test_a_pin_is_read(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text(" 0123\n")
    assert read_pin(tmp_path / "pin") == "0123"
    with pytest.raises(PinNeededError):
        read_pin(tmp_path / "missing")
