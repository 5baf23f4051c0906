"""A serial port with one device that answers when asked: SPS30, MH-Z19, HPMA115 with its own sending off."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar, get_args

from drivers.base import Bus, Driver, Measurement, Observation
from drivers.buses.serial_stream import SerialBus, StreamDriver, own_port
from drivers.codecs import hpma, mhz19, sps30
from drivers.codecs.framing import BUFFER_BYTES_MAX, Decoded
from drivers.errors import BadFrame, Disconnected, Refused, Timeout
from drivers.template import Template

ANSWER_S = 0.5  # all of these answer within 100 ms
LATE_S = 1.0  # after a question without an answer nothing is asked for so long: what comes then belongs to it
PERIOD_S = 10.0
SPS30_WARM_UP_S = 30.0  # SPS30 datasheet v1.0, table 1: start-up time in clean air
SPS30_NEW_S = 0.25  # there is a new value each second; looked for so often ...
SPS30_LOOKS = 8  # ... and so many times
HPMA_WARM_UP_S = 6.0  # HPM Series datasheet: time to the first good reading
HPMA_PAUSE_S = 0.1  # between commands whose acknowledgement is not waited for

A = TypeVar("A")


class Exchange(Generic[A]):
    """Questions and answers on a SerialBus, one at a time. ``take`` cuts an answer out of what was heard."""

    def __init__(self, bus: SerialBus, take: Callable[[bytearray], A | None]) -> None:
        self.bad_frames = 0
        self._bus = bus
        self._take = take
        self._buffer = bytearray()
        self._heard = asyncio.Event()
        self._lost = ""
        self._quiet_until_s = 0.0

    async def open(self) -> None:
        """Open the port and listen. Raises NoPort, NoPermission, Disconnected or Misconfigured."""
        self._bus.listen(self._hear, self._gone)
        await self._bus.open()

    def close(self) -> None:
        """Let go of the port."""
        self._bus.unlisten(self._hear)

    async def quiet(self) -> None:
        """Wait until no late answer can come any more."""
        await asyncio.sleep(max(0.0, self._quiet_until_s - time.monotonic()))

    def tell(self, command: bytes) -> None:
        """Send something whose answer is not waited for. Raises Disconnected."""
        self._bus.write(command)

    async def ask(self, question: bytes, fits: Callable[[A], bool] = lambda _: True) -> tuple[A, int]:
        """The answer that ``fits``, and the monotonic middle of the round trip.

        Raises Timeout, BadFrame where only damaged answers came, or Disconnected.
        """
        await self.quiet()
        self._buffer.clear()
        self._lost = ""
        sent_ns = time.monotonic_ns()
        self._quiet_until_s = time.monotonic() + ANSWER_S + LATE_S  # unless an answer comes
        self._bus.write(question)
        answer = await self._answer(fits)
        self._quiet_until_s = 0.0
        return answer, (sent_ns + time.monotonic_ns()) // 2

    async def _answer(self, fits: Callable[[A], bool]) -> A:
        damaged: BadFrame | None = None
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    self._heard.clear()
                    try:
                        answer = self._take(self._buffer)
                    except BadFrame as error:
                        damaged = error
                        self.bad_frames += 1
                        continue
                    if answer is not None and fits(answer):
                        return answer
                    if answer is None:
                        await self._heard.wait()
                    if self._lost:
                        raise Disconnected(self._lost)
        except TimeoutError:
            if damaged is not None:
                raise BadFrame(f"nothing but damaged answers: {damaged}") from None
            raise Timeout(f"no answer within {ANSWER_S:g} s") from None

    def _hear(self, data: bytes, _mono_ns: int) -> None:
        self._buffer += data
        del self._buffer[:-BUFFER_BYTES_MAX]
        self._heard.set()

    def _gone(self, why: str) -> None:
        self._lost = why
        self._heard.set()


class Mhz19Driver:
    """See drivers.base.Driver."""

    def __init__(self, bus: SerialBus, period_s: float, silence_s: float) -> None:
        self.period_s: float | None = period_s
        self.silence_s = silence_s
        self._exchange: Exchange[Decoded] = Exchange(bus, mhz19.take)

    async def read(self) -> tuple[Observation, ...]:
        """Ask once. Raises a DriverError."""
        await self._exchange.open()
        answer, mono_ns = await self._exchange.ask(mhz19.READ)
        return (Observation(answer.measurements, mono_ns),)

    async def close(self) -> None:
        """Let go of the port."""
        self._exchange.close()


class Sps30Driver:
    """See drivers.base.Driver. The sensor is woken and started where it does not measure, and stopped at the end.

    Nothing is read while its fan runs up.
    """

    def __init__(self, bus: SerialBus, period_s: float, silence_s: float, form: sps30.Format) -> None:
        self.period_s: float | None = period_s
        self.silence_s = silence_s
        self._exchange: Exchange[sps30.Answer] = Exchange(bus, sps30.take)
        self._form: sps30.Format = form
        self._started = False
        self._warm_ns = 0

    async def read(self) -> tuple[Observation, ...]:
        """The next new values; it waits while the sensor warms up. Raises a DriverError."""
        await self._exchange.open()
        try:
            found = await self._values()
        except Timeout:
            await self._wake_up()
            found = await self._values()
        if found is None:
            await self._start()
        if await _warm(self._warm_ns):
            found = await self._values()
        if found is None:
            raise Refused("the sensor was started and does not measure")
        return (Observation(*found),)

    async def close(self) -> None:
        """Stop what was started and let go of the port."""
        if self._started:
            self._started = False
            with contextlib.suppress(Disconnected):
                self._exchange.tell(sps30.request(sps30.STOP))
        self._exchange.close()

    async def _values(self) -> tuple[tuple[Measurement, ...], int] | None:
        """New values; None where it does not measure."""
        for _ in range(SPS30_LOOKS):
            answer, mono_ns = await self._ask(sps30.READ)
            if answer.refusal == sps30.NOT_ALLOWED:
                return None
            if answer.refusal:
                raise Refused(f"the sensor refuses to be read, with state {answer.refusal:#04x}")
            if answer.failing:
                await self._look_for_failures()
            measurements = sps30.measurements(answer)
            if measurements:
                return measurements, mono_ns
            await asyncio.sleep(SPS30_NEW_S)
        raise Refused(f"the sensor measures, but has nothing new for {SPS30_LOOKS * SPS30_NEW_S:g} s")

    async def _look_for_failures(self) -> None:
        status, _ = await self._ask(sps30.STATUS, b"\x00")
        failed = sps30.failed(status)
        if failed:
            raise Refused(f"the sensor states that its {' and '.join(failed)} failed: replace it")

    async def _wake_up(self) -> None:
        await self._exchange.quiet()
        self._exchange.tell(sps30.WAKE_PULSE)
        await self._ask(sps30.WAKE_UP)

    async def _start(self) -> None:
        self._started = True
        self._warm_ns = time.monotonic_ns() + int(SPS30_WARM_UP_S * 1e9)
        answer, _ = await self._ask(sps30.START, sps30.START_DATA[self._form])
        if answer.refusal:
            raise Refused(f"the sensor refuses to start, with state {answer.refusal:#04x}")

    async def _ask(self, command: int, data: bytes = b"") -> tuple[sps30.Answer, int]:
        return await self._exchange.ask(sps30.request(command, data), lambda answer: answer.command == command)


class HpmaAskedDriver:
    """An HPMA115 that is asked: its own sending is switched off first. See drivers.base.Driver."""

    def __init__(self, bus: SerialBus, period_s: float, silence_s: float) -> None:
        self.period_s: float | None = period_s
        self.silence_s = silence_s
        self._exchange: Exchange[Decoded] = Exchange(bus, hpma.take_answer)
        self._ready = False
        self._warm_ns = 0

    async def read(self) -> tuple[Observation, ...]:
        """Ask once; it waits while the fan runs up. Raises a DriverError."""
        await self._exchange.open()
        if not self._ready:
            for command in (hpma.AUTO_OFF, hpma.START):
                self._exchange.tell(command)
                await asyncio.sleep(HPMA_PAUSE_S)
            self._warm_ns = time.monotonic_ns() + int(HPMA_WARM_UP_S * 1e9)
        self._ready = False
        answer, mono_ns = await self._exchange.ask(hpma.READ)
        self._ready = True
        if await _warm(self._warm_ns):
            answer, mono_ns = await self._exchange.ask(hpma.READ)
        return (Observation(answer.measurements, mono_ns),)

    async def close(self) -> None:
        """Let go of the port."""
        self._exchange.close()


async def _warm(warm_ns: int) -> bool:
    """Wait until that monotonic instant; whether there was anything to wait for."""
    rest_ns = warm_ns - time.monotonic_ns()
    await asyncio.sleep(max(0, rest_ns) / 1e9)
    return rest_ns > 0


def make_mhz19(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol mhz19. Raises ValueError."""
    _checked(options, {})
    return Mhz19Driver(own_port(template, bus, address), _period(template, period_s), template.silence_s)


