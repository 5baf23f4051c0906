"""Bytes of readings on the wire and in blocks of the outbox, beside NGSI-LD and the entropy. Prints one JSON object.

Four values a second (P, Q, V at 0.1, I at 0.01) of meters of the load model, polled with an error of 1 ms (one standard
deviation, as Modbus polls of the demo have), in batches of 60 s; P alone of the tracebase recordings, where they are
there; blocks of the outbox.
``entropy`` is that of order 0 of the differences of each column over all that is shown, in bytes a reading, without and
with the instants. Times are CPU time of this thread.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson

from firmware_sim.electricity import Meter, Snapshot
from firmware_sim.loads.model import household
from gateway.compact.codec import Entry, decode, encode
from gateway.compact.message import BatchMessage
from gateway.mapping.mapper import GATEWAY, Mapper, Profile
from gateway.model import Priority, Reading
from gateway.uplink.coding import Coding

TRACEBASE = Path(__file__).parents[2].parent / "shared" / "data" / "nilm" / "tracebase"
SEED = 11
SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND
BATCH_S = 60
JITTER_NS = 1e6
FOUR = (
    ("active_power_total", "W", 1),
    ("reactive_power_total", "var", 1),
    ("voltage_l1", "V", 1),
    ("current_l1", "A", 2),
)
POWER = (("active_power_total", "W", 1),)
Quantities = Sequence[tuple[str, str, int]]  # name, unit, digits behind the point
Row = tuple[int, tuple[float, ...]]

_PHASES = ("l1", "l2", "l3")
THIRTY: Quantities = (
    *((f"voltage_{p}", "V", 1) for p in _PHASES),
    *((f"current_{p}", "A", 3) for p in _PHASES),
    *((f"active_power_{p}", "W", 1) for p in _PHASES),
    *((f"reactive_power_{p}", "var", 1) for p in _PHASES),
    *((f"apparent_power_{p}", "VA", 1) for p in _PHASES),
    *((f"power_factor_{p}", "1", 3) for p in _PHASES),
    *((f"energy_import_{p}", "kWh", 3) for p in _PHASES),
    *((f"energy_export_{p}", "kWh", 3) for p in _PHASES),
    ("active_power_total", "W", 1),
    ("reactive_power_total", "var", 1),
    ("apparent_power_total", "VA", 1),
    ("frequency", "Hz", 2),
    ("energy_import_total", "kWh", 3),
    ("energy_export_total", "kWh", 3),
)


def four(shot: Snapshot) -> tuple[float, ...]:
    """P, Q, V, I of a meter of one phase."""
    return (shot.watts[0], shot.vars[0], shot.volts[0], shot.amps[0])


def thirty(shot: Snapshot) -> tuple[float, ...]:
    """What a meter of three phases gives."""
    factors = (w / s if s else 1.0 for w, s in zip(shot.watts, shot.apparent, strict=True))
    phases = (*shot.volts, *shot.amps, *shot.watts, *shot.vars, *shot.apparent, *factors)
    energies = (*shot.import_kwh, *shot.export_kwh)
    sums = (sum(shot.watts), sum(shot.vars), sum(shot.apparent), shot.hertz)
    return (*phases, *energies, *sums, sum(shot.import_kwh), sum(shot.export_kwh))


def rounded(values: Sequence[float], quantities: Quantities) -> tuple[float, ...]:
    """As a meter says it: with its digits behind the point."""
    return tuple(round(float(value), digits) for value, (_, _, digits) in zip(values, quantities, strict=True))


def singles(values: Sequence[float]) -> tuple[float, ...]:
    """As registers of 32 bits say it."""
    return tuple(float(f"{np.float32(value):.9g}") for value in values)


def instant(second: int, chance: random.Random, unit_ns: int) -> int:
    """The middle of a poll's round trip."""
    return START + second * SECOND + round(chance.gauss(0, JITTER_NS) / unit_ns) * unit_ns


