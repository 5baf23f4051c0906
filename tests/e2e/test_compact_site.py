"""A whole site that speaks the compact language, over each wire, both ends killed on the way: all readings, once."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from firmware_sim.process import find_program
from gateway.cli.children import Child, lamppost
from tests.e2e.harness import Site, report
from tests.sim.compact_wire import key_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class CompactSite(Site):
    """The server has a configuration of its own, and there may be a broker."""

    def stop(self) -> None:
        super().stop()
        if "broker" in self._children:
            self._children.pop("broker").stop()

    def begin_server(self, server: dict[str, Any]) -> None:
        host, port = self._address.rsplit(":", 1)
        server = {"listen": {"host": host, "port": int(port)}, **server}
        place = {"id": "city", "location": {"latitude": 55.6, "longitude": 12.5}}
        config = {"site": place, "server": server, "storage": {"path": str(self.run / "server")}}
        path = self.run / "server.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = lamppost("run", "--role", "server", "--config", str(path))
        self._children["server"] = Child("server", command, self.run / "server.log", self._environment)


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wire(site: CompactSite, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What this wire needs in the configuration of the server, and in the uplink of the edge."""
    if name == "mqtt":
        port = free_port(socket.SOCK_STREAM)
        log = site.run / "broker.log"
        site._children["broker"] = Child(
            "broker", [find_program("mosquitto") or "", "-p", str(port)], log, site._environment
        )
        return {"mqtt": {"port": port}}, {"url": f"mqtt://127.0.0.1:{port}"}
    if name == "coap":
        theirs, ours = key_files(site.run, site.scenario.site.id)
        port = free_port(socket.SOCK_DGRAM)
        listen = {"host": "127.0.0.1", "port": port}
        coap = {"listen": listen, "credentials_file": str(theirs)}
        return {"coap": coap}, {"url": f"coap://127.0.0.1:{port}", "credentials_file": str(ours)}
    return {}, {}


@pytest.mark.parametrize("name", ["http", "mqtt", "coap"])
def test_all_readings_once(tmp_path: Path, name: str) -> None:
    chance = random.Random(11)
    with CompactSite(tmp_path) as site:
        server, uplink = wire(site, name)
        site.kill("edge")
        site.kill("server")
        site.begin_server(server)
        site.wait(site._server_answers, 20, "the server answering")
        site.change_config(lambda config: config["uplink"].update(language="compact", timeout=3, **uplink))
        site.begin("edge")
        site.wait(site.all_up, 120, "every device up")
        for _ in range(4):
            time.sleep(chance.uniform(1.0, 4.0))
            role = chance.choice(("edge", "server"))
            site.kill(role)
            if role == "edge":
                site.begin("edge")
            else:
                time.sleep(chance.uniform(0.0, 3.0))
                site.begin_server(server)
        site.wait(site.all_up, 120, "every device up again")
        site.wait(lambda: site.status()["outbox"]["depth"] < 300, 60, "the backlog sent")
        result = site.settle(0)
        cost = site.status()["outbox"]
        report("compact-site", wire=name, made=result["made"], lost=result["lost"], twice=result["twice"], outbox=cost)
        assert (result["lost"], result["twice"]) == (0, 0) and result["made"] > 1000
