"""What is wrong with a Modbus line, as far as the bytes tell: wrong speed or parity, swapped wires, two at one address.

:func:`judge` is pure: from what was heard after each request to verdicts with a confidence. :func:`diagnose` asks, and
where nothing sound comes, tries the other usual settings. It reads only. Bytes tell little where a device understands
nothing: then it is silent, and only another try tells why.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from drivers.buses import modbus_adu as adu
from drivers.buses.serial_port import PortSettings, SerialPort
from drivers.planner import silence_s

Cause = Literal[
    "fine", "silent", "settings", "swapped", "undriven", "two-units", "noise", "other-master", "absent", "garbage"
]
Kind = Literal["silence", "zeros", "answer", "two answers", "broken", "foreign", "garbage"]
Hear = Callable[[PortSettings, Sequence[bytes], float], Awaitable[list[bytes]]]

BAUDS = (9600, 19_200, 38_400, 115_200, 4800, 2400, 57_600, 1200)
PARITIES = ("none", "even", "odd")
OTHER_UNITS = (*range(1, 11), 247)
LISTEN_S, WAIT_S = 1.0, 0.3
ASKED = ((4, 0, 1), (3, 0, 1)) * 3  # function, address, count
LIKELY = 0.5
HEADER_SURE = 2  # bytes of a misheard answer that must fit before it says anything
ILLEGAL_ADDRESS = 2

FIXES: dict[Cause, str] = {
    "fine": "Nothing to do.",
    "silent": "Check its power, the two wires, its address, and speed and parity on its display or in its manual.",
    "settings": "Set the bus to what the device uses, or the device to what the bus uses.",
    "swapped": "Swap the two wires (A and B) at one end: makers do not agree on which is which.",
    "undriven": "Add bias resistors, or switch those of the adapter on; terminate the line with 120 ohm at both ends.",
    "two-units": "Switch one of the two devices off, give the other one another address, and switch it on again.",
    "noise": "Check termination, shield and common ground; keep the line away from power cables; try a lower speed.",
    "other-master": "Take the other master off the line, or let it be the only one: a line has one owner.",
    "absent": "Check the address and the power of this device: the line itself works.",
    "garbage": "Check speed and parity, and whether something else than Modbus speaks on this line.",
}


@dataclass(frozen=True, slots=True)
class Trial:
    """A request (b"": only listened) at some settings, and all bytes that came until the time was over."""

    settings: PortSettings
    request: bytes
    heard: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """``confidence`` in 0..1; ``because`` says what was heard."""

    cause: Cause
    confidence: float
    because: str

    @property
    def fix(self) -> str:
        """What to do about it."""
        return FIXES[self.cause]


def judge(trials: Sequence[Trial]) -> list[Verdict]:
    """What the trials say, the likeliest first; never empty."""
    return sorted(_verdicts(trials), key=lambda verdict: -verdict.confidence)


def classify(trial: Trial) -> Kind:
    """What came, an echo of the request aside."""
    heard = _without_echo(trial)
    if not heard:
        return "silence"
    if not any(heard):
        return "zeros"
    frames = list(frames_in(heard))
    if trial.request:
        unit, function = trial.request[:2]
        ours = [frame for frame in frames if frame[0] == unit and frame[1] & 0x7F == function]
        if ours:
            return "two answers" if len(ours) > 1 else "answer"
    if frames:
        return "foreign"
    if trial.request and (trial.request[:2] in heard or bytes((unit, function | 0x80)) in heard):
        return "broken"
    return "garbage"


def frames_in(heard: bytes) -> Iterator[bytes]:
    """The sound Modbus frames among the bytes: requests and answers of the functions that read and write registers."""
    at = 0
    while at < len(heard) - 3:
        frame = next((f for f in _frames_at(heard, at) if adu.sound(f)), None)
        if frame is not None:
            yield frame
        at += len(frame) if frame else 1


async def diagnose(settings: PortSettings, unit: int, *, hear: Hear | None = None) -> list[Verdict]:
    """Ask the unit, and say what is wrong. Raises NoPort, NoPermission or Disconnected."""
    hear = hear or hear_port
    listened = await hear(settings, [b""], LISTEN_S)
    requests = [adu.encode_read(unit, *what) for what in ASKED]
    heard = await hear(settings, requests, WAIT_S)
    trials = [
        Trial(settings, b"", listened[0]),
        *(Trial(settings, *pair) for pair in zip(requests, heard, strict=True)),
    ]
    verdicts = judge(trials)
    if verdicts[0].cause in ("fine", "two-units", "noise", "other-master"):
        return verdicts
    found = await _elsewhere(settings, unit, hear)
    return sorted((*found, *verdicts), key=lambda verdict: -verdict.confidence)


async def _elsewhere(settings: PortSettings, unit: int, hear: Hear) -> list[Verdict]:
    """At which settings the unit answers, or which other unit does at these."""
    requests = [adu.encode_read(unit, *what) for what in ASKED[:2]]
    for baud, parity in product((settings.baud, *BAUDS), PARITIES):
        other = replace(settings, baud=baud, parity=parity)
        if other == settings:
            continue
        heard = await hear(other, requests, WAIT_S)
        if any(classify(Trial(other, *pair)) == "answer" for pair in zip(requests, heard, strict=True)):
            return [Verdict("settings", 0.98, f"unit {unit} answers at {baud} baud, parity {parity}")]
    others = [adu.encode_read(one, 4, 0, 1) for one in OTHER_UNITS if one != unit]
    heard = await hear(settings, others, WAIT_S)
    there = [req[0] for req, got in zip(others, heard, strict=True) if classify(Trial(settings, req, got)) == "answer"]
    if there:
        return [Verdict("absent", 0.9, f"unit {', '.join(map(str, there))} answers, and unit {unit} does not")]
    return []


async def hear_port(settings: PortSettings, requests: Sequence[bytes], wait_s: float) -> list[bytes]:
    """What comes on a serial port after each request. Raises NoPort, NoPermission or Disconnected."""
    port = SerialPort(settings, low_latency=True)
    heard = []
    try:
        for request in requests:
            port.read()
            if request:
                port.write(request)
            await asyncio.sleep(wait_s + (len(request) + 8) * settings.char_s + silence_s(settings.char_s))
            heard.append(port.read())
    finally:
        port.close()
    return heard


def _verdicts(trials: Sequence[Trial]) -> Iterator[Verdict]:
    asked = [trial for trial in trials if trial.request]
    kinds = Counter(classify(trial) for trial in asked)
    share = {kind: count / len(asked) for kind, count in kinds.items()} if asked else {}
    chatter = [trial for trial in trials if not trial.request and classify(trial) in ("foreign", "garbage")]
    yield from _of_others(chatter, share.get("foreign", 0.0))
    if doubled := share.get("two answers"):
        yield Verdict("two-units", 0.9, f"{doubled:.0%} of the requests were answered twice")
    if share.get("broken"):
        yield from _of_broken([trial for trial in asked if classify(trial) == "broken"], share)
    if share.get("garbage"):
        yield from _of_garbage([trial for trial in asked if classify(trial) == "garbage"], share["garbage"])
    if zeros := share.get("zeros"):
        because = f"nothing but 0x00 after {zeros:.0%} of the requests"
        yield Verdict("swapped", 0.55 * zeros, f"{because}: at rest, swapped wires read so")
        yield Verdict("undriven", 0.4 * zeros, f"{because}: a pair that nobody drives reads so")
    if good := share.get("answer"):
        yield Verdict("fine", good * (0.5 if chatter else 0.95), f"{good:.0%} of the requests were answered well")
    quiet = share.get("silence", 0.0 if asked else 1.0)
    echoed = any(trial.heard.startswith(trial.request) for trial in asked)
    heard = "nothing but the echo of the request" if echoed else "nothing"
    yield Verdict("silent", 0.8 * quiet + 0.01, f"{heard} was heard after {quiet:.0%} of the requests")


def _of_others(chatter: Sequence[Trial], foreign: float) -> Iterator[Verdict]:
    sound = [frame for trial in chatter for frame in frames_in(trial.heard)]
    if sound or foreign:
        what = f"{len(sound)} sound frames came unasked" if sound else f"others' frames in {foreign:.0%} of the waits"
        yield Verdict("other-master", 0.95 if sound else 0.6, what)
    elif chatter:
        yield Verdict(
            "garbage", 0.6, f"{sum(len(trial.heard) for trial in chatter)} bytes came unasked, none of Modbus"
        )


def _of_broken(broken: Sequence[Trial], share: dict[Kind, float]) -> Iterator[Verdict]:
    """Two that talk at once spoil the answer in the same way each time, noise each time in another."""
    repeated = _alike(broken)
    because = f"{share['broken']:.0%} of the answers were damaged"
    alike = repeated > 0 and not share.get("answer")
    yield Verdict("two-units", 0.85 if alike else 0.3, f"{because}, {repeated} of them alike")
    yield Verdict("noise", 0.1 if alike else 0.6, f"{because}, {len(broken) - repeated} of them each in its own way")


def _alike(trials: Sequence[Trial]) -> int:
    """How many trials heard just what another one with the same request did."""
    seen = Counter((trial.request, _without_echo(trial)) for trial in trials)
    return sum(count for count in seen.values() if count > 1)


def _of_garbage(garbage: Sequence[Trial], share: float) -> Iterator[Verdict]:
    """The begin of the answer is known: which wiring, speed or parity would make it read like this?"""
    hits: Counter[_End] = Counter()
    for trial in garbage:
        unit, function, count = trial.request[0], trial.request[1], trial.request[5]
        good, refused = bytes((unit, function, 2 * count)), bytes((unit, function | 0x80, ILLEGAL_ADDRESS))
        here = _End(trial.settings.baud, trial.settings.parity)
        senders = {_End(*one) for one in product((here.baud, *BAUDS), PARITIES, (False, True))} - {here}
        for sender in senders:
            seen = (_misheard(header, sender, here)[:HEADER_SURE] for header in (good, refused))
            if any(len(one) == HEADER_SURE and _without_echo(trial).startswith(one) for one in seen):
                hits[sender] += 1
    for sender, times in hits.most_common(3):
        sure = share * times / len(garbage)
        if sender.swapped and sender.baud == garbage[0].settings.baud:
            yield Verdict("swapped", 0.9 * sure, "the answer reads like one that comes over swapped wires")
        elif not sender.swapped:
            how = f"at {sender.baud} baud, parity {sender.parity}"
            yield Verdict("settings", 0.7 * sure, f"the answer reads like one sent {how}")
    begun = [trial for trial in garbage if _without_echo(trial).startswith(trial.request[:1])]
    if alike := _alike(begun):
        because = f"{alike} answers begin with the unit's number and are spoilt alike"
        yield Verdict("two-units", 0.6 * share * alike / len(garbage), because)
    yield Verdict("garbage", LIKELY * share, f"{share:.0%} of what came is no Modbus")


def _without_echo(trial: Trial) -> bytes:
    return trial.heard.removeprefix(trial.request) if trial.request else trial.heard


def _frames_at(heard: bytes, at: int) -> Iterator[bytes]:
    function = heard[at + 1]
    if function & 0x80:
        yield heard[at : at + 5]
    elif function in (1, 2, 3, 4):
        yield heard[at : at + 5 + heard[at + 2]]
        yield heard[at : at + 8]
    elif function in (5, 6, 15, 16):
        yield heard[at : at + 8]


@dataclass(frozen=True, slots=True)
class _End:
    baud: int
    parity: str
    swapped: bool = False


def _misheard(data: bytes, sender: _End, receiver: _End) -> bytes:
    """What a receiver with other settings makes of the begin of a message; the end of the message is not known."""
    wire = "1" * 12
    for byte in data:
        bits = f"{byte:08b}"[::-1]
        parity = {"none": "", "even": str(bits.count("1") % 2), "odd": str(1 - bits.count("1") % 2)}[sender.parity]
        wire += f"0{bits}{parity}1"
    if sender.swapped != receiver.swapped:
        wire = wire.translate({ord("0"): "1", ord("1"): "0"})
    ratio, heard = sender.baud / receiver.baud, bytearray()
    start = wire.find("10")
    while start >= 0:
        samples = [int(start + 1 + (1.5 + bit) * ratio) for bit in range(8)]
        if samples[-1] >= len(wire):
            break
        heard.append(int("".join(wire[sample] for sample in samples)[::-1], 2))
        stop = start + 1 + (9.5 + (receiver.parity != "none")) * ratio
        start = wire.find("10", max(0, int(stop)))
    return bytes(heard)
