"""Notifications to a topic of an MQTT broker (CIM 009 clause 7): one message, one session."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from urllib.parse import unquote, urlsplit

import orjson
from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from gateway.server.egress import Egress
from gateway.server.subscriptions.model import Endpoint

AT_ONCE = 8


class Publisher:
    """Publishes in threads of its own: paho's calls wait."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._threads = ThreadPoolExecutor(AT_ONCE, "mqtt-notify")

    async def publish(self, endpoint: Endpoint, metadata: Mapping[str, str], body: bytes) -> None:
        """Returns once the message is with the broker (QoS 0: written). Raises OSError, HttpError."""
        address = await self._egress.address(endpoint.url)
        message = b'{"metadata":' + orjson.dumps(dict(metadata)) + b',"body":' + body + b"}"
        tls = self._egress.tls() if endpoint.url.startswith("mqtts://") else None
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, _publish, endpoint, address, message, tls)

    def close(self) -> None:
        """Start nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _publish(endpoint: Endpoint, address: str, message: bytes, tls: ssl.SSLContext | None) -> None:
    parts = urlsplit(endpoint.url)
    protocol = MQTTv5 if endpoint.version == "mqtt5.0" else MQTTv311
    client = Client(CallbackAPIVersion.VERSION2, protocol=protocol)
    client.connect_timeout = endpoint.timeout_s
    if parts.username is not None:
        client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
    if tls is not None:
        client.tls_set_context(tls)
    taken_on: SimpleQueue[ReasonCode] = SimpleQueue()
    client.on_connect = lambda *told: taken_on.put(told[3])
    host = address if tls is None else parts.hostname or ""  # TLS vouches for the name
    client.connect(host, parts.port or (1883 if tls is None else 8883))
    client.loop_start()
    try:
        _check_taken(taken_on, endpoint.timeout_s)  # with QoS 0 there is no other answer
        sent = client.publish(unquote(parts.path.lstrip("/")), message, qos=endpoint.qos)
        try:
            sent.wait_for_publish(endpoint.timeout_s)
        except (RuntimeError, ValueError) as error:
            raise OSError(f"the broker did not take it: {error}") from error
        if not sent.is_published():
            raise OSError(f"the broker did not take it within {endpoint.timeout_s:g} s")
    finally:
        client.disconnect()
        client.loop_stop()


def _check_taken(taken_on: SimpleQueue[ReasonCode], seconds: float) -> None:
    """What the broker says to the login. Raises OSError."""
    try:
        reason = taken_on.get(timeout=seconds)
    except Empty:
        raise OSError(f"the broker has not answered within {seconds:g} s") from None
    if reason.is_failure:
        raise OSError(f"the broker does not let us in: {reason}")
