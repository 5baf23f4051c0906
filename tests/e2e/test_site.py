"""The main job end to end, in real processes: what arrives, and what happens when things break."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import Site, report

NEIGHBOURS = ("main-meter", "kitchen-circuit", "classroom-co2")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as running:
        running.wait(running.all_up, 40, "every device up")
        yield running


def test_every_device_arrives_as_its_entity(site: Site) -> None:
    def arrived() -> bool:
        return {e.split(":", 3)[3].split(":")[1] for e in site.api().entity_ids()} >= expected

    expected = {name for name, device in site.scenario.devices.items() if not device.silent} | {"gateway"}
    site.wait(arrived, 20, "all entities")


def test_every_key_of_the_status_is_documented(site: Site) -> None:
    from gateway.cli.status import undocumented

    status = site.status()
    assert undocumented(status) == []
    assert all("passed" in part for parts in ("devices", "buses") for part in status[parts].values())


def test_unplugged_port_is_flagged_once_and_comes_back(site: Site) -> None:
    outages = site.status()["devices"]["classroom-dust"]["outages"]
    site.fault(do="unplug", line="dust")
    site.wait(lambda: site.state("classroom-dust") == "down", 10, "dust down")
    others = [name for name in (*NEIGHBOURS, "grid-meter") if site.state(name) != "up"]
    time.sleep(1)
    site.fault(do="plug", line="dust")
    site.wait(lambda: site.state("classroom-dust") == "up", 20, "dust up")
    assert others == []
    assert site.status()["devices"]["classroom-dust"]["outages"] == outages + 1
    assert site.edge_log().count("classroom-dust is down") == outages + 1


def test_noise_costs_some_reads_and_never_a_wrong_value(site: Site) -> None:
    site.fault(do="noise", line="meters", rate=0.006)
    before = site.status()["outbox"]["made"]
    time.sleep(6)
    site.wait(
        lambda: all(site.status()["outbox"]["made"][name] > before[name] for name in NEIGHBOURS), 40, "values in noise"
    )
    site.fault(do="noise", line="meters", rate=0.0)
    voltage = [
        value
        for instance in site.api().get(
            "/ngsi-ld/v1/temporal/entities/urn:ngsi-ld:ThreePhaseAcMeasurement:school-1:main-meter?lastN=100"
        )["https://smartdatamodels.org/dataModel.Energy/phaseVoltage"]
        for value in instance["value"].values()
    ]
    assert all(200 < value < 260 for value in voltage)


def test_the_silent_unit_is_found_silent_and_says_so_once(site: Site) -> None:
    site.wait(lambda: site.state("spare-meter") == "silent", 30, "spare-meter silent")
    assert site.edge_log().count("spare-meter is silent") == 1


def test_mqtt_broker_restart(site: Site) -> None:
    site.fault(do="mqtt", state="down")
    site.wait(lambda: site.state("heat-pump-meter") != "up", 30, "heat pump meter down")
    site.fault(do="mqtt", state="up")
    site.wait(lambda: site.state("heat-pump-meter") == "up", 30, "heat pump meter up")
    assert site.status()["devices"]["heat-pump-meter"]["outages"] == 1


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ({"do": "adapter", "state": "off"}, {"do": "adapter", "state": "on"}),
        ({"do": "dbus", "state": "restart"}, None),
    ],
)
def test_bluetooth_comes_back_by_itself(site: Site, broken: dict[str, str], mended: dict[str, str] | None) -> None:
    radio = ("corridor-climate", "classroom-climate", "test-bike")
    outages = {name: site.status()["devices"][name]["outages"] for name in radio}
    site.fault(do="ble", request=broken)
    site.wait(lambda: all(site.status()["devices"][n]["outages"] > outages[n] for n in radio), 60, "radio devices down")
    wired = [name for name in (*NEIGHBOURS, "grid-meter", "classroom-dust") if site.state(name) != "up"]
    if mended is not None:
        site.fault(do="ble", request=mended)
    site.wait(lambda: all(site.state(name) == "up" for name in radio), 60, "radio devices up")
    assert wired == []
    assert all(site.status()["devices"][name]["outages"] == outages[name] + 1 for name in radio)


def test_appliances_arrive_and_sum_to_the_mains(site: Site) -> None:
    def parts() -> dict[str, Any]:
        found = [
            site.api().get(f"/ngsi-ld/v1/entities/{e}")
            for e in site.api().entity_ids()
            if ":ACMeasurement:" in e and ":grid-meter:" in e
        ]
        return {entity["id"].rsplit(":", 1)[1]: entity for entity in found}

    site.wait(lambda: "other" in parts(), 60, "appliances")
    power = "https://smartdatamodels.org/dataModel.Energy/totalActivePower"
    series = {
        name: {
            instance["observedAt"]: instance["value"]
            for instance in site.api().get(f"/ngsi-ld/v1/temporal/entities/{entity['id']}?lastN=50")[power]
        }
        for name, entity in parts().items()
    }
    mains_id = next(e for e in site.api().entity_ids() if e.endswith(":grid-meter"))
    mains = [i["value"] for i in site.api().get(f"/ngsi-ld/v1/temporal/entities/{mains_id}?lastN=200")[power]]
    common = set.intersection(*(set(values) for values in series.values()))
    assert common
    for instant in common:
        total = sum(values[instant] for values in series.values())
        assert min(abs(total - main) for main in mains) <= 0.01 * max(total, 1.0)


def test_wrong_configuration_changes_nothing(site: Site) -> None:
    path = site.run / "lamppost.yaml"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("template: senseair-s8", "template: sensair-s8"), encoding="utf-8")
    site.hangup()
    site.wait(lambda: "the configuration stays as it was" in site.edge_log(), 10, "refusal in the log")
    path.write_text(good, encoding="utf-8")
    assert site.status()["devices"]["classroom-co2"]["state"] == "up"


def test_reload_leaves_unchanged_devices_alone(site: Site) -> None:
    def change(config: dict[str, Any]) -> None:
        del config["devices"]["spare-meter"]

    outages = {name: device["outages"] for name, device in site.status()["devices"].items()}
    site.change_config(change)
    site.hangup()
    site.wait(lambda: "spare-meter" not in site.status()["devices"], 10, "spare-meter gone")
    time.sleep(3)
    after = site.status()["devices"]
    assert {name: device["outages"] for name, device in after.items()} == {n: outages[n] for n in after}
    assert after["main-meter"]["last_s"] < 5


def test_metrics_are_served_on_loopback(site: Site) -> None:
    import http.client

    listening = {
        (c.laddr.ip, c.laddr.port)
        for c in psutil.Process(site.pid("edge")).net_connections("tcp")
        if c.status == psutil.CONN_LISTEN
    }
    assert len(listening) == 1
    host, port = listening.pop()
    assert host == "127.0.0.1"
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    assert 'lamppost_device_up{device="main-meter"} 1\n' in text
    assert "lamppost_outbox_depth" in text


def test_server_comes_back_and_nothing_is_missing(site: Site) -> None:
    site.kill("server")
    site.wait(lambda: site.status()["outbox"]["depth"] > 300, 30, "a backlog")
    site.begin("server")
    site.wait(lambda: site.status()["outbox"]["depth"] < 200, 15, "the backlog sent")


def test_nothing_was_lost_or_twice_through_all_of_this(site: Site) -> None:
    result = site.settle(0)
    report("after all faults", made=result["made"], stored=result["stored"], lost=result["lost"], twice=result["twice"])
    assert result["made"] > 1000
    assert (result["lost"], result["twice"]) == (0, 0)


def test_sigterm_flushes_and_exits_within_two_seconds(site: Site) -> None:
    process = psutil.Process(site.pid("edge"))
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    psutil.wait_procs([process], timeout=10)
    took = time.monotonic() - began
    report("sigterm", seconds=round(took, 2))
    assert took < 2.0


def test_demo_counts_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway.cli.main", "demo", "--seconds", "6", "--json", "--loads", "model"]
    command += ["--listen", "127.0.0.1:0", "--run", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() == {"seconds", "entities", "made", "stored", "lost", "twice", "devices"}
    assert result["made"] == result["stored"] > 100
    spare = result["devices"]["spare-meter"]
    assert (spare["made"], spare["stored"]) == (0, 0)
    assert spare["state"] != "up"
