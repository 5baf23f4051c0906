"""The checks across the parts of a file: each is made to speak once, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gateway.config.buses import TYPES
from gateway.config.check_devices import stable_name
from gateway.config.load import load, load_bytes
from gateway.config.problem import RULES, Problem

GOOD = """\
site: {id: box, location: {latitude: 52.0, longitude: 5.0}}
uplink: {url: "http://127.0.0.1:9090"}
buses:
  line: {type: modbus-rtu, port: /dev/serial/by-id/one}
  p1: {type: serial, port: /dev/serial/by-id/two}
  air: {type: ble}
  mqtt: {type: mqtt}
devices:
  meter: {template: eastron-sdm630, bus: line, address: 1}
  grid: {template: dsmr-p1-v5, bus: p1}
  tag: {template: ruuvi-ruuvitag, bus: air, address: "C8:25:2D:8E:9C:2C"}
  pump: {template: shelly-pro-3em, bus: mqtt, address: shellypro3em-1}
"""


def problems(text: str, folder: Path = Path("/nowhere"), role: str | None = None) -> list[Problem]:
    return list(load_bytes(text.encode(), folder / "box.yaml", role).problems)  # type: ignore[arg-type]


def test_the_starting_point_is_good() -> None:
    assert problems(GOOD) == []


def test_the_channels_of_a_publisher_may_be_devices() -> None:
    clamps = "".join(
        f"  clamp-{n}: {{template: shelly-em, bus: mqtt, address: shellies/em, options: {{channel: {n}}}}}\n"
        for n in (0, 1)
    )
    assert problems(GOOD + clamps) == []


CASES: dict[str, tuple[tuple[str, str], str, str]] = {
    "unknown bus": (("bus: line", "bus: lin"), "config.unknown-bus", "did you mean 'line'?"),
    "unknown template": (("eastron-sdm630", "eastron-sdm360"), "config.unknown-template", "eastron-sdm630"),
    "wrong bus": (("bus: line", "bus: p1"), "config.wrong-bus", "of that type: line"),
    "no address": ((', address: "C8:25:2D:8E:9C:2C"', ""), "config.address-needed", "AA:BB"),
    "modbus id too high": (("address: 1", "address: 300"), "config.address", "1 to 247"),
    "modbus id no number": (("address: 1", "address: one"), "config.address", "1 to 247"),
    "bluetooth address": (("C8:25:2D:8E:9C:2C", "C8:25:2D:8E:9C"), "config.address", "AA:BB"),
    "topic with a wildcard": (("shellypro3em-1}", '"shelly/#"}'), "config.address", "prefix"),
    "address on a serial bus": (("bus: p1", "bus: p1, address: 1"), "config.address", "no addresses"),
    "duplicate address": (
        ("  grid:", '  twin: {template: peacefair-pzem-004t-v3, bus: line, address: "1"}\n  grid:'),
        "config.duplicate-address",
        "",
    ),
    "one publisher twice": (
        ("  grid:", "  twin: {template: shelly-pro-3em, bus: mqtt, address: shellypro3em-1}\n  grid:"),
        "config.duplicate-address",
        "",
    ),
    "two on one serial bus": (
        ("  tag:", "  dust: {template: plantower-pms5003, bus: p1}\n  tag:"),
        "config.shared-serial",
        "'grid' in line 10",
    ),
    "one port twice": (("by-id/two", "by-id/one"), "config.shared-port", ""),
    "unstable port": (("/dev/serial/by-id/one", "/dev/ttyUSB0"), "config.unstable-port", ""),
    "unused bus": (("  air:", "  spare: {type: mqtt}\n  air:"), "config.unused-bus", ""),
    "calibration": (
        ("address: 1", "address: 1, calibration: {active_powr_total: {scale: 2}}"),
        "config.unknown-quantity",
        "did you mean 'active_power_total'?",
    ),
    "meter": (
        ("devices:", "disaggregation: {meter: metre}\ndevices:"),
        "config.unknown-device",
        "did you mean 'meter'?",
    ),
    "meter quantity": (
        ("devices:", "disaggregation: {meter: meter, quantity: co2}\ndevices:"),
        "config.unknown-quantity",
        "",
    ),
    "option": (("address: 1", "address: 1, options: {speed: 3}"), "config.option", ""),
    "links": (
        ("buses:", "links: [{name: a, interface: b}, {name: a, interface: c}]\nbuses:"),
        "config.duplicate-link",
        "line 3",
    ),
    "links on one interface": (
        ("buses:", "links: [{name: a, interface: c}, {name: b, interface: c}]\nbuses:"),
        "config.shared-interface",
        "line 3",
    ),
    "links on one connection": (
        ("buses:", "links: [{name: a, connection: c}, {name: b, connection: c}]\nbuses:"),
        "config.shared-interface",
        "line 3",
    ),
    "link over two ways": (
        ("buses:", "links: [{name: a, interface: b, connection: c}]\nbuses:"),
        "config.link-way",
        "",
    ),
    "link among several over no way": (
        ("buses:", "links: [{name: a, interface: b}, {name: c}]\nbuses:"),
        "config.link-way",
        "",
    ),
    "idle without on_demand": (
        ("buses:", "links: [{name: a, connection: b, idle: 30s}]\nbuses:"),
        "config.link-way",
        "",
    ),
    "budget without interface": (("buses:", "links: [{name: a, budget: 5MB}]\nbuses:"), "config.link-way", ""),
    "interface on demand": (
        ("buses:", "links: [{name: a, interface: b, on_demand: true}]\nbuses:"),
        "config.link-way",
        "",
    ),
    "access point of two connections": (
        ("buses:", "links: [{name: a, connection: b, modem: {apn: internet}}]\nbuses:"),
        "config.link-way",
        "",
    ),
    "PIN in no file": (
        ("buses:", "links: [{name: a, modem: {apn: internet, pin_file: nowhere.pin}}]\nbuses:"),
        "config.file-elsewhere",
        "",
    ),
    "hours without length": (
        ("buses:", 'links: [{name: a, hours: ["06:00-06:00"]}]\nbuses:'),
        "config.value",
        "always",
    ),
    "name server by name": (("buses:", "links: [{name: a, dns: [dns.example]}]\nbuses:"), "config.value", ""),
    "probe that is no URL": (("buses:", "links: [{name: a, probe: example}]\nbuses:"), "config.url", "https"),
    "time zone": (("{id: box", "{time_zone: Europe, id: box"), "config.time-zone", ""),
    "exposed server": (("buses:", "server: {listen: {host: 0.0.0.0, port: 1}}\nbuses:"), "config.exposed", ""),
    "exposed metrics": (("buses:", 'local: {listen: {host: "::", port: 1}}\nbuses:'), "config.exposed", ""),
    "one port for two": (("buses:", "server: {listen: {port: 9091}}\nbuses:"), "config.port-taken", ""),
    "plain http": (("127.0.0.1:9090", "platform.example.org"), "config.plain-http", "did you mean 'https'?"),
    "url": (("http://127.0.0.1:9090", "platform.example.org"), "config.url", ""),
    "certificate": (('9090"', '9090", certificate_file: /etc/passwd'), "config.certificate-alone", ""),
    "NGSI-LD over MQTT": (("http://127.0.0.1:9090", "mqtts://broker.example.org"), "config.url", ""),
    "plain MQTT": (
        ('"http://127.0.0.1:9090"', '"mqtt://broker.example.org", language: compact'),
        "config.plain-http",
        "did you mean 'mqtts'?",
    ),
    "CoAP without keys": (
        ('"http://127.0.0.1:9090"', '"coap://city.example.org", language: compact'),
        "config.no-keys",
        "",
    ),
    "plain broker of the server": (
        ("buses:", "server: {mqtt: {host: broker.example.org}}\nbuses:"),
        "config.plain-http",
        "",
    ),
    "replica of nothing": (
        ("buses:", 'server: {database_replica: "postgresql://replica.example.org/lamppost"}\nbuses:'),
        "config.replica",
        "",
    ),
    "url with a query": (("127.0.0.1:9090", "127.0.0.1:9090/?a=b"), "config.url", ""),
    "login in the url": (("127.0.0.1:9090", "me:pass@127.0.0.1:9090"), "config.secret", ""),
    "no uplink": (('uplink: {url: "http://127.0.0.1:9090"}', "server: {}"), "config.no-uplink", ""),
    "empty part": (("buses:", "server:\nbuses:"), "config.empty", ""),
    "slow line": (("/one}", "/one, baud: 300}"), "config.bus-overload", "would fit"),
    "no model yet": (
        ("buses:", "disaggregation: {meter: meter, model: /not/here/model.json}\nbuses:"),
        "config.no-model",
        "",
    ),
    "models over another wire": (
        (
            'url: "http://127.0.0.1:9090"}',
            'url: "mqtt://127.0.0.1", language: compact}\ndisaggregation: {meter: meter, key: "ed25519:'
            + "A" * 43
            + '="}',
        ),
        "config.no-pull",
        "",
    ),
    "file on another box": (('9090"', '9090", ca_file: /not/here/ca.pem'), "config.file-elsewhere", ""),
}


@pytest.mark.parametrize("name", CASES)
def test_each_check_speaks_once(name: str) -> None:
    change, code, hint = CASES[name]
    text = GOOD.replace(*change, 1)
    assert text != GOOD
    (problem,) = problems(text)
    assert problem.code == code
    assert hint in problem.hint
    assert problem.place.text == text.splitlines()[problem.place.line - 1].replace("me:pass", "*******")


def test_every_rule_is_reached_by_some_test() -> None:
    """A code that nothing can bring about would be a promise in the documentation without anything behind it."""
    here = "".join(path.read_text() for path in Path(__file__).parent.glob("test_config_*.py"))
    assert [code for code in RULES if f'"{code}"' not in here and code != "config.bad-template"] == []


def test_secret_files(tmp_path: Path) -> None:
    token = tmp_path / "token"
    text = GOOD.replace('9090"', '9090", token_file: token')
    assert [p.code for p in problems(text, tmp_path)] == ["config.file-missing"]
    token.write_text("0123456789")
    token.chmod(0o644)
    (problem,) = problems(text, tmp_path)
    assert problem.code == "config.secret-readable"
    assert "chmod" in problem.fix
    token.chmod(0o640)
    assert problems(text, tmp_path) == []
    remote = text.replace("127.0.0.1:9090", "platform.example.org")
    assert [p.code for p in problems(remote, tmp_path)] == ["config.token-in-clear"]


@pytest.mark.parametrize("key", ["password_file", "credentials_file", "key_file"])
def test_secret_files_of_buses(tmp_path: Path, key: str) -> None:
    kind = "coap" if key == "credentials_file" else "mqtt"
    text = GOOD.replace("buses:", f"buses:\n  more: {{type: {kind}, {key}: secret}}", 1)
    assert text != GOOD
    assert "config.file-missing" in [p.code for p in problems(text, tmp_path)]
    secret = tmp_path / "secret"
    secret.touch(0o644)
    assert "config.secret-readable" in [p.code for p in problems(text, tmp_path)]
    secret.chmod(0o600)
    assert not {p.code for p in problems(text, tmp_path)} & {"config.secret-readable", "config.file-missing"}


def test_a_server_may_be_reached_from_outside_with_tls_and_a_token(tmp_path: Path) -> None:
    for name in ("token", "key", "certificate"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    server = (
        "server: {listen: {host: 0.0.0.0, port: 9443}, token_file: token, tls: {certificate: certificate, key: key}}"
    )
    assert problems(GOOD.replace("buses:", f"{server}\nbuses:", 1), tmp_path) == []


@pytest.mark.parametrize(
    ("role", "text", "codes"),
    [
        ("edge", GOOD, []),
        ("both", GOOD, []),
        ("server", GOOD, []),
        ("edge", "\n".join(GOOD.splitlines()[:2]), ["config.no-devices"]),
        (None, "\n".join(GOOD.splitlines()[:1]), ["config.no-devices"]),
        ("edge", "\n".join(GOOD.splitlines()[:1]), ["config.no-devices", "config.no-uplink"]),
        ("server", "\n".join(GOOD.splitlines()[:1]), []),
    ],
)
def test_roles(role: str | None, text: str, codes: list[str]) -> None:
    assert [problem.code for problem in problems(text, role=role)] == codes


def test_what_follows_from_a_mistake_is_not_told_again() -> None:
    text = GOOD.replace("buses:", "busses:")
    assert [(p.code, p.hint) for p in problems(text)] == [("config.unknown-key", "did you mean 'buses'?")]
    text = GOOD.replace('address: "C8', 'adress: "C8')
    assert [(p.code, p.hint) for p in problems(text)] == [("config.unknown-key", "did you mean 'address'?")]
    text = GOOD.replace("uplink:", "uplnik:")
    assert [(p.code, p.hint) for p in problems(text)] == [("config.unknown-key", "did you mean 'uplink'?")]


def test_the_stable_name_of_a_port(tmp_path: Path) -> None:
    port = tmp_path / "ttyUSB0"
    port.touch()
    folder = tmp_path / "by-id"
    folder.mkdir()
    (folder / "usb-meter").symlink_to(port)
    assert stable_name(str(port), folder) == f"here it is {folder / 'usb-meter'}"
    assert stable_name(str(tmp_path / "ttyUSB1"), folder) == ""


EXAMPLES = sorted((Path(__file__).parents[3] / "config" / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_can_be_used(path: Path) -> None:
    loaded = load(path)
    assert loaded.config is not None
    assert {problem.code for problem in loaded.problems} <= {"config.file-elsewhere", "config.file-missing"}


def test_there_are_examples_of_every_bus() -> None:
    used = [bus["type"] for path in EXAMPLES for bus in (yaml.safe_load(path.read_text()).get("buses") or {}).values()]
    assert set(used) == set(TYPES)


def test_bind_keys_are_secret_files(tmp_path: Path) -> None:
    text = GOOD.replace('"C8:25:2D:8E:9C:2C"', '"C8:25:2D:8E:9C:2C", key_file: secret')
    assert text != GOOD
    assert [p.code for p in problems(text, tmp_path)] == ["config.file-missing"]
    secret = tmp_path / "secret"
    secret.touch(0o644)
    assert [p.code for p in problems(text, tmp_path)] == ["config.secret-readable"]
    secret.chmod(0o600)
    assert problems(text, tmp_path) == []
