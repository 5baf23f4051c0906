"""What a simulated modem is: its card, the network around it, and its fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

PIN_TRIES, PUK_TRIES = 3, 10


class Registration(IntEnum):
    """MMModem3gppRegistrationState, as far as it is simulated."""

    IDLE = 0
    HOME = 1
    SEARCHING = 2
    DENIED = 3
    ROAMING = 5


class Fault(StrEnum):
    """What a modem suffers from, by what heals it."""

    NOT = ""
    BEARER = "bearer"  # refuses to connect until it is disconnected once
    NETWORK = "network"  # searches for ever, until told to register
    DRIVER = "driver"  # searches for ever, until disabled and enabled
    FIRMWARE = "firmware"  # answers nothing in time, until it is reset
    RADIO = "radio"  # no reset helps, only taking the power from the radio


@dataclass(slots=True)
class Sim:
    """A SIM card and its locks."""

    pin: str = ""  # "" for one without
    tries: int = PIN_TRIES
    identifier: str = "89490200001032547601"


@dataclass(slots=True)
class Pace:
    """How long things take, in seconds: as with a USB modem on LTE. Tests shorten them together."""

    enable_s: float = 1.5
    search_s: float = 4.0
    connect_s: float = 1.0
    reboot_s: float = 15.0
    timeout_s: float = 30.0
    step_s: float = 0.1

    @classmethod
    def fast(cls) -> Pace:
        """A few hundredths each."""
        return cls(enable_s=0.02, search_s=0.05, connect_s=0.02, reboot_s=0.1, timeout_s=0.3, step_s=0.005)


@dataclass(slots=True)
class SimModem:
    """One modem. ``network`` is what registering with it comes to."""

    sim: Sim | None = field(default_factory=Sim)
    network: Registration = Registration.HOME
    operator: tuple[str, str] = ("26201", "Telekom.de")
    technology: int = 1 << 14  # MM_MODEM_ACCESS_TECHNOLOGY_LTE
    quality: int = 64
    fault: Fault = Fault.NOT
    apn: str = "internet"  # the only one that the network takes
    interface: str = "wwan0"
    address: str = "10.140.7.2"
    can_reset: bool = True
    can_power: bool = True
    locked: bool = field(default=False)

    def boot(self) -> None:
        """Power on: a PIN is asked for again."""
        self.locked = self.sim is not None and bool(self.sim.pin)
