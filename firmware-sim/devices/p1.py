"""A smart meter's P1 port: the telegram of DSMR 5.0.2, each second at 115200 baud, and what others make of it.

DSMR 4 says the same each ten seconds. DSMR 2 and 3 say less, at 9600 baud with 7 data bits, without time and CRC.
Belgium's telegram (Fluvius, e-MUCS 1.7.1) has the mean and the greatest power of a quarter of an hour, and water.

The meter's clock shows Central European time with the letter S in summer and W in winter. The European rule is computed
here, so that no time zone database is needed: summer is from the last Sunday of March to that of October, 01:00 UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from firmware_sim.electricity import Snapshot

BAUD, BAUD_OLD = 115_200, 9600
PERIOD_S, PERIOD_OLD_S = 1.0, 10.0


def crc16_arc(data: bytes) -> int:
    """CRC-16/ARC: polynomial 0xA001 (reflected 0x8005), start 0; over all from ``/`` to ``!``, both included."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def _last_sunday(year: int, month: int) -> datetime:
    last = datetime(year, month, 31, 1, tzinfo=UTC)
    return last - timedelta(days=(last.weekday() + 1) % 7)


def local_time(at: datetime) -> tuple[datetime, str]:
    """The clock on the wall in the Netherlands for a UTC time, and its letter."""
    summer = _last_sunday(at.year, 3) <= at < _last_sunday(at.year, 10)
    return (at + timedelta(hours=2 if summer else 1)).replace(tzinfo=None), "S" if summer else "W"


def low_tariff(local: datetime) -> bool:
    """Tariff 1, the low one: from 23 to 7 o'clock and at weekends."""
    return local.hour >= 23 or local.hour < 7 or local.weekday() >= 5


class Register:
    """The counters by tariff: the meter's energy is split by when it was counted. kWh."""

    def __init__(self, low_share: float = 0.45) -> None:
        self._low_share = low_share
        self._seen: tuple[float, float] | None = None
        self.taken = [0.0, 0.0]
        self.given = [0.0, 0.0]

    def count(self, shot: Snapshot, low: bool) -> None:
        """Book what was counted since the last call; the first call splits what the counter began with."""
        now = sum(shot.import_kwh), sum(shot.export_kwh)
        if self._seen is None:
            for sums, total in ((self.taken, now[0]), (self.given, now[1])):
                sums[0], sums[1] = total * self._low_share, total * (1 - self._low_share)
        else:
            self.taken[not low] += now[0] - self._seen[0]
            self.given[not low] += now[1] - self._seen[1]
        self._seen = now


def _net(watts: float) -> tuple[str, str]:
    """Taken and given, in kW with three places: one of them is zero."""
    return f"{max(0.0, watts) / 1000:06.3f}", f"{max(0.0, -watts) / 1000:06.3f}"


def _phase_lines(shot: Snapshot) -> list[str]:
    lines = [f"1-0:{20 * p + 32}.7.0({shot.volts[p]:05.1f}*V)" for p in range(3)]
    lines += [f"1-0:{20 * p + 31}.7.0({shot.amps[p]:06.2f}*A)" for p in range(3)]
    lines += [f"1-0:{20 * p + 21}.7.0({_net(shot.watts[p])[0]}*kW)" for p in range(3)]
    lines += [f"1-0:{20 * p + 22}.7.0({_net(shot.watts[p])[1]}*kW)" for p in range(3)]
    return lines


