"""The daemon as systemd sees it: ready, status, watchdog, reload, stop; over a real notification socket."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CONFIG = """
site: {{id: box, location: {{latitude: 52.0, longitude: 5.0}}}}
uplink: {{url: "http://127.0.0.1:9"}}
buses:
  line: {{type: modbus-rtu, port: {folder}/no-such-port}}
devices:
  meter: {{template: eastron-sdm630, bus: line, address: 1}}
clock: {{trusted: true}}
storage: {{path: {folder}/data}}
local: {{listen: {{port: 0}}}}
"""


class Service:
    """``lamppost run`` under a systemd of our own: a datagram socket."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "lamppost.yaml"
        self.config.write_text(CONFIG.format(folder=folder))
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.log = folder / "log"
        self.began = time.monotonic()
        environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "1000000", "PATH": "/usr/bin:/bin"}
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli.main", "run", "--role", "edge", "--config", str(self.config)],
                env=environment,
                stdout=sink,
                stderr=sink,
            )

    def expect(self, line: str, timeout_s: float = 20.0) -> str:
        """Wait for a message with a line that begins so."""
        deadline = time.monotonic() + timeout_s
        seen = []
        while time.monotonic() < deadline:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                message = self.socket.recv(4096).decode()
            except TimeoutError:
                break
            seen.append(message)
            for part in message.split("\n"):
                if part.startswith(line):
                    return part
        raise AssertionError(f"no {line!r} in {seen}; log: {self.log.read_text()[-2000:]}")

    def forget(self) -> None:
        """Drop what was said and not looked at."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.socket.recv(4096)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.socket.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all; the last test stops it."""
    running = Service(tmp_path_factory.mktemp("service"))
    running.expect("READY=1")
    yield running
    running.stop()


def test_a_second_daemon_in_the_same_folder_is_refused(service: Service) -> None:
    command = [sys.executable, "-m", "gateway.cli.main", "run", "--role", "edge", "--config", str(service.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "error[outbox.in-use]" in done.stderr
    assert "Traceback" not in done.stderr
    assert service.process.poll() is None


def test_a_missing_port_is_told_once_and_no_traceback(service: Service) -> None:
    time.sleep(max(0.0, service.began + 5 - time.monotonic()))  # it is tried several times
    text = service.log.read_text()
    assert text.count("meter is down") == 1
    assert "driver.no-port" in text
    assert "Traceback" not in text


def test_a_frozen_daemon_starves_the_watchdog(service: Service) -> None:
    """A frozen process is the plainest lack of progress: no watchdog message may come from it."""
    service.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    service.forget()
    try:
        with pytest.raises(AssertionError, match="no 'WATCHDOG=1'"):
            service.expect("WATCHDOG=1", 2.0)
    finally:
        service.process.send_signal(signal.SIGCONT)
    service.expect("WATCHDOG=1")


def test_server_role_feeds_the_watchdog_while_its_writer_answers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20.0)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "500000", "PATH": "/usr/bin:/bin"}
        command = [sys.executable, "-m", "gateway.cli.main", "run", "--role", "server", "--listen", "127.0.0.1:0"]
        with subprocess.Popen([*command, "--data", str(tmp_path / "data")], env=environment) as process:
            messages = [systemd.recv(4096) for _ in range(2)]
            process.send_signal(signal.SIGHUP)  # nothing to read again, and no reason to end
            messages += [systemd.recv(4096) for _ in range(2)]
            process.terminate()
            assert process.wait(5) == 0
    assert b"READY=1" in messages
    assert messages.count(b"WATCHDOG=1") >= 2


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config = tmp_path / "box.yaml"
        text = CONFIG.format(folder=tmp_path).replace("port: 0", f"port: {taken.getsockname()[1]}")
        config.write_text(text)
        command = [sys.executable, "-m", "gateway.cli.main", "run", "--role", "edge", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "error[local.cannot-listen]" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_and_watchdog(service: Service) -> None:
    service.expect("STATUS=The server cannot be reached")
    service.expect("WATCHDOG=1")


def test_reload_and_stop(service: Service) -> None:
    service.forget()
    service.process.send_signal(signal.SIGHUP)
    service.expect("RELOADING=1")
    service.expect("READY=1")
    assert service.process.poll() is None
    began = time.monotonic()
    service.process.terminate()
    service.expect("STOPPING=1", 2.0)
    assert service.process.wait(5) == 0
    assert time.monotonic() - began < 2.0
