"""What is wrong with a Modbus line, as far as the bytes tell: wrong speed or parity, swapped wires, two at one address.

:func:`judge` is pure: from what was heard after each request to verdicts with a confidence. :func:`diagnose` asks, and
where nothing sound comes, tries the other usual settings. It reads only. Bytes tell little where a device understands
nothing: then it is silent, and only another try tells why. What each verdict rests on:

========================  ============================================================================================
fine                      sound answers of the unit asked; an echo of the request is said beside it
settings                  the unit answers at another speed or parity; less certain: the first bytes that came are what
                          a receiver with these settings makes of the answer's known first bytes
swapped, undriven         only 0x00 came. With A and B swapped the line rests at 0, which a receiver takes for breaks; a
                          pair without bias resistors can rest there too. Bytes alone cannot tell the two apart. Swapped
                          is the likelier one; a device with its own wires swapped hears nothing and is silent instead
two-units                 two sound answers to one request; answers that are damaged each time, alike or at this unit
                          only; two identical devices that send the same bytes at the same instant cannot be told
noise                     answers that are damaged now and then, each in its own way
other-master              sound frames that nobody asked for, or of other units
absent                    other units answer on this line, and this one does not
garbage                   bytes came and none of the above explains them
silent                    nothing came, at any of the settings that were tried
========================  ============================================================================================
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, product
from typing import Literal

from drivers.buses import modbus_adu as adu
from drivers.buses.readable import readable
from drivers.buses.serial_port import PortSettings, SerialPort
from drivers.planner import silence_s

Cause = Literal[
    "fine", "silent", "settings", "swapped", "undriven", "two-units", "noise", "other-master", "absent", "garbage"
]
Kind = Literal["silence", "zeros", "answer", "two answers", "broken", "foreign", "garbage"]
Hear = Callable[[PortSettings, Sequence[bytes], float, float], Awaitable[list[bytes]]]

BAUDS = (9600, 19_200, 38_400, 115_200, 4800, 2400, 57_600, 1200)
PARITIES = ("none", "even", "odd")
OTHER_UNITS = (1, 2, 3, 4, 10, 247)  # what is fresh from the box answers at one of these
LISTEN_S, WAIT_S, TRY_S = 1.0, 0.3, 0.2
SETTLE_S = 0.1  # a second unit at the same address begins to answer within this time
LIMIT_S = 5.0
ASKED_MIN = 6  # requests: two make no statistics
LIKELY = 0.5
HEADER_SURE = 2  # bytes of a misheard answer that must fit before it says anything
ILLEGAL_ADDRESS = 2
MOSTLY = 0.5  # of the requests are answered well: this unit is all right
HEARD_MAX = 1024  # bytes after one request
SOUND_KINDS: tuple[Kind, ...] = ("answer", "two answers")
TOLD_HERE: tuple[Cause, ...] = ("fine", "two-units", "noise", "other-master", "absent")  # other settings tell no more

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


async def diagnose(
    settings: PortSettings, requests: Sequence[bytes], *, hear: Hear | None = None, limit_s: float = LIMIT_S
) -> list[Verdict]:
    """Send the requests, one read for each unit, and say what is wrong. Raises NoPort, NoPermission or Disconnected.

    It begins nothing more once ``limit_s`` are over.
    """
    hear = hear or hear_port
    until = asyncio.get_running_loop().time() + limit_s
    listened = await hear(settings, [b""], LISTEN_S, until)
    trials = [Trial(settings, b"", heard) for heard in listened]
    asked = list(islice(cycle(requests), max(len(requests), ASKED_MIN)))
    first = max(len(requests), 2)
    trials += await _ask(hear, settings, asked[:first], WAIT_S, until)
    if any(classify(trial) != "silence" for trial in trials):
        trials += await _ask(hear, settings, asked[first:], WAIT_S, until)
    verdicts = judge(trials)
    if verdicts[0].cause in TOLD_HERE:
        return verdicts
    found, tried = await _elsewhere(hear, settings, requests, until)
    return found or [replace(one, because=f"{one.because}; {tried}") for one in verdicts]


async def _ask(
    hear: Hear, settings: PortSettings, requests: Sequence[bytes], wait_s: float, until: float
) -> list[Trial]:
    heard = await hear(settings, requests, wait_s, until)
    return [Trial(settings, *pair) for pair in zip(requests, heard, strict=False)]  # the rest is out of time


async def _elsewhere(
    hear: Hear, settings: PortSettings, requests: Sequence[bytes], until: float
) -> tuple[list[Verdict], str]:
    """Which other unit answers at these settings, or at which others somebody does; and what was tried."""
    missing = sorted({request[0] for request in requests})
    others = [adu.encode_read(one, 4, 0, 1) for one in OTHER_UNITS if one not in missing]
    there = [t.request[0] for t in await _ask(hear, settings, others, TRY_S, until) if classify(t) in SOUND_KINDS]
    if there:
        because = f"{_units(there)} answers at these settings, and {_units(missing)} does not"
        return [Verdict("absent", 0.9, because)], ""
    tried = 0
    for request in requests:
        for other in _usual(settings):
            for trial in await _ask(hear, other, [request], TRY_S, until):
                tried += 1
                how = f"at {other.baud} baud, parity {other.parity}"
                if classify(trial) in SOUND_KINDS:
                    return [Verdict("settings", 0.98, f"unit {request[0]} answers {how}")], ""
                if classify(trial) == "foreign":
                    return [Verdict("settings", 0.8, f"sound frames of others are heard {how}")], ""
    return [], f"{_units([one[0] for one in others])} do not answer, and nobody at {tried} other settings"


def _usual(settings: PortSettings) -> Iterator[PortSettings]:
    """Other settings: those with the same speed first, then the most usual ones."""
    ranked = sorted(product(BAUDS, PARITIES), key=lambda one: BAUDS.index(one[0]) + 2 * PARITIES.index(one[1]))
    pairs = dict.fromkeys((*((settings.baud, parity) for parity in PARITIES), *ranked))
    del pairs[settings.baud, settings.parity]
    for baud, parity in pairs:
        yield replace(settings, baud=baud, parity=parity)


async def hear_port(settings: PortSettings, requests: Sequence[bytes], wait_s: float, until: float) -> list[bytes]:
    """What comes on a serial port after each request (b"": only listened) that is begun before the loop's time
    ``until``. Raises NoPort, NoPermission or Disconnected.
    """
    loop = asyncio.get_running_loop()
    port = SerialPort(settings, low_latency=True)
    heard: list[bytes] = []
    try:
        while len(heard) < len(requests) and loop.time() < until:
            request = requests[len(heard)]
            port.read()
            if request:
                port.write(request)
            wire_s = 2 * len(request) * settings.char_s
            heard.append(await _heard(port, Trial(settings, request, b""), loop.time() + wait_s + wire_s))
            await asyncio.sleep(silence_s(settings.char_s))
    finally:
        port.close()
    return heard


async def _heard(port: SerialPort, trial: Trial, until: float) -> bytes:
    """What comes until the time, or until nothing follows a sound answer."""
    loop = asyncio.get_running_loop()
    while loop.time() < until and await readable(port.fd, until):
        trial = replace(trial, heard=(trial.heard + port.read())[:HEARD_MAX])
        if classify(trial) == "answer":
            until = min(until, loop.time() + SETTLE_S)
    return trial.heard


def _verdicts(trials: Sequence[Trial]) -> Iterator[Verdict]:
    asked = [trial for trial in trials if trial.request]
    chatter = [trial for trial in trials if not trial.request and classify(trial) in ("foreign", "garbage")]
    well, ill = _apart(asked)
    for unit, own in ill.items():
        yield _of_unit(unit, own, well)
    pool = [trial for trial in asked if trial.request[0] not in ill]
    kinds = Counter(classify(trial) for trial in pool)
    share = {kind: count / len(pool) for kind, count in kinds.items()} if pool else {}
    yield from _of_others(chatter, share.get("foreign", 0.0))
    yield from _of_idle(trials)
    if doubled := share.get("two answers"):
        yield Verdict("two-units", 0.9, f"{doubled:.0%} of the requests were answered twice")
    if share.get("broken"):
        yield from _of_broken([trial for trial in pool if classify(trial) == "broken"], share)
    if share.get("garbage"):
        yield from _of_garbage([trial for trial in pool if classify(trial) == "garbage"], share["garbage"])
    if zeros := share.get("zeros"):
        because = f"nothing but 0x00 after {zeros:.0%} of the requests"
        yield Verdict("swapped", 0.55 * zeros, f"{because}: at rest, swapped wires read so")
        yield Verdict("undriven", 0.4 * zeros, f"{because}: a pair that nobody drives reads so")
    echoed = any(trial.heard.startswith(trial.request) for trial in asked)
    if good := share.get("answer"):
        because = f"{good:.0%} of the requests to {_units(well)} were answered well"
        because += "; the adapter hears what it sends" if echoed else ""
        yield Verdict("fine", good * (0.5 if chatter or ill else 0.95), because)
    quiet = share.get("silence", 0.0 if pool else 1.0)
    heard = "nothing but the echo of the request" if echoed else "nothing"
    yield Verdict("silent", 0.8 * quiet + 0.01, f"{heard} was heard after {quiet:.0%} of the requests")


def _apart(asked: Sequence[Trial]) -> tuple[list[int], Mapping[int, list[Trial]]]:
    """The units that mostly answer well, and what was heard of the others, where there are both."""
    units: dict[int, list[Trial]] = {}
    for trial in asked:
        units.setdefault(trial.request[0], []).append(trial)
    good = {unit: sum(classify(trial) == "answer" for trial in own) / len(own) for unit, own in units.items()}
    well = sorted(unit for unit, share in good.items() if share >= MOSTLY)
    return well, {unit: own for unit, own in units.items() if well and unit not in well}


def _of_unit(unit: int, own: Sequence[Trial], well: Sequence[int]) -> Verdict:
    """What is wrong with one unit on a line on which others answer."""
    kinds = Counter(classify(trial) for trial in own)
    if kinds["silence"] + kinds["zeros"] == len(own):
        return Verdict("absent", 0.9, f"{_units(well)} answers, and unit {unit} does not")
    if kinds["two answers"]:
        return Verdict("two-units", 0.9, f"unit {unit} answers twice")
    if kinds["answer"]:
        return Verdict("noise", 0.5, f"unit {unit} answered {kinds['answer']} of {len(own)} requests well")
    because = f"all {len(own)} answers of unit {unit} were damaged, and those of {_units(well)} were not"
    return Verdict("two-units", 0.8 if len(own) > 1 else 0.4, because)


def _units(units: Sequence[int]) -> str:
    return f"unit {', '.join(map(str, units))}"


def _of_idle(trials: Sequence[Trial]) -> Iterator[Verdict]:
    """A pair that nobody drives may read as 0x00 now and then: beside sound answers it does no harm."""
    stray = [trial for trial in trials if b"\0" in _unexplained(trial) and not any(_unexplained(trial))]
    stray = [trial for trial in stray if not trial.request or classify(trial) == "answer"]
    if stray:
        yield Verdict("undriven", 0.3, f"0x00 came {len(stray)} times while nobody spoke")


def _unexplained(trial: Trial) -> bytes:
    """What was heard, without the sound frames in it."""
    rest = _without_echo(trial)
    for frame in frames_in(rest):
        rest = rest.replace(frame, b"", 1)
    return rest


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
