"""``lamppost models key|sign|publish|card``: a model's way to a gateway."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from gateway.cli.output import say_json
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.pipeline.nilm.release import Release, Scores

SCORES_MAX_BYTES = 2**20
TIMEOUT_S = 30.0
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def key(file: Path) -> None:
    """Make the key that models are signed with: the private one into FILE, the public one on the screen.

    FILE stays where models are trained. The public key goes into each gateway's configuration, `disaggregation.key`.
    """
    from gateway.pipeline.nilm import release

    click.echo(release.new_key(file))


@click.command("sign")
@click.argument("model", type=FILE)
@click.option("--gateway", required=True, help="Whose model it is: `site.id` of its configuration.")
@click.option("--key", "key_file", required=True, type=FILE, help="Private key (`lamppost models key`).")
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Release to write.")
@click.option("--days", type=click.FloatRange(0, 36500, min_open=True), default=400, show_default=True, help="Use.")
@click.option("--scores", type=FILE, help="Output of `lamppost models score --json`, for the model card.")
@click.option("--serial", type=click.IntRange(1, 2**53), help="Grows with each release; without it the time.")
def sign(
    model: Path, gateway: str, key_file: Path, output: Path, days: float, scores: Path | None, serial: int | None
) -> None:
    """Sign MODEL for one gateway: a release, which `lamppost models publish` puts on a server."""
    from gateway.pipeline.nilm import model as models
    from gateway.pipeline.nilm import release as releases

    now = releases.utc_now()
    made = releases.Release(
        version=releases.VERSION,
        gateway=gateway,
        serial=serial or int(now.timestamp()),
        made=now,
        expires=now + timedelta(days=days),
        scores=None if scores is None else _scores(scores),
        model=models.load(model),
    )
    signed = releases.sign(made, releases.private_key(key_file))
    output.write_bytes(signed)
    click.echo(f"{output}: model {made.serial} for {gateway} until {made.expires:%Y-%m-%d}, {len(signed)} bytes")


@click.command("publish")
@click.argument("release", type=FILE)
@click.option("--server", required=True, help="Address of the server, http(s)://host[:port].")
@click.option("--token-file", type=FILE, help="File with the server's token.")
@click.option("--ca-file", type=FILE, help="Certificates to trust instead of the system's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def publish(release: Path, server: str, token_file: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """Put RELEASE on a server, where its gateway pulls it within the hour.

    The gateway checks the signature before it uses it, and goes back to the model before where more stays unexplained.
    """
    from gateway.pipeline.nilm import release as releases

    with release.open("rb") as file:
        signed = file.read(releases.RELEASE_MAX_BYTES + 1)
    found = releases.unverified(signed)
    token = None if token_file is None else token_file.read_text(encoding="utf-8").strip()
    _send(server, found.gateway, signed, token, ca_file)
    if as_json:
        say_json({"gateway": found.gateway, "serial": found.serial, "bytes": len(signed), "server": server})
    else:
        click.echo(f"{server}: model {found.serial} for {found.gateway}, {len(signed)} bytes")


@click.command("card")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def card(file: Path, as_json: bool) -> None:
    """Print the model card of FILE, a model or a release: what it is, made from what, how good, and not for what."""
    from gateway.pipeline.nilm import card as cards
    from gateway.pipeline.nilm import model as models
    from gateway.pipeline.nilm import release as releases

    with file.open("rb") as opened:
        data = opened.read(models.FILE_MAX_BYTES + 1)
    found: Release | None = None if data.lstrip().startswith(b"{") else releases.unverified(data)
    made = cards.card(models.decode(data, str(file)) if found is None else found.model, found)
    if as_json:
        say_json(made)
    else:
        click.echo(cards.markdown(made), nl=False)


def _scores(file: Path) -> Scores:
    """Raises UsageError."""
    import msgspec

    from gateway.pipeline.nilm.release import Scores

    try:
        with file.open("rb") as opened:
            data = json.loads(opened.read(SCORES_MAX_BYTES))
        wanted = {name: data.get(name) for name in ("ea", "ea_zero", "ea_mean", "appliances")}
        return msgspec.convert(wanted, Scores)
    except (ValueError, AttributeError, msgspec.ValidationError) as error:
        fix = "Make it with `lamppost models score FILE --split 0.7 --json`."
        raise UsageError(f"{file} holds no scores: {error}", fix=fix) from None


def _send(server: str, gateway: str, signed: bytes, token: str | None, ca_file: Path | None) -> None:
    """Raises UplinkError."""
    import asyncio

    from drivers.http1 import HttpError
    from gateway.errors import UplinkError
    from gateway.uplink.client import Access, open_client

    async def send() -> tuple[int, bytes]:
        client = open_client(Access(server, token, ca_file, timeout_s=TIMEOUT_S), {"Content-Type": "application/jose"})
        try:
            path = f"/lamppost/v1/gateways/{quote(gateway, safe='')}/model"
            answer = await client.request("PUT", path, body=signed)
        except HttpError as error:
            raise UplinkError(error.cause) from None
        finally:
            await client.close()
        return answer.status, answer.body

    status, body = asyncio.run(send())
    if status >= 300:
        try:
            problem = json.loads(body)
            cause, fix = str(problem["detail"]), str(problem.get("fix", ""))
        except (ValueError, LookupError, TypeError):
            cause, fix = f"status {status}", "Is this a Lamppost server?"
        raise UplinkError(f"{server} does not take it: {cause}", code="uplink.refused", fix=fix)
