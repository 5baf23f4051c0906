"""``lamppost demo``: a simulated site, an edge and a server, each in its own process, and a page to watch."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import yaml

from gateway.cli.children import Child, lamppost
from gateway.cli.control import ControlClient
from gateway.cli.demo_count import Api, until
from gateway.cli.options import host_port
from gateway.errors import LamppostError, UsageError
from gateway.mapping.mapper import entity_id

DEFAULT_PORT = 9090
START_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 30.0
TRAINING_DAYS = 4.0


@click.command("demo", short_help="A simulated site, live on a page.")
@click.option("--seconds", type=click.FloatRange(min=5), help="Stop by itself after that time and count.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end (with --seconds).")
@click.option("--scenario", default="school", show_default=True, help="Name or file of the scenario.")
@click.option("--speed", type=click.FloatRange(min=1), default=10.0, show_default=True, help="How fast the day runs.")
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--loads", type=click.Choice(["auto", "model", "recording"]), default="auto", show_default=True)
@click.option("--listen", default=None, help=f"HOST:PORT of the page; default 127.0.0.1:{DEFAULT_PORT}, or a free one.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="Folder for all files; default a new one.")
def command(seconds: float | None, as_json: bool, folder: Path | None, listen: str | None, **site: Any) -> None:
    """Simulate a school's meters, air and bicycles at the level of bytes, and show them on a page.

    Another scenario that ships is bus-zoo: Modbus devices of twenty makers on two lines and a TCP gateway.

    Without --seconds it stays up until Ctrl-C. Exit code 0 only if every device that the scenario brings to life
    arrived and nothing was lost or twice.
    """
    if as_json and seconds is None:
        raise UsageError("--json needs --seconds", fix="Give --seconds N.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a script started it in the background
    with tempfile.TemporaryDirectory(prefix="lamppost-demo-") as temporary:
        demo = Demo((folder or Path(temporary)).absolute(), _address(listen), **site)
        try:
            demo.start()
            _say(f"the page: {demo.url}/")
            if seconds is None:
                _say("Ctrl-C ends it")
                demo.stay()
                return
            result = demo.measure(seconds)
        finally:
            demo.stop()
    click.echo(json.dumps(result) if as_json else _table(result))
    sys.exit(0 if demo.complete(result) else 1)


class Demo:
    """The processes of one demonstration, in one folder."""

    def __init__(self, run: Path, address: str, *, scenario: str, speed: float, seed: int, loads: str) -> None:
        try:
            import firmware_sim.scenario as scenarios
        except ImportError as error:
            raise LamppostError(
                f"the simulator is not installed: {error}",
                code="demo.not-installed",
                fix="pip install 'lamppost[demo]'",
            ) from error
        self._scenarios = scenarios
        try:
            self.scenario = scenarios.load(scenario)
        except scenarios.ScenarioError as error:
            raise UsageError(str(error), fix="See firmware-sim/scenarios.") from error
        self._given = scenario
        self.run = run
        self.url = f"http://{address}"
        self._address = address
        self._site = {"speed": speed, "seed": seed, "loads": loads}
        self._children: dict[str, Child] = {}
        self._environment = dict(os.environ)
        self._began_ns = time.time_ns()

    def start(self) -> None:
        """Start all and wait for the first entity. Raises LamppostError when a process dies or nothing arrives."""
        self.run.mkdir(parents=True, exist_ok=True)
        if self.scenario.disaggregation is not None:
            self._start("trainer", self._training())
        _say("starting the simulator and the server")
        simulator = [
            sys.executable,
            "-m",
            "firmware_sim",
            "run",
            "--scenario",
            self._given,
            "--run",
            str(self.run),
        ]
        for option, value in self._site.items():
            simulator += [f"--{option}", str(value)]
        self._start("simulator", simulator)
        self._start(
            "server", lamppost("run", "--role", "server", "--listen", self._address, "--data", str(self.run / "server"))
        )
        self._wait_for(lambda: (self.run / "sim.json").exists() and self._server_answers(), "simulator and server")
        self._start("edge", lamppost("run", "--role", "edge", "--config", str(self._configure())))
        began = time.monotonic()
        self._wait_for(lambda: bool(Api(self.url).entity_ids()), "first entity")
        _say(f"first entity in the server {time.monotonic() - began:.1f} s after the start of the edge")

    def stay(self) -> None:
        """Wait until Ctrl-C; raise LamppostError when a process dies."""
        try:
            while True:
                time.sleep(1.0)
                self._check()
        except KeyboardInterrupt:
            _say("stopping")

    def measure(self, seconds: float) -> dict[str, Any]:
        """Run for some seconds, let the simulated devices fall silent, compare what was made with what is stored."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(0.5, max(0.0, end - time.monotonic())))
            self._check()
        return self.settle(seconds)

    def settle(self, seconds: float) -> dict[str, Any]:
        """Silence the simulated devices, wait until the outbox is empty, and count what was made and what is stored."""
        states = {name: device["state"] for name, device in self.status()["devices"].items()}
        _say("counting")
        self._children.pop("simulator").stop()
        result: dict[str, Any] = {}

        def counted() -> bool:
            before = self.status()
            if before["outbox"]["depth"]:
                return False
            result.update(self._count(before, states, seconds))
            return bool(self.status()["outbox"]["made"] == before["outbox"]["made"])

        if not until(counted, SETTLE_TIMEOUT_S):
            result.update(self._count(self.status(), states, seconds))
        return result

    def complete(self, result: dict[str, Any]) -> bool:
        """Whether every device that the scenario brings to life arrived, and nothing was lost or twice."""
        alive = [name for name, device in self.scenario.devices.items() if not device.silent]
        arrived = all(result["devices"].get(name, {}).get("stored", 0) > 0 for name in alive)
        return arrived and result["lost"] == 0 and result["twice"] == 0

    def stop(self) -> None:
        """Stop what runs, the edge first."""
        for name in ("edge", "server", "simulator", "trainer"):
            if name in self._children:
                self._children.pop(name).stop()

    def _start(self, name: str, command_line: list[str]) -> None:
        self._children[name] = Child(name, command_line, self.run / f"{name}.log", self._environment)

    def _check(self) -> None:
        for name, child in self._children.items():
            child.check(may_end=name == "trainer")

    def _wait_for(self, condition: Any, what: str) -> None:
        def met() -> bool:
            self._check()
            return bool(condition())

        if not until(met, START_TIMEOUT_S, 0.1):
            raise LamppostError(
                f"no {what} after {START_TIMEOUT_S:g} s", code="demo.slow", fix=f"See {self.run}/*.log."
            )

    def _server_answers(self) -> bool:
        host, port = self._address.rsplit(":", 1)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((host.strip("[]"), int(port))) == 0

    def _configure(self) -> Path:
        """Write the edge's configuration as the scenario wires it."""
        simulated = json.loads((self.run / "sim.json").read_text(encoding="utf-8"))
        bus_address = simulated.get("dbus_address")
        if bus_address:
            self._environment["DBUS_SYSTEM_BUS_ADDRESS"] = bus_address
        text = self._scenarios.gateway_config(
            self.scenario,
            self.run,
            self.url,
            mqtt_port=simulated.get("mqtt_port") or 0,
            tcp_ports=simulated.get("tcp_ports") or {},
            without=() if bus_address else ("ble",),
        )
        config = yaml.safe_load(text)
        if "disaggregation" in config:
            config["disaggregation"]["model"] = str(self.run / "model.json")
        path = self.run / "lamppost.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    def _training(self) -> list[str]:
        """The appliances are learned from another seed or an earlier time than what is shown, in the background."""
        options = [str(value) for value in self._site.values()]
        return [
            sys.executable,
            "-m",
            "gateway.cli.demo_train",
            str(self.run / "model.json"),
            str(TRAINING_DAYS),
            *options,
        ]

    def status(self) -> dict[str, Any]:
        """The edge's status, from its control socket."""
        client = ControlClient(self.run / "edge" / "lamppost.sock")
        status: dict[str, Any] = client.ask("status")
        return status

    def _count(self, status: dict[str, Any], states: dict[str, str], seconds: float) -> dict[str, Any]:
        api = Api(self.url)
        entities = api.entity_ids()
        made: dict[str, int] = status["outbox"]["made"]
        devices: dict[str, dict[str, Any]] = {}
        twice = beyond = 0
        for name in [*states, *(other for other in made if other not in states)]:
            suffix = entity_id(self.scenario.site.id, name, "").removeprefix("urn:ngsi-ld::")
            stored = [api.stored(e, self._began_ns) for e in entities if e.split(":", 3)[3] == suffix]
            total = sum(entry.readings for entry in stored)
            twice += sum(entry.twice for entry in stored)
            beyond += max(0, total - made.get(name, 0))
            devices[name] = {"made": made.get(name, 0), "stored": total, "state": states.get(name, "up")}
        return {
            "seconds": seconds,
            "entities": len(entities),
            "made": sum(made.values()),
            "stored": sum(device["stored"] for device in devices.values()),
            "lost": sum(max(0, device["made"] - device["stored"]) for device in devices.values()),
            # what a crash took from the count may have arrived before: it is sent before it is written
            "twice": twice + max(0, beyond - status["outbox"]["crash_cost"]),
            "devices": devices,
        }


def _address(listen: str | None) -> str:
    if listen is not None:
        host, port = host_port("--listen", listen)
        return listen if port else f"{host}:{_free_port(host)}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError:
            _say(f"port {DEFAULT_PORT} is taken, using a free one")
            return f"127.0.0.1:{_free_port('127.0.0.1')}"
    return f"127.0.0.1:{DEFAULT_PORT}"


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _say(text: str) -> None:
    click.echo(f"demo: {text}", err=True)


def _table(result: dict[str, Any]) -> str:
    lines = [f"{'device':32} {'state':9} {'made':>8} {'stored':>8}"]
    for name, device in result["devices"].items():
        lines.append(f"{name:32} {device['state']:9} {device['made']:8} {device['stored']:8}")
    lines.append(f"{result['entities']} entities, {result['lost']} lost, {result['twice']} twice")
    return "\n".join(lines)
