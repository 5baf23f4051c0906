"""thingsboard-gateway (Apache-2.0, PyPI) beside ours: its own virtual environment, a real broker, the same units.

It sends nothing before something answers its question for session limits, so that is answered.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
import psutil

VENV = Path(".build/peers/thingsboard").absolute()
PINS = ("thingsboard-gateway==3.8.5", "pymodbus==3.9.2")  # the one that it insists on
LIMITS = {
    "maxPayloadSize": 65536,
    "maxInflightMessages": 100,
    "rateLimits": {},
    "gatewayRateLimits": {},
}


def installed() -> Path:
    """Its interpreter; installed when missing."""
    python = VENV / "bin" / "python"
    if not (VENV / ".complete").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PINS], check=True, cwd="/")
        (VENV / ".complete").touch()
    return python


class ThingsBoard:
    """The running gateway, its broker and a listener that counts the values that arrive."""

    def __init__(
        self,
        run: Path,
        modbus_port: int,
        mqtt_port: int,
        units: int,
        period_s: float,
        host: str = "127.0.0.1",
        places: Mapping[str, Callable[..., list[str]]] | None = None,
    ) -> None:
        """``host``: where its broker is; ``places``: how to run a command where `mosquitto` and `gateway` stand."""
        self.values = 0
        self.records: list[tuple[str, dict[str, Any]]] = []  # (device, record) with `ts` and `values`, as they come
        self._host, self._places = host, places or {}
        self._run, self._modbus_port, self._port = run, modbus_port, mqtt_port
        self._units, self._period_s = units, period_s
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> ThingsBoard:
        self._run.mkdir(parents=True)
        settings = (f"listener {self._port} {self._host}", "allow_anonymous true", "max_queued_messages 0")
        (self._run / "mosquitto.conf").write_text("\n".join(settings) + "\n")
        self._start("mosquitto", ["/usr/sbin/mosquitto", "-c", str(self._run / "mosquitto.conf")])
        time.sleep(1)
        self._listen()
        config = self._run / "config"
        config.mkdir()
        (config / "tb_gateway.json").write_text(json.dumps(self._gateway()))
        (config / "modbus.json").write_text(json.dumps({"master": {"slaves": list(map(self._slave, self._each()))}}))
        (config / "logs.json").write_text("{}")
        code = "from thingsboard_gateway.tb_gateway import main; main()"
        self._start("gateway", [str(installed()), "-c", code], {"TB_GW_CONFIG_DIR": str(config)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self._client.loop_stop()

    def process(self) -> psutil.Process:
        """The gateway's own."""
        return psutil.Process(self._processes[-1].pid)

    def _each(self) -> range:
        return range(1, self._units + 1)

    def _start(self, name: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        with (self._run / f"{name}.log").open("wb") as log:
            env = {"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": str(self._run), **(environment or {})}
            command = self._places[name](*command) if name in self._places else command
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self._run, env=env))

    def _listen(self) -> None:
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_message = self._message
        self._client.connect(self._host, self._port)
        self._client.subscribe([("v1/devices/me/rpc/request/+", 1), ("v1/gateway/telemetry", 1)])
        self._client.loop_start()

    def _message(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        if "/rpc/request/" in message.topic:
            number = message.topic.rsplit("/", 1)[1]
            client.publish(f"v1/devices/me/rpc/response/{number}", json.dumps(LIMITS), qos=1)
            return
        for device, records in json.loads(message.payload).items():
            self.values += sum(len(record.get("values", record)) for record in records)
            self.records += [(device, record) for record in records]

    def _gateway(self) -> dict[str, Any]:
        return {
            "thingsboard": {
                "host": self._host,
                "port": self._port,
                "remoteShell": False,
                "remoteConfiguration": False,
                "statistics": {"enable": False},
                "security": {"type": "accessToken", "accessToken": "bench"},
                "qos": 1,
                "reportStrategy": {"type": "ON_RECEIVED"},
            },
            "storage": {"type": "sqlite", "data_file_path": str(self._run / "data.db"), "messages_ttl_in_days": 7},
            "grpc": {"enabled": False},
            "connectors": [{"type": "modbus", "name": "units", "configuration": "modbus.json"}],
        }

    def _slave(self, unit: int) -> dict[str, Any]:
        points = [
            {"tag": f"r{at}", "type": "16uint", "functionCode": 3, "objectsCount": 1, "address": at} for at in range(10)
        ]
        return {
            "host": "127.0.0.1",
            "port": self._modbus_port,
            "type": "tcp",
            "method": "socket",
            "byteOrder": "BIG",
            "wordOrder": "BIG",
            "unitId": unit,
            "deviceName": f"unit-{unit}",
            "deviceType": "default",
            "timeout": 3,
            "pollPeriod": int(1000 * self._period_s),
            "attributes": [],
            "timeseries": points,
            "attributeUpdates": [],
            "rpc": [],
        }
