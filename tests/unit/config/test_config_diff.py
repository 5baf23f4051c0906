from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.diff import ConfigDiff, diff
from gateway.config.schema import Config, LinkConfig

Sites = st.fixed_dictionaries(
    {
        "buses": st.dictionaries(st.sampled_from("abc"), st.sampled_from([9600, 19200])),
        "devices": st.dictionaries(st.sampled_from("xyz"), st.tuples(st.sampled_from("abc"), st.integers(1, 3))),
        "interval": st.integers(1, 2),
    }
)


def config(site: dict[str, object]) -> Config:
    buses, devices = site["buses"], site["devices"]
    assert isinstance(buses, dict)
    assert isinstance(devices, dict)
    return Config.model_validate(
        {
            "site": {"id": "box", "location": {"latitude": 0, "longitude": 0}},
            "uplink": {"url": "http://127.0.0.1", "interval": site["interval"]},
            "buses": {
                name: {"type": "modbus-rtu", "port": f"/dev/{name}", "baud": baud} for name, baud in buses.items()
            },
            "devices": {n: {"template": "t", "bus": bus, "address": id_} for n, (bus, id_) in devices.items()},
        }
    )


def test_the_same_is_no_change() -> None:
    one = config({"buses": {"a": 9600}, "devices": {"x": ("a", 1)}, "interval": 1})
    assert diff(one, one) == ConfigDiff()
    assert not diff(one, one)


def test_a_device_on_a_changed_bus_has_changed() -> None:
    old = config({"buses": {"a": 9600, "b": 9600}, "devices": {"x": ("a", 1), "y": ("b", 1)}, "interval": 1})
    new = config({"buses": {"a": 19200, "b": 9600}, "devices": {"x": ("a", 1), "y": ("b", 1)}, "interval": 2})
    change = diff(old, new)
    assert change == ConfigDiff(buses_changed=("a",), devices_changed=("x",), needs_restart=("uplink",))
    assert change


@given(Sites, Sites)
def test_following_the_difference_leads_to_the_new_configuration(
    before: dict[str, object], after: dict[str, object]
) -> None:
    old, new = config(before), config(after)
    change = diff(old, new)
    for kind in ("buses", "devices"):
        have, want = dict(getattr(old, kind)), getattr(new, kind)
        for name in getattr(change, f"{kind}_removed"):
            del have[name]
        for name in (*getattr(change, f"{kind}_added"), *getattr(change, f"{kind}_changed")):
            have[name] = want[name]
        assert have == want
    untouched = {*new.devices} - {*change.devices_added, *change.devices_changed}
    touched_buses = {*change.buses_added, *change.buses_changed, *change.buses_removed}
    assert all(old.devices[name] == new.devices[name] for name in untouched)
    assert not [name for name in untouched if new.devices[name].bus in touched_buses & set(old.buses) & set(new.buses)]
    assert bool(change.needs_restart) == (old.uplink != new.uplink)


def test_changed_links_need_no_restart() -> None:
    old = config({"buses": {}, "devices": {}, "interval": 1})
    new = old.model_copy(update={"links": [LinkConfig(name="gsm", interface="wwan0")]})
    assert diff(old, new) == ConfigDiff(links_changed=True)
