"""A bare RTU master as the control: one request, one answer, 3.5 characters of silence, and nothing else."""

from __future__ import annotations

import os
import select
import time

import serial

from drivers.planner import silence_s
from firmware_sim.modbus import READ_INPUT, sealed


def raw_rate(link: str, baud: int, count: int, seconds: float) -> float:
    """Exchanges a second with unit 1."""
    request = sealed(bytes((1, READ_INPUT, 0, 0, 0, count)))
    length, silence = 5 + 2 * count, silence_s(10 / baud)
    with serial.Serial(link, baud, timeout=0, exclusive=True) as port:
        time.sleep(0.1)  # the line looks now and then whether the port is open
        fd = port.fileno()
        done, begin = 0, time.perf_counter()
        while time.perf_counter() < begin + seconds:
            os.write(fd, request)
            heard = b""
            while len(heard) < length:
                if not select.select([fd], [], [], 1.0)[0]:
                    raise RuntimeError("the line does not answer")
                heard += os.read(fd, 4096)
            select.select([], [], [], silence)
            done += 1
        return done / (time.perf_counter() - begin)
