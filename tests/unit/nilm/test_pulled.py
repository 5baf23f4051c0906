"""Released models on a real server, and a gateway that pulls them, checks them and goes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nilm_houses import house

from drivers.base import Observation
from drivers.http1 import HttpClient
from gateway.cli.main import main
from gateway.clock import SystemClock
from gateway.config.schema import Config
from gateway.edge.disaggregation import Disaggregation
from gateway.edge.residual import DAY_S
from gateway.model import Link
from gateway.pipeline.nilm import release
from gateway.pipeline.nilm.learn import learn
from gateway.pipeline.nilm.model import Model
from gateway.pipeline.nilm.result import ApplianceResult, Power
from gateway.server.releases.routes import JOSE
from tests.server.support import serving, until

SITE = "town-hall"
PATH = f"/lamppost/v1/gateways/{SITE}/model"
AS_JOSE = {"Content-Type": JOSE}
KEY = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def model() -> Model:
    return learn(*house(1), 1.0, "a synthetic house, seed 1")


def signed(model: Model, serial: int, key: Ed25519PrivateKey = KEY, gateway: str = SITE, days: int = 10) -> bytes:
    now = release.utc_now()
    return release.sign(release.Release(1, gateway, serial, now, now + timedelta(days=days), None, model), key)


async def test_published_ones_are_kept_and_only_newer_ones_replace_them(tmp_path: Path, model: Model) -> None:
    first = signed(model, 5)
    async with serving(tmp_path) as client:
        assert (await client.get(PATH)).status_code == 404
        assert (await client.put(PATH, content=first, headers=AS_JOSE)).status_code == 204
        assert (await client.put(PATH, content=first, headers=AS_JOSE)).status_code == 204  # said twice
        for status, body, headers in (
            (409, signed(model, 5, days=11), AS_JOSE),
            (409, signed(model, 4), AS_JOSE),
            (400, signed(model, 6, gateway="school"), AS_JOSE),
            (400, b"no release", AS_JOSE),
            (415, signed(model, 6), {"Content-Type": "text/plain"}),
        ):
            answer = await client.put(PATH, content=body, headers=headers)
            assert answer.status_code == status, answer.text
            assert answer.json()["fix"]
    async with serving(tmp_path) as client:
        answer = await client.get(PATH)
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, first, JOSE)
        again = await client.get(PATH, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


class OneLink:
    def current(self) -> Link | None:
        return Link("default")

    async def changed(self, since: Link | None) -> Link | None:
        await asyncio.Event().wait()
        return None


class Gateway:
    """The edge's disaggregation in front of a server, with real worker processes."""

    def __init__(self, folder: Path, address: str) -> None:
        config = Config.model_validate(
            {
                "site": {"id": SITE, "location": {"latitude": 52, "longitude": 5}},
                "uplink": {"url": address},
                "disaggregation": {"meter": "grid", "key": release.public_text(KEY)},
                "storage": {"path": str(folder)},
            }
        )
        self.published: list[str] = []
        self.part = Disaggregation(
            config, self._publish, SystemClock(configured=True), OneLink(), lambda _: HttpClient(address)
        )

    def _publish(self, device: str, _observation: Observation, _urgent: bool, _replaces: bool) -> None:
        self.published.append(device)

    async def pull(self) -> bool:
        assert self.part._pull is not None
        return await self.part._pull.once(Link("default"))

    @property
    def seen(self) -> dict[str, Any]:
        return self.part.as_json()


@asynccontextmanager
async def a_gateway(folder: Path, client: httpx.AsyncClient) -> AsyncIterator[Gateway]:
    gateway = Gateway(folder, str(client.base_url).rstrip("/"))
    run = asyncio.create_task(gateway.part.run())
    try:
        yield gateway
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_a_gateway_pulls_checks_and_goes_back(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMPPOST_NILM_PURE", "1")  # workers that need not compile
    async with serving(tmp_path / "server") as client:
        await client.put(PATH, content=signed(model, 5), headers=AS_JOSE)
        await _life_of_a_gateway(tmp_path / "edge", client, model)
    async with serving(tmp_path / "server") as client:
        again = Gateway(tmp_path / "edge", str(client.base_url).rstrip("/"))
        assert again.seen["serial"] == 5
        assert not await again.pull()  # the one that gave way is not offered anew


async def _life_of_a_gateway(folder: Path, client: httpx.AsyncClient, model: Model) -> None:
    async with a_gateway(folder, client) as gateway:
        await until(lambda: gateway.seen["serial"] == 5 and bool(gateway.seen["ready"]), seconds=30)
        gateway.part.worker.feed(10**9, {"total": Power(100.0)})
        gateway.part.worker.feed(2 * 10**9, {"total": Power(100.0)})
        await until(lambda: "grid/kettle" in gateway.published)
        assert not await gateway.pull()  # 304

        await client.put(PATH, content=signed(model, 6, Ed25519PrivateKey.generate()), headers=AS_JOSE)
        for _ in range(2):  # as often as it looks
            with pytest.raises(Exception, match="signature"):
                await gateway.pull()
        assert gateway.seen["serial"] == 5

        state = gateway.part._store.state
        state.watched.seconds, state.watched.mains_ws, state.watched.residual_ws = DAY_S, 1e8, 2e7
        await client.put(PATH, content=signed(model, 7), headers=AS_JOSE)
        assert await gateway.pull()
        await until(lambda: gateway.seen["serial"] == 7 and bool(gateway.seen["ready"]), seconds=30)
        for minute in range(1500):  # a day of a model that explains nothing
            gateway.part._result(ApplianceResult(minute * 60 * 10**9, 100.0, 100.0, ()))
        assert (gateway.seen["serial"], gateway.seen["refused"]) == (5, [7])
        await until(lambda: bool(gateway.seen["ready"]), seconds=30)
        assert str(gateway.seen["model"]).endswith("/5/model.json")


async def test_the_commands_lead_there(tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    from gateway.pipeline.nilm import model as models

    models.save(model, tmp_path / "model.json")
    key, out = str(tmp_path / "key.pem"), str(tmp_path / "model.jws")

    async def run(*arguments: str) -> int:
        return await asyncio.to_thread(main, ["models", *arguments])

    async with serving(tmp_path / "server") as client:
        assert await run("key", key) == 0
        public = capsys.readouterr().out.strip()
        assert await run("sign", str(tmp_path / "model.json"), "--gateway", SITE, "--key", key, "--output", out) == 0
        assert await run("publish", out, "--server", str(client.base_url)) == 0
        assert SITE in capsys.readouterr().out
        got = (await client.get(PATH)).content
        assert release.verify(got, release.public_key(public), SITE, release.utc_now()).model == model
        assert await run("card", out) == 0
        assert "# Model card" in capsys.readouterr().out
        assert await run("publish", str(tmp_path / "model.json"), "--server", str(client.base_url)) == 1
        assert "error[nilm.release]" in capsys.readouterr().err
