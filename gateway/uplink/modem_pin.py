"""One try for each PIN: what was tried and refused is remembered on disk, so that no restart can lock a SIM.

Before a PIN is sent, its digest is written down under the SIM's number; when the SIM takes it, the digest goes again.
So the file holds PINs that were wrong, and one that was being tried when the power went. It is readable by the
service only, as the file with the PIN itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from gateway.uplink.modem import PinNeededError, PinWrongError

FILE_NAME = "modem-pins.json"
TRIED_MAX = 16
RETRIES_MIN = 2  # the last try is left to people
PIN_BYTES_MAX = 64


def read_pin(path: Path) -> str:
    """The PIN in a file. Raises PinNeededError where there is none in it."""
    try:
        with path.open("rb") as file:
            text = file.read(PIN_BYTES_MAX).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PinNeededError(f"{path} cannot be read: {error}") from None
    if not (text.isdigit() and 4 <= len(text) <= 8):  # 3GPP TS 31.101, 9.5.1
        raise PinNeededError(f"{path} does not hold a PIN of 4 to 8 digits")
    return text


class PinMemory:
    """Which PINs were refused by which SIM."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME

    def check(self, sim: str, pin: str, retries: int | None) -> None:
        """Whether a PIN may be sent. Raises PinWrongError."""
        if [sim, _digest(sim, pin)] in self._read():
            raise PinWrongError("the SIM refused the PIN in `pin_file`; it is not tried again")
        if retries is not None and retries < RETRIES_MIN:
            raise PinWrongError(f"the SIM takes {retries} more PIN before it locks: that one is left to people")

    def trying(self, sim: str, pin: str) -> None:
        """Write down that the PIN is about to be sent. Raises OSError: then it must not be sent."""
        row = [sim, _digest(sim, pin)]
        self._write([*[one for one in self._read() if one != row], row][-TRIED_MAX:])

    def took(self, sim: str, pin: str) -> None:
        """The SIM took it, or never saw it."""
        self._write([one for one in self._read() if one != [sim, _digest(sim, pin)]])

    def _read(self) -> list[list[str]]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise PinWrongError(f"{self._path} cannot be read, so nobody knows what was tried: {error}") from None
        return found if isinstance(found, list) else []

    def _write(self, rows: list[list[str]]) -> None:
        draft = self._path.with_suffix(".new")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(rows, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _digest(sim: str, pin: str) -> str:
    return hashlib.sha256(f"lamppost {sim} {pin}".encode()).hexdigest()
