"""A box in a network namespace: the real ``Links`` and a sender of one small request after the other.

``python -m tests.sim.link_box FOLDER LINKS [KEY=VALUE ...]``: LINKS is JSON; the pairs change the policy, and `fast=1`
makes the probes come sooner. Prints a line of JSON for each change of the link, each request and each second.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from datetime import UTC
from pathlib import Path

from drivers.http1 import HttpClient, HttpError
from firmware_sim.net.town import URL
from gateway.clock import SystemClock
from gateway.config.schema import LinkConfig
from gateway.model import Link, Priority
from gateway.uplink import link_manager, link_pace
from gateway.uplink.carrier import InterfaceCarriers
from gateway.uplink.link_choice import Policy
from gateway.uplink.link_manager import Links, Settings

PAUSE_S = 0.1
SAY_S = 0.5
TIMEOUT_S = 10.0


def say(**what: object) -> None:
    print(json.dumps({"at": time.monotonic(), **what}), flush=True)


async def exchange(links: Links, link: Link, client: HttpClient) -> None:
    began = time.monotonic()
    links.began(link)
    try:
        response = await client.request("POST", "/", {"X-Link": link.name}, b"a reading")
    except HttpError as error:
        links.failed(link, error.cause)
        say(failed=link.name, cause=error.cause)
        return
    if response.status == 204:
        links.worked(link, time.monotonic() - began)
        say(sent=link.name)
    else:
        links.answered(link)
        say(answered=link.name, status=response.status)


async def send(links: Links) -> None:
    while True:
        link = links.current()
        say(link=link and link.name, why={one["name"]: one["why"] for one in links.explain()})
        if link is None:
            await links.changed(None)
            continue
        client = HttpClient(URL, timeout_s=TIMEOUT_S, interface=link.interface, names=links.names(link))
        changed = asyncio.ensure_future(links.changed(link))
        try:
            while not changed.done():
                sending = asyncio.ensure_future(exchange(links, link, client))
                await asyncio.wait((changed, sending), return_when=asyncio.FIRST_COMPLETED)
                sending.cancel()
                await asyncio.wait((changed,), timeout=PAUSE_S)
        finally:
            changed.cancel()
            await client.close()


async def tell(links: Links) -> None:
    while True:
        await asyncio.sleep(SAY_S)
        allowed = [priority.name for priority in Priority if links.allows(priority)]
        say(links=links.explain(), allowed=allowed)


async def main(folder: Path, links: list[LinkConfig], policy: Policy) -> None:
    manager = Links(
        links,
        Settings(URL, None, 10.0, 2000),
        InterfaceCarriers(),
        clock=SystemClock(configured=True),
        zone=UTC,
        folder=folder,
        policy=policy,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(manager.run())
        group.create_task(send(manager))
        group.create_task(tell(manager))


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    options = {key: float(value) for key, _, value in (pair.partition("=") for pair in sys.argv[3:])}
    if options.pop("fast", 0):
        link_pace.RETRY_S, link_pace.RETRY_FREE_MAX_S, link_pace.RETRY_METERED_MAX_S = 0.5, 1.0, 1.0
        link_pace.NEEDED_METERED_S, link_pace.PROBE_METERED_S = 1.0, (1.0, 10.0, 10.0)
        link_manager.SAVE_S, link_manager.COUNT_S, link_manager.DOUBT_S = 1.0, 0.5, 0.5
    asyncio.run(
        main(
            Path(sys.argv[1]),
            [LinkConfig.model_validate(link) for link in json.loads(sys.argv[2])],
            Policy(**options),  # type: ignore[arg-type]
        )
    )
