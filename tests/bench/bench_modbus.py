"""The Modbus master on paced lines and over TCP, each figure beside a control in the same run.

``python -m tests.bench modbus`` runs all parts in about 25 minutes, ``python -m tests.bench.bench_modbus line cpu``
some. ``--seconds`` bounds each timed run, ``--reads`` the reads with faults.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import resource
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from drivers.base import Observation
from drivers.buses.modbus_rtu import ModbusRtuBus
from drivers.buses.modbus_tcp import ModbusTcpBus
from drivers.buses.serial_port import PortSettings
from drivers.errors import DriverError
from drivers.planner import Block, silence_s
from gateway.config.schema import Config
from gateway.edge.supervisor import Supervisor
from tests.bench.far_side import REGISTERS, Far, running, value_of
from tests.bench.raw_master import raw_rate

UNITS = 50
TIMEOUT_S, LATE_S = 0.03, 0.06  # of the runs with late answers: short, so that 10,000 reads are minutes
SITE = {"id": "bench", "location": {"latitude": 0, "longitude": 0}}
TEMPLATE = """vendor: Lamppost
model: bench
protocol: modbus
data_model: ACMeasurement
evidence: one source
sources: [the benchmark]
line: {{baud: 9600}}
modbus: {{function: 4}}
points:
{points}
frames: []
"""
QUANTITIES = [f"{what}_{phase}" for what in ("voltage", "current", "active_power") for phase in ("l1", "l2", "l3")]
CLOCK = "  - {quantity: duration, address: 0, type: u64}\n"


def line_limit_s(baud: int, count: int) -> float:
    """The least that an exchange takes: 13 characters of frames, 2 a register, and two silences."""
    char_s = 10 / baud
    return (13 + 2 * count) * char_s + 2 * silence_s(char_s)


async def line_share(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Share of the computed limit of a line, and that of a bare master in the same run."""
    figures: dict[str, Any] = {}
    seconds = min(options.seconds, 6.0)
    for baud in (9600, 19_200, 115_200):
        with running(Far(1, str(folder / f"line{baud}"), baud)):
            for count in (10, 60):
                shares: dict[str, list[float]] = {"ours": [], "raw": []}
                for _ in range(3):  # in turns: the machine is not equally busy all the time
                    limit_s = line_limit_s(baud, count)
                    raw = await asyncio.to_thread(raw_rate, str(folder / f"line{baud}"), baud, count, seconds / 3)
                    shares["raw"].append(100 * limit_s * raw)
                    shares["ours"].append(100 * limit_s * await our_rate(folder, baud, count, seconds / 3))
                figures[f"{baud} baud, {count} registers"] = {
                    name: f"{statistics.median(one):.1f} % ({', '.join(f'{share:.1f}' for share in one)})"
                    for name, one in shares.items()
                }
    return figures


async def our_rate(folder: Path, baud: int, count: int, seconds: float) -> float:
    """Exchanges a second."""
    bus = ModbusRtuBus("bench", PortSettings(str(folder / f"line{baud}"), baud))
    blocks = (Block(4, 0, count, ()),)
    await bus.read(1, blocks)
    done, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        await bus.read(1, blocks)
        done += 1
    took_s = time.perf_counter() - begin
    await bus.close()
    return done / took_s


FAULTS: dict[str, dict[str, Any]] = {
    "every 6th answer late": {"late_every": 6, "late_s": (TIMEOUT_S, TIMEOUT_S + LATE_S)},
    "0.3 % of bytes corrupted": {"noise": 0.003},
    "both": {"late_every": 6, "late_s": (TIMEOUT_S, TIMEOUT_S + LATE_S), "noise": 0.003},
    "later than `late`": {"late_every": 6, "late_s": (TIMEOUT_S + LATE_S, 4 * (TIMEOUT_S + LATE_S))},
}
Read = Callable[[int, int, int], Awaitable[bytes]]  # unit, address, count


