"""Getting into a real broker: passwords, TLS, certificates, and what is said where it does not work."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from drivers import registry
from drivers.buses import mqtt
from drivers.errors import Disconnected, LoginRefused, Misconfigured, NeedsHuman, NoPermission, NoPort, NotTrusted
from firmware_sim.mqtt import Broker

NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """Makes certificates; its own is at ``file``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraint = x509.BasicConstraints(ca=True, path_length=None)
        self.file = self._write(f"{name}.crt", self._signed(self._name, self._key, constraint))

    def issue(self, name: str, address: str = "127.0.0.1", *, days: int = 2) -> tuple[Path, Path]:
        """(certificate, key)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        pem = key.private_bytes(serialization.Encoding.PEM, form, plain)
        return self._write(f"{name}.crt", self._signed(subject, key, names, days)), self._write(f"{name}.key", pem)

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, more: Any, days: int = 2) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=9))
            .not_valid_after(NOW + datetime.timedelta(days=days))
            .add_extension(more, critical=isinstance(more, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, data: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(data)
        return path


@asynccontextmanager
async def broker(folder: Path, *settings: str) -> AsyncIterator[Broker]:
    made = Broker(folder, settings)
    await made.up()
    try:
        yield made
    finally:
        await made.close()


async def opened(made: Broker, **settings: Any) -> Any:
    """A bus that is open; closed by whoever asked for it."""
    bus: Any = registry.make_bus("b", {"type": "mqtt", "port": made.port, **settings})
    try:
        await bus.open()
    except NoPermission:
        await bus.close()
        raise
    return bus


def passwords(folder: Path) -> tuple[str, ...]:
    path = folder / "passwords"
    path.touch(0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(path), "box", "right-horse"], check=True)
    return "allow_anonymous false", f"password_file {path}"


async def test_a_wrong_password_is_refused_never_told_and_read_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = tmp_path / "secret"
    secret.write_text("wrong-horse\n")
    async with broker(tmp_path, *passwords(tmp_path)) as made:
        settings = {"type": "mqtt", "port": made.port, "username": "box", "password_file": secret}
        bus: Any = registry.make_bus("b", settings)
        with pytest.raises(LoginRefused, match="refused the session") as caught:
            await bus.open()
        assert "password_file" in caught.value.fix
        secret.write_text("right-horse\n")
        with pytest.raises(LoginRefused):  # not before the pause is over
            await bus.open()
        monkeypatch.setattr(mqtt, "REFUSED_S", 0.0)
        await bus.open()
        await bus.close()
    assert "horse" not in caplog.text + str(caught.value)


async def test_tls_with_a_password(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("broker")
    secret = tmp_path / "secret"
    secret.write_text("right-horse")
    tls = (f"certfile {certificate}", f"keyfile {key}")
    async with broker(tmp_path, *tls, *passwords(tmp_path)) as made:
        login = {"tls": True, "username": "box", "password_file": secret}
        bus = await opened(made, ca_file=authority.file, **login)
        heard = asyncio.Event()
        bus.listen(mqtt.Listener(("a",), lambda _message: heard.set(), lambda _why, _kind: None))
        async with asyncio.timeout(5):
            while not heard.is_set():
                bus.command("a", b"x")
                await asyncio.sleep(0.02)
        await bus.close()
        with pytest.raises(NotTrusted, match="not trusted"):  # of the system's authorities
            await opened(made, **login)
        with pytest.raises(NotTrusted, match="not trusted"):
            await opened(made, ca_file=Authority(tmp_path, "stranger").file, **login)
        with pytest.raises(NotTrusted, match=r"localhost"):
            await opened(made, ca_file=authority.file, host="localhost", **login)


async def test_what_is_out_of_date_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("broker", days=-1)
    async with broker(tmp_path, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}") as made:
        with pytest.raises(NotTrusted, match="expired"):
            await opened(made, tls=True, ca_file=authority.file)


async def test_a_broker_that_wants_a_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("broker")
    ours, our_key = authority.issue("box")
    tls = (f"cafile {authority.file}", f"certfile {certificate}", f"keyfile {key}", "require_certificate true")
    async with broker(tmp_path, *tls, "use_identity_as_username true") as made:
        tls_on = {"tls": True, "ca_file": authority.file}
        bus = await opened(made, certificate_file=ours, key_file=our_key, **tls_on)
        await bus.close()
        with pytest.raises(LoginRefused, match="certificate_file"):
            await opened(made, **tls_on)
        with pytest.raises(NoPermission, match=r"nowhere\.crt"):
            await opened(made, certificate_file=tmp_path / "nowhere.crt", **tls_on)


async def test_tls_at_one_end_only(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("broker")
    async with broker(tmp_path, "allow_anonymous true") as made:
        bus: Any = registry.make_bus("b", {"type": "mqtt", "port": made.port, "tls": True, "ca_file": authority.file})
        with pytest.raises(NeedsHuman, match="TLS"):
            await bus.open()
        await bus.close()
    async with broker(tmp_path, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}") as made:
        bus = registry.make_bus("b", {"type": "mqtt", "port": made.port})
        with pytest.raises(NoPort, match="tls: true"):
            await bus.open()
        await bus.close()


@pytest.mark.parametrize("settings", [{"ca_file": "a"}, {"certificate_file": "a"}, {"tls": True, "key_file": "a"}])
def test_certificates_that_would_not_be_used(settings: dict[str, object]) -> None:
    with pytest.raises(Misconfigured):
        registry.make_bus("b", {"type": "mqtt", **settings})


CONNACK, SUBACK_DENIED, SUBACK_GRANTED = b"\x20\x02\x00\x00", 0x80, 0x01


@asynccontextmanager
async def denying(topic: bytes) -> AsyncIterator[int]:
    """A broker of a few bytes that denies the subscription of one topic, as those with access lists do. Its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                kind, length = await reader.readexactly(2)  # all that comes here is short
                body = await reader.readexactly(length)
                if kind >> 4 == 1:
                    writer.write(CONNACK)
                elif kind >> 4 == 8:
                    code = SUBACK_DENIED if topic in body else SUBACK_GRANTED
                    writer.write(b"\x90\x03" + body[:2] + bytes([code]))
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_topic_that_we_may_not_read(tmp_path: Path) -> None:
    told: list[tuple[str, type[Exception]]] = []

    def lost(into: list[tuple[str, type[Exception]]]) -> Callable[[str, Any], None]:
        return lambda why, kind: into.append((why, kind))

    others: list[tuple[str, type[Exception]]] = []
    async with denying(b"secret/a") as port:
        bus: Any = registry.make_bus("b", {"type": "mqtt", "port": port})
        await bus.open()
        bus.listen(mqtt.Listener(("open/a",), lambda _message: None, lost(others)))
        bus.listen(mqtt.Listener(("secret/a",), lambda _message: None, lost(told)))
        async with asyncio.timeout(5):
            while not told:
                await asyncio.sleep(0.01)
        await bus.close()
    (why, kind) = told[0]
    assert kind is LoginRefused
    assert "does not let this box read 'secret/a'" in why
    assert all(other is Disconnected for _, other in others)