def metered(measures: str, hours: float, unit_ns: int) -> list[Row]:
    """A meter of one phase through the hours from midnight on."""
    powers = {name: watts.tolist() for name, watts in household(SEED, 1, 1.0).items()}
    meter, chance = Meter("main", SEED, "all" if measures == "all" else (measures,), 1), random.Random(SEED)
    rows = []
    for second in range(round(hours * 3600)):
        meter.advance(float(second), {name: watts[second] for name, watts in powers.items()})
        rows.append((instant(second, chance, unit_ns), rounded(four(meter.snapshot), FOUR)))
    return rows


def entries_of(rows: Sequence[Row], quantities: Quantities, device: str = "meter", seq: int = 1_000_000) -> list[Entry]:
    """One observation a row."""
    made = []
    for ns, values in rows:
        readings = tuple(
            Reading(device, name, value, unit, ns, seq=seq + n)
            for n, ((name, unit, _), value) in enumerate(zip(quantities, values, strict=True))
        )
        made.append(Entry(seq, readings))
        seq += len(readings)
    return made


def entropy(numbers: Sequence[int]) -> float:
    """Of order 0 of the differences, in bits each."""
    counts = Counter(b - a for a, b in pairwise(numbers))
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())


def entropies(rows: Sequence[Row], quantities: Quantities, unit_ns: int) -> tuple[float, float]:
    """Bytes a row: of the values, and of these with the instants."""
    columns = zip(*(values for _, values in rows), strict=True)
    bits = sum(
        entropy([round(value * 10**digits) for value in column])
        for column, (_, _, digits) in zip(columns, quantities, strict=True)
    )
    return bits / 8, (bits + entropy([ns // unit_ns for ns, _ in rows])) / 8


def spent(work: Iterator[object]) -> float:
    """CPU seconds until it ends."""
    begun = time.thread_time()
    for _ in work:
        pass
    return time.thread_time() - begun


def ngsi_ld(batches: Sequence[Sequence[Entry]]) -> dict[str, float]:
    """Bytes of the same readings as the sender posts them to a broker."""
    mapper = Mapper("hall", {name: Profile("ACMeasurement", 52.5, 13.4, "hall") for name in ("meter", GATEWAY)})
    rows = plain = zipped = packed = 0
    coding = Coding(sparing=True)
    for batch in batches:
        body = orjson.dumps(mapper.entities([reading for entry in batch for reading in entry.readings]))
        rows += len(batch)
        plain += len(body)
        zipped += len(coding.encode(body, "gzip"))
        packed += len(coding.encode(body, "zstd"))
    return {"json": round(plain / rows, 1), "json_gzip": round(zipped / rows, 2), "json_zstd": round(packed / rows, 2)}


def payload(rows: Sequence[Row], quantities: Quantities, unit_ns: int, beside: bool = True) -> dict[str, object]:
    """All figures of rows of one device, in bytes a row."""
    entries = entries_of(rows, quantities)
    batches = [entries[begin : begin + BATCH_S] for begin in range(0, len(entries), BATCH_S)]
    bodies = [encode(batch) for batch in batches]
    assert [decode(body) for body in bodies] == batches
    compact = sum(map(len, bodies)) / len(rows)
    values, all_of_it = entropies(rows, quantities, unit_ns)
    message = BatchMessage("lamppost-0042", "0011223344556677", "00" * 8, Priority.LIVE, bodies[0])
    readings = len(rows) * len(quantities)
    found: dict[str, object] = {
        "compact": round(compact, 2),
        "message_around_a_batch_bytes": len(message.to_bytes()) - len(bodies[0]),
        "entropy": round(values, 2),
        "entropy_with_instants": round(all_of_it, 2),
        "times_entropy_with_instants": round(compact / all_of_it, 2),
        "encode_us_a_value": round(spent(encode(batch) for batch in batches) / readings * 1e6, 2),
        "decode_us_a_value": round(spent(decode(body) for body in bodies) / readings * 1e6, 2),
    }
    return found | (ngsi_ld(batches[:: max(1, len(batches) // 60)]) if beside else {})


def tracebase() -> dict[str, object]:
    """P of office and household devices: of each device-day an hour, from the hour of the most change."""
    from pyarrow import parquet

    chance, found = random.Random(SEED), {}
    weighted, rows_seen, entropy_seen = 0.0, 0, 0.0
    for path in sorted(TRACEBASE.glob("*.parquet")):
        table, rows = parquet.read_table(path), 0
        compact = values = 0.0
        for name in table.column_names[:4]:
            watts = table[name].to_numpy().astype(float).tolist()
            hour = max(range(24), key=lambda h: sum(a != b for a, b in pairwise(watts[3600 * h : 3600 * (h + 1)])))
            shown = watts[3600 * hour : 3600 * (hour + 1)]
            hour_rows = [(instant(n, chance, 1_000_000), (round(w, 1),)) for n, w in enumerate(shown)]
            figures = payload(hour_rows, POWER, 1_000_000, beside=False)
            compact += float(str(figures["compact"])) * len(shown)
            values += float(str(figures["entropy_with_instants"])) * len(shown)
            rows += len(shown)
        found[path.stem] = {"compact": round(compact / rows, 2), "entropy_with_instants": round(values / rows, 2)}
        weighted, entropy_seen, rows_seen = weighted + compact, entropy_seen + values, rows_seen + rows
    return {
        "all": {
            "compact": round(weighted / rows_seen, 2),
            "entropy_with_instants": round(entropy_seen / rows_seen, 2),
            "times_entropy_with_instants": round(weighted / entropy_seen, 2),
        },
        **found,
    }


def block(entries: Sequence[Entry]) -> dict[str, float]:
    """Figures of one block of the outbox."""
    body = encode(entries)
    values = sum(len(entry.readings) for entry in entries)
    return {
        "values": values,
        "bytes": len(body),
        "bytes_a_value": round(len(body) / values, 2),
        "encode_us_a_value": round(
            min(spent(encode(entries) for _ in range(5)) / 5 for _ in range(5)) / values * 1e6, 2
        ),
        "decode_us_a_value": round(min(spent(decode(body) for _ in range(5)) / 5 for _ in range(5)) / values * 1e6, 2),
    }


def blocks() -> dict[str, object]:
    """500 values at a time of 50 devices, and one device of 30 values a second."""
    powers = {name: watts.tolist() for name, watts in household(SEED, 1, 1.0).items()}
    chance = random.Random(SEED)
    ten = (*THIRTY[:9], THIRTY[-2])
    meters = [Meter(f"meter-{n:02}", n, "all" if n % 3 else ("heat_pump", "other")) for n in range(50)]
    fifty: list[Entry] = []
    one: list[Row] = []
    raw: list[Row] = []
    for second in range(60):
        at = 7 * 3600 + second
        for n, meter in enumerate(meters):
            meter.advance(float(at), {name: watts[at + 97 * n] for name, watts in powers.items()})
            values = thirty(meter.snapshot)
            row = (instant(at, chance, 1_000_000) + n * 19_000_000, rounded(values[:9] + values[-2:-1], ten))
            fifty += entries_of([row], ten, f"meter-{n:02}", 5_000_000 + 10 * len(fifty))
        one.append((instant(at, chance, 1_000_000), rounded(thirty(meters[1].snapshot), THIRTY)))
        raw.append((one[-1][0], singles(thirty(meters[1].snapshot))))
    return {
        "50_devices_1_s": block(fifty[:50]),
        "50_devices_60_s": block(fifty[: 50 * 33]),
        "30_values_60_s": block(entries_of(one, THIRTY))
        | {"entropy_with_instants": round(entropies(one, THIRTY, 1_000_000)[1] / 30, 2)},
        "30_values_60_s_as_singles": block(entries_of(raw, THIRTY)),
        "one_reading": block([Entry(1, fifty[0].readings[:1])]),
    }


def main() -> None:
    """Run all and print."""
    result: dict[str, object] = {}
    for measures in ("all", "heat_pump", "fridge"):
        result[f"{measures}, ms"] = payload(metered(measures, 24, 1_000_000), FOUR, 1_000_000)
    result["all, us"] = payload(metered("all", 6, 1000), FOUR, 1000)
    result["all, whole seconds"] = payload(metered("all", 6, SECOND), FOUR, SECOND)
    result["tracebase"] = tracebase() if TRACEBASE.exists() else "absent"
    result["outbox"] = blocks()
    json.dump(result, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
