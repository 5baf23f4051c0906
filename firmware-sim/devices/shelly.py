"""Shelly devices: what they publish by MQTT.

Pro 3EM and Plug S (generation 2 and later), as JSON: ``<prefix>/status/em:0`` carries the present values of three
phases (``a``, ``b``, ``c``), ``<prefix>/status/emdata:0`` the energy counters in Wh, ``<prefix>/status/switch:0`` all
of a plug; ``<prefix>/events/rpc`` wraps the same in a NotifyStatus message, ``<prefix>/online`` tells ``true`` or
``false`` (retained; also the will).

3EM (generation 1): a topic a value, ``shellies/<id>/emeter/<phase>/<value>``, with energies in Wh.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from firmware_sim.electricity import Snapshot

PERIOD_S = 1.0
ENERGY_EVERY = 10  # one message of counters for so many of present values
_LETTERS = "abc"


def present(shot: Snapshot) -> dict[str, object]:
    """The component ``em:0``."""
    apparent = shot.apparent
    values: dict[str, object] = {"id": 0}
    for phase, letter in enumerate(_LETTERS):
        factor = shot.watts[phase] / apparent[phase] if apparent[phase] else 1.0
        values |= {
            f"{letter}_current": round(shot.amps[phase], 3),
            f"{letter}_voltage": round(shot.volts[phase], 1),
            f"{letter}_act_power": round(shot.watts[phase], 1),
            f"{letter}_aprt_power": round(apparent[phase], 1),
            f"{letter}_pf": round(factor, 2),
            f"{letter}_freq": round(shot.hertz, 1),
        }
    return values | {
        "n_current": None,
        "total_current": round(sum(shot.amps), 3),
        "total_act_power": round(sum(shot.watts), 3),
        "total_aprt_power": round(sum(apparent), 3),
        "user_calibrated_phase": [],
    }


def energies(shot: Snapshot) -> dict[str, object]:
    """The component ``emdata:0``, in Wh."""
    values: dict[str, object] = {"id": 0}
    for phase, letter in enumerate(_LETTERS):
        values[f"{letter}_total_act_energy"] = round(shot.import_kwh[phase] * 1000, 2)
        values[f"{letter}_total_act_ret_energy"] = round(shot.export_kwh[phase] * 1000, 2)
    return values | {
        "total_act": round(sum(shot.import_kwh) * 1000, 2),
        "total_act_ret": round(sum(shot.export_kwh) * 1000, 2),
    }


def plug(shot: Snapshot) -> dict[str, object]:
    """The component ``switch:0`` of a plug; its load hangs on the first phase."""
    return {
        "id": 0,
        "source": "init",
        "output": True,
        "apower": round(shot.watts[0], 1),
        "voltage": round(shot.volts[0], 1),
        "freq": round(shot.hertz, 1),
        "current": round(shot.amps[0], 3),
        "aenergy": {"total": round(shot.import_kwh[0] * 1000, 3), "by_minute": [0.0, 0.0, 0.0], "minute_ts": 0},
        "temperature": {"tC": 38.5, "tF": 101.3},
    }


def first_generation(prefix: str, shot: Snapshot) -> list[tuple[str, str]]:
    """Topics and payloads of one period of a 3EM."""
    out = []
    for phase in range(3):
        apparent = shot.apparent[phase]
        values = {
            "power": round(shot.watts[phase], 2),
            "pf": round(shot.watts[phase] / apparent if apparent else 0.0, 2),
            "current": round(shot.amps[phase], 2),
            "voltage": round(shot.volts[phase], 2),
            "total": round(shot.import_kwh[phase] * 1000, 1),
            "total_returned": round(shot.export_kwh[phase] * 1000, 1),
        }
        out += [(f"{prefix}/emeter/{phase}/{key}", str(value)) for key, value in values.items()]
    return [*out, (f"{prefix}/relay/0", "off")]


def notification(prefix: str, component: str, values: dict[str, object], at_s: float) -> dict[str, object]:
    """A NotifyStatus message as on ``<prefix>/events/rpc``."""
    params = {"ts": round(at_s, 2), component: values}
    return {"src": prefix, "dst": f"{prefix}/events", "method": "NotifyStatus", "params": params}


def messages(prefix: str, shot: Snapshot, number: int, at_s: float) -> list[tuple[str, str]]:
    """Topics and payloads of one period; ``number`` counts the periods, ``at_s`` is Unix time."""
    components = {"em:0": present(shot)}
    if number % ENERGY_EVERY == 0:
        components["emdata:0"] = energies(shot)
    return statuses(prefix, components, at_s)


def statuses(prefix: str, components: Mapping[str, dict[str, object]], at_s: float) -> list[tuple[str, str]]:
    """Each component at its own topic, and again as a notification."""
    out = []
    for component, values in components.items():
        wrapped = notification(prefix, component, values, at_s)
        out.append((f"{prefix}/status/{component}", json.dumps(values)))
        out.append((f"{prefix}/events/rpc", json.dumps(wrapped)))
    return out
