"""The commands beside a running daemon, as a field engineer calls them; both roles in one process; TLS and a token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.children import Child, lamppost
from gateway.cli.link import KEYS as LINK_KEYS
from tests.e2e.harness import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as running:
        running.wait(running.all_up, 40, "every device up")
        yield running


def call(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command against the site's daemon."""
    command = [sys.executable, "-m", "gateway.cli.main", *arguments, "--data", str(site.run / "edge")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=site._environment)


def test_read_asks_the_daemon(site: Site) -> None:
    done = call(site, "read", "classroom-co2", "--json")
    assert done.returncode == 0, done.stderr
    units = {reading["quantity"]: reading["unit"] for reading in json.loads(done.stdout)}
    assert units == {"co2": "ppm", "meter_status": ""}
    assert call(site, "read", "spare-meter").returncode == 1
    assert "no device" in call(site, "read", "nothing").stderr


def test_link_explains_each_link_with_the_documented_keys(site: Site) -> None:
    done = call(site, "link", "--json")
    assert done.returncode == 0, done.stderr
    (link,) = json.loads(done.stdout)
    assert list(link) == list(LINK_KEYS)
    assert (link["name"], link["used"], link["carries"]) == ("default", True, ["alarm", "live", "history"])
    assert "default is used" in call(site, "link").stdout


def test_top_prints_once_without_a_terminal(site: Site) -> None:
    done = call(site, "top")
    assert done.returncode == 0
    assert "corridor-climate" in done.stdout


def test_capture_and_replay(site: Site, tmp_path: Path) -> None:
    frames = tmp_path / "frames.jsonl"
    assert call(site, "capture", "grid", "--seconds", "2", "--output", str(frames)).returncode == 0
    command = [sys.executable, "-m", "gateway.cli.main", "replay", str(frames), "--template", "dsmr-p1-v5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "active_power_total" in done.stdout


def test_scan_hears_the_radio_while_the_daemon_reads(site: Site) -> None:
    found = json.loads(call(site, "scan", "ble", "--seconds", "4", "--json").stdout)
    assert {entry["address"] for entry in found} >= {"C8:25:2D:8E:9C:2C", "A4:C1:38:56:53:84"}
    assert site.state("corridor-climate") == "up"


def test_status_says_the_one_thing_to_do(site: Site) -> None:
    site.wait(lambda: site.state("spare-meter") == "silent", 30, "spare-meter silent")
    done = call(site, "status")
    assert done.stdout.splitlines()[0].startswith("spare-meter is silent")
    assert json.loads(call(site, "status", "--json").stdout)["devices"]["main-meter"]["state"] == "up"


def test_doctor_finds_the_daemon_and_the_server(site: Site) -> None:
    site.wait(lambda: site.state("spare-meter") == "silent", 30, "spare-meter silent")
    command = [
        sys.executable,
        "-m",
        "gateway.cli.main",
        "doctor",
        "--config",
        str(site.run / "lamppost.yaml"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=site._environment)
    checks = {check["name"]: check for check in json.loads(done.stdout)["findings"]}
    assert checks
    assert {check["result"] for check in checks.values()} <= {"ok", "warn", "fail"}
    assert not [name for name, check in checks.items() if check["result"] == "fail"], done.stdout
    assert checks["line meters"]["result"] == "warn"
    assert checks["line meters"]["detail"].startswith("spare-meter is silent: ")


def both_roles(folder: Path, port: int, tls: bool) -> tuple[str, str]:
    """(configuration, URL) of a box with both roles, a P1 port that is missing, and only itself to report."""
    scheme = "https" if tls else "http"
    server = f"listen: {{port: {port}}}"
    uplink = f"url: '{scheme}://localhost:{port}', interval: 1"
    if tls:
        server += ", tls: {certificate: cert.pem, key: key.pem}, token_file: token"
        uplink += ", ca_file: cert.pem, token_file: token"
    text = f"""
site: {{id: box, location: {{latitude: 52.0, longitude: 5.0}}}}
server: {{{server}}}
uplink: {{{uplink}}}
buses: {{p1: {{type: serial, port: {folder}/missing, baud: 115200}}}}
devices: {{grid: {{template: dsmr-p1-v5, bus: p1}}}}
clock: {{trusted: true}}
storage: {{path: {folder}/data}}
local: {{listen: {{port: 0}}}}
"""
    return text, f"{scheme}://localhost:{port}"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls-and-token"])
def test_both_roles_in_one_process(tmp_path: Path, tls: bool) -> None:
    from gateway.cli.control import ControlClient
    from gateway.cli.demo import _free_port
    from gateway.cli.demo_count import until
    from gateway.errors import LamppostError

    def sent() -> bool:
        try:
            status: dict[str, Any] = ControlClient(tmp_path / "data" / "lamppost.sock").ask("status")
        except LamppostError:
            return False
        return status["link"]["up"] and status["role"] == "both" and status["outbox"]["depth"] == 0

    if tls:
        command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
        command += " -addext subjectAltName=DNS:localhost"
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
        (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef")
        for name in ("key.pem", "token"):
            (tmp_path / name).chmod(0o600)
    text, url = both_roles(tmp_path, _free_port("127.0.0.1"), tls)
    (tmp_path / "box.yaml").write_text(text)
    child = Child("both", lamppost("run", "--config", str(tmp_path / "box.yaml")), tmp_path / "log", os.environ)
    try:
        assert until(sent, 20), (tmp_path / "log").read_text()
        status = ControlClient(tmp_path / "data" / "lamppost.sock").ask("status")
        assert status["outbox"]["made"]["gateway"] > 0
        assert "0123456789abcdef" not in (tmp_path / "log").read_text()
        assert url.split("//")[0] in status["server"]["listen"]
    finally:
        assert child.stop() < 3.0
