"""A modem with AT commands for the real ModemManager: its generic plugin, asked through a Unix socket.

``ModemManager --test-session --test-enable --test-no-udev --no-auto-scan`` takes such a modem by the D-Bus method
``org.freedesktop.ModemManager1.Test.SetProfile(id, "generic", [name])``, where ``name`` is that of a socket in the
abstract namespace. Commands: 3GPP TS 27.007 (+CPIN, +CREG, +CGREG, +CEREG, +COPS, +CSQ, +CFUN), TS 31.102 files by
+CRSM. What the modem cannot do it answers with +CME ERROR, as modems do.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass, field

from firmware_sim.managers.sim_modem import PIN_TRIES, PUK_TRIES, Sim

LINE_MAX = 4096
IMSI, ICCID_FILE = "262011234567890", "98942000000123456710"
NOT_INSERTED, PIN_NEEDED, PUK_NEEDED, WRONG_PASSWORD, UNKNOWN = 10, 11, 12, 16, 100
HOME, SEARCHING, DENIED, ROAMING = 1, 2, 3, 5  # <stat> of +CREG
_ID = {
    "AT+CGMI": "Lamppost",
    "AT+CGMM": "Simulated Modem",
    "AT+CGMR": "1.0",
    "AT+CGSN": "490154203237518",
    "AT+GCAP": "+GCAP: +CGSM",
    "ATI": "Lamppost Simulated Modem",
    "AT+WS46=?": "+WS46: (12,22,25,28,29)",
    "AT+CSCS=?": '+CSCS: ("IRA","GSM","UCS2")',
    "AT+CGDCONT=?": '+CGDCONT: (1-16),"IP",,,(0-2),(0-4)',
}
_QUIET = re.compile(r"AT(E0|V1|X4|&C1|Z|H|\+CMEE=.*|\+CSCS=.*|\+CGACT=.*|\+C(E|G)?REG=.*|\+COPS=.*)?")


class AtError(Exception):
    """Answered as ``+CME ERROR: number`` (TS 27.007, 9.2)."""

    def __init__(self, number: int) -> None:
        super().__init__(f"+CME ERROR: {number}")
        self.number = number


@dataclass(slots=True)
class AtModem:
    """The modem's state, changed from outside as the air and people would. ``asked`` are the commands so far."""

    sim: Sim | None = field(default_factory=Sim)
    locked: bool = False
    registration: int = HOME
    operator: str = "26201"
    technology: int = 7  # <AcT> of +COPS: E-UTRAN
    csq: int = 20
    functional: int = 1  # +CFUN
    dialled: str = ""  # the APN of the last call
    contexts: dict[str, tuple[str, str]] = field(default_factory=lambda: {"1": ("IP", "factory")})  # type and APN
    asked: list[str] = field(default_factory=list)

    def answer(self, command: str) -> str:
        """The text before OK. Raises AtError."""
        self.asked.append(command)
        if command in _ID:
            return _ID[command]
        if match := re.fullmatch(r'AT\+CPIN="?(\d+)"?', command):
            return self._unlock(match[1])
        if match := re.fullmatch(r"AT\+CFUN=(\d+)(,\d)?", command):
            self.functional = int(match[1])
            return ""
        if match := re.fullmatch(r'AT\+CGDCONT=(\d+),"(\w+)","([^"]*)".*', command):
            self.contexts[match[1]] = match[2], match[3]
            return ""
        if match := re.fullmatch(r"ATD\*99\*\*\*(\d+)#", command):
            self.dialled = self.contexts[match[1]][1]
            return "CONNECT 100000000"
        if command == "AT+CGDCONT?":
            rows = [f'+CGDCONT: {number},"{kind}","{apn}","",0,0' for number, (kind, apn) in self.contexts.items()]
            return "\r\n".join(rows)
        if _QUIET.fullmatch(command):
            return ""
        return self._state(command)

    def _card(self) -> Sim:
        if self.sim is None:
            raise AtError(NOT_INSERTED)
        return self.sim

    def _open_card(self) -> Sim:
        sim = self._card()
        if self.locked:
            raise AtError(PIN_NEEDED if sim.tries else PUK_NEEDED)
        return sim

    def _unlock(self, pin: str) -> str:
        sim = self._card()
        if not sim.tries:
            raise AtError(PUK_NEEDED)
        if pin != sim.pin:
            sim.tries -= 1
            raise AtError(WRONG_PASSWORD if sim.tries else PUK_NEEDED)
        self.locked, sim.tries = False, PIN_TRIES
        return ""

    def _state(self, command: str) -> str:
        registered = self.registration if self.functional == 1 and self.sim and not self.locked else 0
        where = ',"00A1","00B2C3D4"' if registered in (HOME, ROAMING) else ""
        match command:
            case "AT+CPIN?":
                sim = self._card()
                return f"+CPIN: {'READY' if not self.locked else 'SIM PIN' if sim.tries else 'SIM PUK'}"
            case "AT#REBOOT":
                self.locked = self.sim is not None and bool(self.sim.pin)
                return ""
            case "AT+CFUN?":
                return f"+CFUN: {self.functional}"
            case "AT+CIMI":
                self._open_card()
                return IMSI
            case "AT+CRSM=176,12258,0,0,10":
                self._card()
                return f'+CRSM: 144,0,"{ICCID_FILE}"'
            case "AT+CREG?" | "AT+CGREG?" | "AT+CEREG?":
                return f"{command[2:-1]}: 2,{registered}{where}{f',{self.technology}' if where else ''}"
            case "AT+COPS?":
                return f'+COPS: 0,2,"{self.operator}",{self.technology}' if where else "+COPS: 0"
            case "AT+CSQ":
                return f"+CSQ: {self.csq if self.functional == 1 else 99},99"
            case 'AT+CSIM=10,"0020000100"':  # VERIFY PIN without a PIN: 63Cx, x tries left (TS 102 221, 11.1.9)
                sim = self._card()
                return f'+CSIM: 4,"63C{sim.tries}"'
            case 'AT+CSIM=10,"002C000100"':
                self._card()
                return f'+CSIM: 4,"63C{PUK_TRIES:X}"'
        raise AtError(UNKNOWN)

    async def serve(self, name: str) -> None:
        """Answer at the abstract socket ``name`` until cancelled. ModemManager opens and closes it at will."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(f"\0{name}")
        server = await asyncio.start_unix_server(self._talk, sock=listening, limit=LINE_MAX)
        async with server:
            await server.serve_forever()

    async def _talk(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                command = (await reader.readuntil(b"\r")).decode("ascii", "replace").strip()
                try:
                    text = self.answer(command)
                    done = "" if command.startswith("ATD") else "OK\r\n"
                    reply = f"\r\n{text}\r\n\r\n{done}" if text else f"\r\n{done}"
                except AtError as error:
                    reply = f"\r\n{error}\r\n"
                writer.write(reply.encode())
                await writer.drain()
        writer.close()
