"""Which transport the configuration asks for. What a wire needs is imported only where it is used."""

from __future__ import annotations

from urllib.parse import urlsplit

from drivers.bound import Resolve
from gateway.compact.message import ProfilesMessage
from gateway.config.schema import Uplink
from gateway.errors import UplinkError
from gateway.mapping.mapper import Mapper
from gateway.model import Link
from gateway.uplink.client import Access
from gateway.uplink.compact import Compact, profiles_of
from gateway.uplink.ngsild import NgsiLdHttp
from gateway.uplink.transport import Transport


def make_transport(settings: Uplink, mapper: Mapper, link: Link, names: Resolve | None = None) -> Transport:
    """The transport to ``settings.url`` over a link. ``names``: what resolves names over it.

    Raises UplinkError for settings that cannot be used.
    """
    access = make_access(settings, link, names)
    if settings.language == "compact":
        return _compact(settings, mapper, access, sparing=link.metered)
    return NgsiLdHttp(access, mapper.entities, tenant=settings.tenant, sparing=link.metered)


def _compact(settings: Uplink, mapper: Mapper, access: Access, *, sparing: bool) -> Compact:
    def profiles() -> ProfilesMessage:
        return profiles_of(mapper, settings.tenant)

    scheme = urlsplit(settings.url).scheme
    if scheme in ("http", "https"):
        from gateway.uplink.compact_http import CompactHttp

        return CompactHttp(access, mapper.site, profiles)
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
            interface=access.interface,
        )
        timeout_s = settings.timeout
        return CompactMqtt(session, mapper.site, profiles, timeout_s=timeout_s, names=access.names, sparing=sparing)
    if scheme == "coap" and settings.credentials_file is not None:
        from gateway.uplink.compact_coap import CompactCoap

        keys = settings.credentials_file
        return CompactCoap(
            settings.url,
            mapper.site,
            profiles,
            keys,
            timeout_s=settings.timeout,
            interface=access.interface,
            names=access.names,
        )
    raise UplinkError(
        f"{settings.url} is not an address that the compact language is spoken at",
        code="uplink.bad-url",
        fix="Give uplink.url as https://, mqtts:// or coap:// (with credentials_file), and the host.",
    )


def make_access(settings: Uplink, link: Link, names: Resolve | None) -> Access:
    """How to get to the server over a link. Raises UplinkError where the token cannot be read."""
    try:
        token = settings.token_file.read_text(encoding="utf-8").strip() if settings.token_file else None
    except (OSError, UnicodeError) as error:
        fix = "uplink.token_file must be a text file that the service may read."
        raise UplinkError(f"cannot read the token: {error}", code="uplink.no-token", fix=fix) from error
    pair = (settings.certificate_file, settings.key_file) if settings.certificate_file and settings.key_file else None
    return Access(settings.url, token, settings.ca_file, pair, settings.timeout, link.interface, names)
