"""Which transport the configuration asks for. What a wire needs is imported only where it is used."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.compact.message import ProfilesMessage
from gateway.config.schema import Uplink
from gateway.errors import UplinkError
from gateway.mapping.mapper import Mapper
from gateway.uplink.client import Access
from gateway.uplink.compact import Compact, profiles_of
from gateway.uplink.ngsild import NgsiLdHttp
from gateway.uplink.transport import Transport


def make_transport(settings: Uplink, mapper: Mapper, *, sparing: bool = False) -> Transport:
    """The transport to ``settings.url``; ``sparing``: bytes cost money. Raises UplinkError for bad settings."""
    if settings.language == "compact":
        return _compact(settings, mapper)
    access = _access(settings)
    return NgsiLdHttp(access, mapper.entities, tenant=settings.tenant, sparing=sparing)


def _compact(settings: Uplink, mapper: Mapper) -> Compact:
    def profiles() -> ProfilesMessage:
        return profiles_of(mapper, settings.tenant)

    scheme = urlsplit(settings.url).scheme
    if scheme in ("http", "https"):
        from gateway.uplink.compact_http import CompactHttp

        return CompactHttp(_access(settings), mapper.site, profiles)
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
            certificate_file=settings.certificate_file,
            key_file=settings.key_file,
        )
        return CompactMqtt(session, mapper.site, profiles, timeout_s=settings.timeout)
    raise UplinkError(
        f"{settings.url} is not an address that the compact language is spoken at",
        code="uplink.bad-url",
        fix="Give uplink.url as https://, mqtts:// or coap://, and the host.",
    )


def _access(settings: Uplink) -> Access:
    token = settings.token_file.read_text(encoding="utf-8").strip() if settings.token_file else None
    pair = (settings.certificate_file, settings.key_file) if settings.certificate_file and settings.key_file else None
    return Access(settings.url, token, settings.ca_file, pair, settings.timeout)
