"""Electricity meters with a D0 port (IEC 62056-21): one that pushes by itself, one that answers to a sign-on.

The second one speaks modes A and C: it says who it is at the first speed, and where its offer is acknowledged in time
it gives its data at the speed offered, else at the first one. Written for the simulator alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from firmware_sim.electricity import Snapshot
from firmware_sim.line import Line

PERIOD_S = 2.0
BAUD_FIRST = 300
REACTION_S = 0.2
PATIENCE_S = 1.5  # for an acknowledgement
SPEEDS = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19_200}


def data_lines(shot: Snapshot) -> list[str]:
    """What a meter for both directions tells."""
    lines = [
        "1-0:0.0.0*255(0042000815)",
        f"1-0:1.8.0*255({sum(shot.import_kwh):014.7f}*kWh)",
        f"1-0:2.8.0*255({sum(shot.export_kwh):014.7f}*kWh)",
    ]
    lines += [f"1-0:{20 * phase + 21}.7.0*255({shot.watts[phase]:09.2f}*W)" for phase in range(3)]
    lines += [f"1-0:{20 * phase + 32}.7.0*255({shot.volts[phase]:05.1f}*V)" for phase in range(3)]
    lines += [f"1-0:1.7.0*255({sum(shot.watts):09.2f}*W)", "1-0:96.5.5*255(80)"]
    return lines


def pushed(shot: Snapshot) -> bytes:
    """The telegram of mode D."""
    return "\r\n".join(("/LMP5SIM-Q3 V1.00", "", *data_lines(shot), "!", "")).encode("ascii")


def block(shot: Snapshot) -> bytes:
    """The data of modes A and C: STX, reduced codes, last month's energy too, ETX, block check."""
    taken = sum(shot.import_kwh)
    lines = [
        "F.F(00000000)",
        "0.0.0(42000815)",
        f"1.8.0({taken:010.3f}*kWh)",
        f"1.8.0*01({taken * 0.9:010.3f}*kWh)",
        f"2.8.0({sum(shot.export_kwh):010.3f}*kWh)",
        *(f"{20 * phase + 32}.7.0({shot.volts[phase]:05.1f}*V)" for phase in range(3)),
        *(f"{20 * phase + 31}.7.0({shot.amps[phase]:06.2f}*A)" for phase in range(3)),
        "0.9.1(173000)",
        "!",
    ]
    body = b"\x02" + "".join(f"{line}\r\n" for line in lines).encode("ascii") + b"\x03"
    check = 0
    for byte in body[1:]:
        check ^= byte
    return body + bytes([check])


class D0Meter:
    """A meter that answers. ``given`` counts its blocks of data. ``offer`` None: mode A."""

    echoes = False

    def __init__(self, line: Line, offer: str | None, shot: Callable[[], Snapshot], address: str = "") -> None:
        self.silent = False
        self.given = 0
        self._shot = shot
        self._line = line
        self._first = line.baud
        self._offer = offer
        self._sign_ons = {b"/?!\r\n", f"/?{address}!\r\n".encode("ascii")}
        self._heard = bytearray()
        self._offered = False
        self._next: asyncio.TimerHandle | None = None
        line.attach(self)

    def heard(self, data: bytes) -> None:
        """Collect lines; act on a whole one."""
        self._heard = (self._heard + data)[-64:]
        if self.silent or not self._heard.endswith(b"\r\n"):
            return
        line, self._heard = bytes(self._heard), bytearray()
        if any(line.endswith(known) for known in self._sign_ons):
            self._line.set_baud(self._first)
            self._then(REACTION_S, self._introduce)
        elif self._offered and line == f"\x060{self._offer}0\r\n".encode("ascii"):
            self._line.set_baud(SPEEDS[self._offer or "0"])
            self._then(REACTION_S, self._tell)

    def quiet(self) -> None:
        """It goes by line ends."""

    def _then(self, after_s: float, act: Callable[[], None]) -> None:
        """What comes next, instead of what would have come."""
        self._offered = False
        if self._next is not None:
            self._next.cancel()
        self._next = asyncio.get_running_loop().call_later(after_s, act)

    def _introduce(self) -> None:
        name = f"/LMP{self._offer or '@'}SIM-D0\r\n".encode("ascii")
        self._line.send(self, name)
        wait_s = REACTION_S if self._offer is None else PATIENCE_S
        self._then(len(name) * self._line.byte_s + wait_s, self._tell)
        self._offered = self._offer is not None

    def _tell(self) -> None:
        self.given += 1
        data = block(self._shot())
        self._line.send(self, data)
        self._then(len(data) * self._line.byte_s + 0.05, self._rest)

    def _rest(self) -> None:
        self._line.set_baud(self._first)
