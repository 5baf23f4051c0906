"""paho's client as this box needs it: why a connection failed, and over which interface it goes."""

from __future__ import annotations

from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from drivers.bound import connect
from drivers.buses.mqtt_login import Session


class SessionClient(Client):
    """``fault`` is why the last attempt failed, which paho else keeps to itself."""

    fault: OSError | None = None

    def __init__(self, session: Session, client_id: str) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._session = session

    def reconnect(self) -> Any:
        """Connect. Raises OSError."""
        try:
            return super().reconnect()
        except OSError as error:
            self.fault = error
            raise

    def _create_socket_connection(self) -> Any:
        session = self._session
        if session.interface is None and session.address is None:
            return super()._create_socket_connection()
        return connect(session.address or session.host, session.port, session.interface, self.connect_timeout)
