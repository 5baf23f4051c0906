"""``lamppost doctor`` of a server behind a real MQTT broker, and of one over CoAP with OSCORE."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from drivers.buses.mqtt_login import Session
from firmware_sim.mqtt import Broker
from gateway.cli.doctor import Finding
from gateway.cli.doctor_server import server
from gateway.config.schema import Config
from gateway.edge.control import ControlServer
from tests.sim.compact_wire import SITE, Wire, coap_wire, mqtt_wire, running


async def looked(folder: Path, url: str, **uplink: Any) -> Finding:
    config = Config.model_validate(
        {
            "site": {"id": SITE, "location": {"latitude": 0, "longitude": 0}},
            "uplink": {"url": url, "language": "compact"} | {key: str(value) for key, value in uplink.items()},
            "storage": {"path": str(folder)},
        }
    )
    assert config.uplink is not None
    (found,) = await asyncio.to_thread(server, config, config.uplink)
    assert found.fix or found.result == "ok"
    return found


async def test_by_way_of_a_broker(tmp_path: Path) -> None:
    async with mqtt_wire(tmp_path) as wire:
        async with running(wire, tmp_path / "data") as client:
            assert (await client.get("/healthz")).status_code == 200
            found = await looked(tmp_path, wire.url)
            assert (found.result, found.detail) == ("ok", f"{wire.url} answers and accepts this box")
        found = await looked(tmp_path, wire.url)
        assert found.result == "fail"
        assert "no server answers behind it" in found.detail
    found = await looked(tmp_path, wire.url)
    assert found.result == "fail"
    assert "cannot be reached" in found.detail


@pytest.mark.skipif(shutil.which("mosquitto_passwd") is None, reason="needs mosquitto_passwd")
async def test_a_broker_that_refuses_the_password(tmp_path: Path) -> None:
    known, password = tmp_path / "passwords", tmp_path / "password"
    known.touch(0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(known), "box", "right"], check=True)
    password.write_text("wrong")
    broker = Broker(tmp_path, ("allow_anonymous false", f"password_file {known}"))
    await broker.up()
    url = f"mqtt://127.0.0.1:{broker.port}"
    found = await looked(tmp_path, url, username="box", password_file=password)
    assert found.result == "fail"
    assert "refused the session" in found.detail
    password.write_text("right")
    async with running(
        Wire(url, {"mqtt": Session(port=broker.port, username="box", password_file=password)}), tmp_path
    ):
        found = await looked(tmp_path, url, username="box", password_file=password)
    assert found.result == "ok"
    await broker.close()


async def test_a_broker_without_tls_and_a_name_that_is_none(tmp_path: Path) -> None:
    async with mqtt_wire(tmp_path) as wire:
        found = await looked(tmp_path, wire.url.replace("mqtt://", "mqtts://"))
        assert found.result == "fail"
        assert "TLS" in found.detail
    found = await looked(tmp_path, "mqtt://broker.invalid")
    assert found.detail.startswith("the name broker.invalid cannot be resolved")


async def test_over_coap(tmp_path: Path) -> None:
    async with coap_wire(tmp_path) as wire:
        keys: Path = wire.uplink["credentials_file"]
        found = await looked(tmp_path, wire.url, credentials_file=keys)
        assert found.result == "fail"
        assert "cannot be reached" in found.detail
        async with running(wire, tmp_path / "data") as client:
            assert (await client.get("/healthz")).status_code == 200
            assert (await looked(tmp_path, wire.url, credentials_file=keys)).result == "ok"
            other = tmp_path / "other" / "keys.yaml"
            other.parent.mkdir()
            other.write_text(keys.read_text().replace('sender_id: "02"', 'sender_id: "03"'))
            other.chmod(0o600)
            found = await looked(tmp_path, wire.url, credentials_file=other)
            assert found.result == "fail", found
            if os.geteuid() == 0:
                os.chown(keys.parent / "oscore", 12345, -1)
                found = await looked(tmp_path, wire.url, credentials_file=keys)
                assert found.result == "warn"
                assert "belong to the user 12345" in found.detail
                os.chown(keys.parent / "oscore", 0, -1)


@pytest.mark.parametrize(("up", "result"), [(True, "ok"), (False, "fail")])
async def test_over_coap_the_daemon_is_asked_where_it_runs(tmp_path: Path, up: bool, result: str) -> None:
    """Its keys are in use, and numbers must not be used twice."""

    async def status(_: object) -> dict[str, object]:
        return {"link": {"up": up, "error": "" if up else "the keys are not known there"}}

    async with coap_wire(tmp_path) as wire, running(wire, tmp_path / "data") as client:
        assert (await client.get("/healthz")).status_code == 200
        daemon = ControlServer(tmp_path / "lamppost.sock", {"status": status}, {})
        await daemon.start()
        found = await looked(tmp_path, wire.url, **wire.uplink)
        await daemon.close()
        assert found.result == result
        assert not (wire.uplink["credentials_file"].parent / "oscore").exists()