def telegram(shot: Snapshot, register: Register, at: datetime, gas_m3: float) -> bytes:
    """The telegram of one second. ``at`` is UTC; ``gas_m3`` the gas meter's last five-minute value."""
    local, letter = local_time(at)
    low = low_tariff(local)
    register.count(shot, low)
    taken, given = _net(sum(shot.watts))
    gas_at = local.replace(minute=local.minute // 5 * 5, second=0)
    lines = [
        "/LMP5\\2SIM-DSMR50",
        "",
        "1-3:0.2.8(50)",
        f"0-0:1.0.0({local:%y%m%d%H%M%S}{letter})",
        "0-0:96.1.1(4C414D50504F53542D53494D2D3031)",
        f"1-0:1.8.1({register.taken[0]:010.3f}*kWh)",
        f"1-0:1.8.2({register.taken[1]:010.3f}*kWh)",
        f"1-0:2.8.1({register.given[0]:010.3f}*kWh)",
        f"1-0:2.8.2({register.given[1]:010.3f}*kWh)",
        f"0-0:96.14.0({1 if low else 2:04d})",
        f"1-0:1.7.0({taken}*kW)",
        f"1-0:2.7.0({given}*kW)",
        "0-0:96.7.21(00004)",
        "0-0:96.7.9(00002)",
        "1-0:99.97.0()",
        *(f"1-0:{20 * phase + 32}.32.0(00000)" for phase in range(3)),
        *(f"1-0:{20 * phase + 32}.36.0(00000)" for phase in range(3)),
        "0-0:96.13.0()",
        *_phase_lines(shot),
        "0-1:24.1.0(003)",
        "0-1:96.1.0(4C414D50504F53542D4741532D3031)",
        f"0-1:24.2.1({gas_at:%y%m%d%H%M%S}{letter})({gas_m3:09.3f}*m3)",
        "!",
    ]
    return _sealed(lines)


def _sealed(lines: list[str]) -> bytes:
    body = "\r\n".join(lines).encode("ascii")
    return body + f"{crc16_arc(body):04X}\r\n".encode("ascii")


def telegram_old(shot: Snapshot, register: Register, at: datetime, gas_m3: float) -> bytes:
    """The telegram of DSMR 2 and 3."""
    local, _ = local_time(at)
    low = low_tariff(local)
    register.count(shot, low)
    watts = sum(shot.watts)
    lines = [
        "/LMP5\\2SIM-DSMR22",
        "",
        "0-0:96.1.1(4C414D50504F53542D53494D2D3032)",
        f"1-0:1.8.1({register.taken[0]:09.3f}*kWh)",
        f"1-0:1.8.2({register.taken[1]:09.3f}*kWh)",
        f"1-0:2.8.1({register.given[0]:09.3f}*kWh)",
        f"1-0:2.8.2({register.given[1]:09.3f}*kWh)",
        f"0-0:96.14.0({1 if low else 2:04d})",
        f"1-0:1.7.0({max(0.0, watts) / 1000:07.2f}*kW)",
        f"1-0:2.7.0({max(0.0, -watts) / 1000:07.2f}*kW)",
        "0-0:17.0.0(0999.00*kW)",
        "0-0:96.3.10(1)",
        "0-0:96.13.1()",
        "0-0:96.13.0()",
        "0-1:24.1.0(3)",
        "0-1:96.1.0(4C414D50504F53542D4741532D3032)",
        f"0-1:24.3.0({local.replace(minute=0, second=0):%y%m%d%H%M%S})(00)(60)(1)(0-1:24.2.1)(m3)",
        f"({gas_m3:09.3f})",
        "0-1:24.4.0(1)",
        "!",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def telegram_fluvius(shot: Snapshot, register: Register, at: datetime, gas_m3: float, water_m3: float) -> bytes:
    """The telegram of a Belgian meter. It counts the day as tariff 1, the night as tariff 2."""
    local, letter = local_time(at)
    register.count(shot, low_tariff(local))
    taken, given = _net(sum(shot.watts))
    stamp = f"{local.replace(minute=local.minute // 5 * 5, second=0):%y%m%d%H%M%S}{letter}"
    lines = [
        "/LMP5\\SIM-FLUVIUS_A",
        "",
        "0-0:96.1.4(50217)",
        "0-0:96.1.1(4C414D50504F53542D53494D2D3033)",
        f"0-0:1.0.0({local:%y%m%d%H%M%S}{letter})",
        f"1-0:1.8.1({register.taken[1]:010.3f}*kWh)",
        f"1-0:1.8.2({register.taken[0]:010.3f}*kWh)",
        f"1-0:2.8.1({register.given[1]:010.3f}*kWh)",
        f"1-0:2.8.2({register.given[0]:010.3f}*kWh)",
        f"0-0:96.14.0({2 if low_tariff(local) else 1:04d})",
        f"1-0:1.4.0({taken}*kW)",
        f"1-0:1.6.0({stamp})(04.500*kW)",
        f"0-0:98.1.0(1)(1-0:1.6.0)(1-0:1.6.0)({stamp})({stamp})(03.900*kW)",
        f"1-0:1.7.0({taken}*kW)",
        f"1-0:2.7.0({given}*kW)",
        *_phase_lines(shot),
        "0-0:96.3.10(1)",
        "0-0:17.0.0(999.9*kW)",
        "1-0:31.4.0(999*A)",
        "0-0:96.13.0()",
        "0-1:24.1.0(003)",
        "0-1:96.1.1(4C414D50504F53542D4741532D3033)",
        "0-1:24.4.0(1)",
        f"0-1:24.2.3({stamp})({gas_m3:09.3f}*m3)",
        "0-2:24.1.0(007)",
        "0-2:96.1.1(4C414D50504F53542D5741542D3033)",
        f"0-2:24.2.1({stamp})({water_m3:09.3f}*m3)",
        "!",
    ]
    return _sealed(lines)
