"""What the edge publishes of results that come twice: provisional at once, final of the same instant."""

from pathlib import Path

from drivers.base import Observation
from gateway.config.schema import Disaggregation
from gateway.edge.appliances import Appliances
from gateway.pipeline.nilm.result import ApplianceResult, Part

SECOND = 1_000_000_000


def result(at: int, watts: float, *, final: bool) -> ApplianceResult:
    part = Part("kettle", watts, 0.0, watts > 0, 0.9)
    return ApplianceResult(at * SECOND, 2100.0, 2100.0 - watts, (part,), (), final)


def test_a_final_value_takes_the_place_of_the_provisional_one() -> None:
    told: list[tuple[str, Observation, bool, bool]] = []
    settings = Disaggregation(meter="grid", model=Path("m.json"))
    appliances = Appliances(settings, lambda *_: None, lambda *one: told.append(one), lambda mono_ns: mono_ns)
    for at in range(100, 160):
        if at >= 130:
            appliances.result(result(at - 30, 1900.0, final=True))
        appliances.result(result(at, 2000.0, final=False))
    kettle = [
        (one.mono_ns // SECOND, {m.quantity: m.value for m in one.measurements})
        for name, one, *_ in told
        if "kettle" in name
    ]
    provisional = [at for at, values in kettle if values["provisional"]]
    final = [at for at, values in kettle if not values["provisional"]]
    assert provisional == list(range(100, 160, 5))
    assert final == [at for at in provisional if at < 130], "each published instant once, no other"
    assert {values["active_power_total"] for at, values in kettle if at in final} == {1900.0, 2000.0}