async def wrong_values(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Reads of 10 registers from places at random: right, failed, wrong; the same for pymodbus, unit after unit."""
    figures: dict[str, Any] = {}
    for number, (name, faults) in enumerate(FAULTS.items()):
        link = str(folder / f"faulty{number}")
        with running(Far(8, link, 115_200, **faults)):
            bus = ModbusRtuBus("bench", PortSettings(link, 115_200), TIMEOUT_S, late_s=LATE_S)

            async def ours(unit: int, address: int, count: int, bus: ModbusRtuBus = bus) -> bytes:
                return (await bus.read(unit, (Block(4, address, count, ()),))).data[0]

            each = options.reads // 8
            parts = await asyncio.gather(*(tally(ours, unit, each) for unit in range(1, 9)))
            await bus.close()
            client = AsyncModbusSerialClient(link, baudrate=115_200, timeout=TIMEOUT_S, retries=0)
            await client.connect()

            async def theirs(unit: int, address: int, count: int, client: Any = client) -> bytes:
                answer = await client.read_input_registers(address, count=count, device_id=unit)
                return b"" if answer.isError() else struct.pack(f">{len(answer.registers)}H", *answer.registers)

            control: Counter[str] = Counter()
            for unit in range(1, 9):
                control += await tally(theirs, unit, min(each, 125))
            client.close()
        figures[name] = {"ours": dict(sum(parts, Counter[str]())), "pymodbus": dict(control)}
    return figures


async def tally(read: Read, unit: int, reads: int) -> Counter[str]:
    """Read from places at random: what came."""
    chance = random.Random(unit)
    counts = Counter({"right": 0, "failed": 0, "wrong": 0})
    for _ in range(reads):
        address = chance.randrange(REGISTERS - 10)
        try:
            data = await read(unit, address, 10)
        except (DriverError, ModbusException):
            data = b""
        expected = struct.pack(">10H", *(value_of(a) for a in range(address, address + 10)))
        counts["right" if data == expected else "wrong" if data else "failed"] += 1
    return counts


async def cpu_per_request(_: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """CPU of a Modbus TCP request of 10 registers, in microseconds: median of 5 runs of 3000, in turns."""
    with running(Far(UNITS)) as port:
        bus = ModbusTcpBus("bench", "127.0.0.1", port)
        client = AsyncModbusTcpClient("127.0.0.1", port=port)
        await client.connect()
        loop = asyncio.get_running_loop()
        transport, bare = await loop.create_connection(_Bare, "127.0.0.1", port)
        blocks = (Block(4, 0, 10, ()),)
        masters: dict[str, Callable[[int], Awaitable[Any]]] = {
            "ours": lambda unit: bus.read(unit, blocks),
            "pymodbus async": lambda unit: client.read_input_registers(0, count=10, device_id=unit),
            "bare asyncio protocol": lambda unit: bare.ask(unit),
        }
        spent: dict[str, list[float]] = {name: [] for name in masters}
        for _round in range(5):
            for name, ask in masters.items():
                begin = _cpu_s()
                for at in range(3000):
                    await ask(1 + at % UNITS)
                spent[name].append((_cpu_s() - begin) / 3000 * 1e6)
        transport.close()
        client.close()
        await bus.close()
    return {name: f"{statistics.median(one):.1f} us (least {min(one):.1f})" for name, one in spent.items()}


class _Bare(asyncio.Protocol):
    """The least that asyncio takes for a request and its answer: nothing is checked."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._waiting: asyncio.Future[bytes] | None = None

    def data_received(self, data: bytes) -> None:
        if self._waiting is not None:
            self._waiting.set_result(data)

    async def ask(self, unit: int) -> bytes:
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(struct.pack(">HHHBBHH", 1, 0, 6, unit, 4, 0, 10))
        return await self._waiting


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Site:
    """Devices under the supervisor of the edge, all on one bus; counts what they deliver in slices of time."""

    def __init__(self, bus: dict[str, Any], units: int, period_s: float, template: str = "bench-ten") -> None:
        devices = {
            f"d{n}": {"template": template, "bus": "b", "address": n, "period": period_s} for n in range(1, units + 1)
        }
        self.config = Config.model_validate({"site": SITE, "buses": {"b": bus}, "devices": devices})
        self.counts: Counter[str] = Counter()
        self.errors_ms: list[float] = []
        self.supervisor = Supervisor(self._emit)

    def _emit(self, device: str, observation: Observation) -> None:
        self.counts[device] += 1
        (first, *_) = observation.measurements
        if first.quantity == "duration":
            self.errors_ms.append((observation.mono_ns - float(first.value)) / 1e6)  # type: ignore[arg-type]

    @property
    def skipped(self) -> int:
        return sum(health.skipped for health in self.supervisor.health.values())


def templates(folder: Path) -> None:
    """The templates of the benchmark, in a folder as a box has one."""
    points = "".join(
        f"  - {{quantity: {q}, address: {at}, type: u16}}\n" for at, q in enumerate((*QUANTITIES, "frequency"))
    )
    (folder / "bench-ten.yaml").write_text(TEMPLATE.format(points=points), encoding="utf-8")
    for name, places in (("10", (9,)), ("60", range(9, 60, 10)), ("60-apart", (59,))):
        rest = (f"  - {{quantity: {q}, address: {at}, type: u16}}\n" for q, at in zip(QUANTITIES, places, strict=False))
        text = TEMPLATE.format(points=CLOCK + "".join(rest))
        (folder / f"bench-clock-{name}.yaml").write_text(text, encoding="utf-8")
    os.environ["LAMPPOST_TEMPLATES"] = str(folder)


async def dead_units(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What the healthy ones of 50 deliver each second where some are dead: of what was wanted, by minute."""
    runs: dict[str, tuple[Far, dict[str, Any]]] = {}
    for dead in ((), (17,), (3, 11, 17, 29, 43)):
        runs[f"TCP, {len(dead)} of {UNITS} dead"] = Far(UNITS, dead=dead), {"type": "modbus-tcp", "host": "127.0.0.1"}
        link = str(folder / f"dead{len(dead)}")
        far = Far(UNITS, link, 115_200, dead=dead, turnaround_s=0.002)
        runs[f"line of 115200 baud, {len(dead)} of {UNITS} dead"] = (
            far,
            {"type": "modbus-rtu", "port": link, "baud": 115_200},
        )
    slow = Far(UNITS, dead=(3, 11, 17, 29, 43), wait_s=1.0)
    runs["TCP gateway that waits 1 s for each, 5 of 50 dead"] = slow, {"type": "modbus-tcp", "host": "127.0.0.1"}
    async with contextlib.AsyncExitStack() as stack:
        sites: dict[str, tuple[Site, Far]] = {}
        for name, (far, bus) in runs.items():
            port = stack.enter_context(running(far))
            settings = {**bus, "timeout": 0.5, **({"port": port} if port else {})}
            sites[name] = Site(settings, UNITS, 1.0), far
        for site, _ in sites.values():
            await site.supervisor.start(site.config)
        begin, minutes = time.monotonic(), max(1, round(options.seconds / 60))
        shares: dict[str, list[float]] = {name: [] for name in sites}
        for minute in range(1, minutes + 1):
            before = {name: site.counts.copy() for name, (site, _) in sites.items()}
            await asyncio.sleep(begin + 60 * minute - time.monotonic())
            for name, (site, far) in sites.items():
                healthy = [f"d{n}" for n in range(1, UNITS + 1) if n not in far.dead]
                got = sum(site.counts[one] - before[name][one] for one in healthy)
                shares[name].append(100 * got / (60 * len(healthy)))
        for site, _ in sites.values():
            await site.supervisor.close()
    return {
        name: {"first minute": f"{first:.1f} %", "others": ", ".join(f"{share:.1f} %" for share in rest)}
        for name, (first, *rest) in shares.items()
    }


async def steady_cpu(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """CPU of 50 devices x 10 registers each second over Modbus TCP under the supervisor, and of the same at rest."""
    figures = {}
    for name, period_s in (("each second", 1.0), ("idle (each minute)", 60.0)):
        with running(Far(UNITS)) as port:
            site = Site({"type": "modbus-tcp", "host": "127.0.0.1", "port": port}, UNITS, period_s)
            await site.supervisor.start(site.config)
            await asyncio.sleep(3)
            begin, cpu, had = time.monotonic(), _cpu_s(), sum(site.counts.values())
            await asyncio.sleep(min(options.seconds, 30))
            took = time.monotonic() - begin
            values = 10 * (sum(site.counts.values()) - had) / took
            figures[name] = f"{100 * (_cpu_s() - cpu) / took:.2f} % of a core, {values:.0f} values/s"
            await site.supervisor.close()
    return figures


async def overload(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Ten times what the bus can carry: delivered in six slices, skipped, growth of memory."""
    link = str(folder / "overload")
    ten_times_s = 24 * line_limit_s(9600, 10) / 10
    wanted = {
        "line of 9600 baud": (Far(24, link, 9600), {"type": "modbus-rtu", "port": link}, 24, ten_times_s),
        "TCP host of 200 requests/s": (
            Far(UNITS, turnaround_s=0.005),
            {"type": "modbus-tcp", "host": "127.0.0.1"},
            UNITS,
            0.025,
        ),
    }
    figures = {}
    for name, (far, bus, units, period_s) in wanted.items():
        with running(far) as port:
            site = Site({**bus, **({"port": port} if port else {})}, units, period_s)
            await site.supervisor.start(site.config)
            await asyncio.sleep(5)
            rss, slices = psutil.Process().memory_info().rss, []
            for _slice in range(6):
                had, begin = sum(site.counts.values()), time.monotonic()
                await asyncio.sleep(options.seconds_overload / 6)
                slices.append((sum(site.counts.values()) - had) / (time.monotonic() - begin))
            grown = (psutil.Process().memory_info().rss - rss) / 2**20
            least = min(site.counts.values())
            figures[name] = {
                "asked/s": round(units / period_s, 1),
                "delivered/s": [round(one, 1) for one in slices],
                "skipped": site.skipped,
                "rss_mib": f"{grown:+.2f}",
                "least and most of a device": [least, max(site.counts.values())],
            }
            await site.supervisor.close()
    return figures


async def stamps(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """How far the time of an observation is from the instant when the device read its registers, in ms."""
    figures = {}
    runs = {
        "9600 baud, one request of 10 registers": (9600, "10", 8, 1.0),
        "9600 baud, one request of 60 registers": (9600, "60", 4, 1.0),
        "9600 baud, two requests 60 registers apart": (9600, "60-apart", 4, 1.0),
        "115200 baud, one request of 10 registers": (115_200, "10", 40, 1.0),
        "TCP": (0, "10", UNITS, 0.5),
    }
    for name, (baud, template, units, period_s) in runs.items():
        link = str(folder / f"stamp{baud}-{template}") if baud else ""
        with running(Far(units, link, baud or 9600, clock=True, turnaround_s=0.005 if baud else 0.001)) as port:
            line = {"type": "modbus-rtu", "port": link, "baud": baud}
            bus = line if baud else {"type": "modbus-tcp", "host": "127.0.0.1", "port": port}
            site = Site(bus, units, period_s, f"bench-clock-{template}")
            await site.supervisor.start(site.config)
            await asyncio.sleep(min(options.seconds, 20))
            await site.supervisor.close()
        errors = sorted(abs(error) for error in site.errors_ms)
        figures[name] = f"p50 {errors[len(errors) // 2]:.2f} p99 {errors[len(errors) * 99 // 100]:.2f} of {len(errors)}"
    return figures


PARTS: dict[str, Callable[[argparse.Namespace, Path], Awaitable[dict[str, Any]]]] = {
    "line": line_share,
    "wrong": wrong_values,
    "cpu": cpu_per_request,
    "steady": steady_cpu,
    "stamps": stamps,
    "overload": overload,
    "dead": dead_units,
}


def main(arguments: Sequence[str] = ()) -> None:
    """Run the parts and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all without one")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("BENCH_SECONDS", 300)))
    parser.add_argument("--reads", type=int, default=int(os.environ.get("BENCH_READS", 10_000)))
    options = parser.parse_args(list(arguments))
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL + 1)
    options.seconds_overload = min(options.seconds, 60.0)
    for name in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            templates(Path(folder))
            load = os.getloadavg()[0]
            begin = time.monotonic()
            figures = asyncio.run(PARTS[name](options, Path(folder)))
            took = f"{time.monotonic() - begin:.0f} s, load before {load:.1f}"
            print(json.dumps({name: figures, "took": took}, indent=1), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