def make_sps30(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol sps30; option ``format``: float or integer. Raises ValueError."""
    form = _checked(options, {"format": get_args(sps30.Format)})["format"]
    port = own_port(template, bus, address)
    return Sps30Driver(port, _period(template, period_s), template.silence_s, form)


def make_hpma(
    template: Template, bus: Bus, address: str | int | None, period_s: float | None, options: Mapping[str, Any]
) -> Driver:
    """A driver for a template of protocol hpma; options ``model``: S0 or C0, ``mode``: sends or asked.

    Raises ValueError.
    """
    chosen = _checked(options, {"model": get_args(hpma.Model), "mode": ("sends", "asked")})
    port = own_port(template, bus, address)
    if chosen["mode"] == "asked":
        return HpmaAskedDriver(port, _period(template, period_s), template.silence_s)
    take = partial(hpma.take, model=chosen["model"])
    return StreamDriver(port, take, template.silence_s, period_s or template.period_s or 0.0)


def _period(template: Template, period_s: float | None) -> float:
    return period_s or template.period_s or PERIOD_S


def _checked(options: Mapping[str, Any], known: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Every known option with its value, the first of its words where none is given. Raises ValueError."""
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"unknown option {name!r}; known: {', '.join(known) or 'none'}")
        if value not in known[name]:
            raise ValueError(f"option {name} is {value!r}: expected one of {', '.join(known[name])}")
    return {name: options.get(name, words[0]) for name, words in known.items()}
