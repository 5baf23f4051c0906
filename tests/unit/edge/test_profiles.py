"""What the mapping is told of devices."""

from __future__ import annotations

import pytest

from gateway.config.schema import Config
from gateway.edge.profiles import profiles
from gateway.mapping.mapper import GATEWAY


@pytest.mark.parametrize(
    ("template", "moves", "controlled"),
    [("gnss-nmea0183", True, ["location"]), ("nova-sds011", False, None), ("huawei-sun2000", False, ["power"])],
)
def test_devices_that_have_no_model_of_their_own_say_what_they_are_for(
    template: str, moves: bool, controlled: list[str] | None
) -> None:
    text = {
        "site": {"id": "s", "location": {"latitude": 52.0, "longitude": 5.0}},
        "buses": {"port": {"type": "serial", "port": "/dev/null"}},
        "devices": {"one": {"template": template, "bus": "port"}},
    }
    made = profiles(Config.model_validate(text), "1")
    assert made["one"].moves is moves
    assert made["one"].constant.get("controlledProperty") == controlled
    assert made[GATEWAY].constant["controlledProperty"] == (controlled or ["airPollution"])
