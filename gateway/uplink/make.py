"""Which transport the configuration asks for. What a wire needs is imported only where it is used."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from gateway.compact.message import ProfilesMessage
from gateway.config.schema import Uplink
from gateway.errors import UplinkError
from gateway.mapping.mapper import Mapper
from gateway.uplink.compact import Compact, profiles_of
from gateway.uplink.ngsild import NgsiLdHttp
from gateway.uplink.transport import Transport


def make_transport(settings: Uplink, mapper: Mapper) -> Transport:
    """The transport to ``settings.url``. Raises UplinkError for settings that cannot be used."""
    if settings.language == "compact":
        return _compact(settings, mapper)
    token = _token(settings.token_file)
    return NgsiLdHttp(settings.url, settings.tenant, token, settings.ca_file, settings.timeout, mapper.entities)


def _compact(settings: Uplink, mapper: Mapper) -> Compact:
    def profiles() -> ProfilesMessage:
        return profiles_of(mapper, settings.tenant)

    scheme = urlsplit(settings.url).scheme
    if scheme in ("http", "https"):
        from gateway.uplink.compact_http import CompactHttp

        token = _token(settings.token_file)
        return CompactHttp(
            settings.url, mapper.site, profiles, token=token, ca_file=settings.ca_file, timeout_s=settings.timeout
        )
    if scheme in ("mqtt", "mqtts"):
        from drivers.buses.mqtt_login import Session
        from gateway.uplink.compact_mqtt import CompactMqtt

        parts = urlsplit(settings.url)
        secure = scheme == "mqtts"
        session = Session(
            host=parts.hostname or "",
            port=parts.port or (8883 if secure else 1883),
            username=settings.username,
            password_file=settings.password_file,
            tls=secure,
            ca_file=settings.ca_file,
        )
        return CompactMqtt(session, mapper.site, profiles, timeout_s=settings.timeout)
    if scheme == "coap" and settings.credentials_file is not None:
        from gateway.uplink.compact_coap import CompactCoap

        keys = settings.credentials_file
        return CompactCoap(settings.url, mapper.site, profiles, keys, timeout_s=settings.timeout)
    raise UplinkError(
        f"{settings.url} is not an address that the compact language is spoken at",
        code="uplink.bad-url",
        fix="Give uplink.url as https://, mqtts:// or coap:// (with credentials_file), and the host.",
    )


def _token(path: Path | None) -> str | None:
    return None if path is None else path.read_text(encoding="utf-8").strip()
