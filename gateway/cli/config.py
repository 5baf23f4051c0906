"""``lamppost config``: what a configuration costs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli.options import config_option, config_path, require_config
from gateway.cli.output import say_json, style, table

if TYPE_CHECKING:
    from gateway.config.schema import Config

BESIDE_THE_POINT = {"config.bus-overload", "config.no-uplink"}  # what is wrong and does not change the plan


@click.group("config", short_help="What a configuration costs: the load of each line.")
def command() -> None:
    """What a configuration costs before anything is connected."""


@command.command("plan", short_help="The budget of each line.")
@click.argument("file", required=False, type=click.Path(path_type=Path, readable=False))
@config_option
@click.option("--json", "as_json", is_flag=True, help="A list of lines with their devices.")
def plan(file: Path | None, config_file: Path | None, as_json: bool) -> int:
    """Show how busy the polls of FILE keep each Modbus line: requests, registers, wire time, share of the line.

    Computed from baud rate and register maps, with the usual turn-around of 10 ms. Exit code 1 where a line is too
    slow for what is asked of it.
    """
    from gateway.config.budget import FULL, budgets

    lines = budgets(_loaded(file or config_file))
    if as_json:
        say_json(
            [{"bus": b.bus, "baud": b.baud, "share": b.share, "devices": [*map(asdict, b.devices)]} for b in lines]
        )
    for line in lines if not as_json else ():
        colour = "red" if line.share > FULL else "green"
        click.echo(f"{line.bus}, {line.baud} baud: {style(f'{line.share:.0%}', colour, bold=True)} of the line")
        rows = [
            (
                d.device,
                d.template,
                f"{d.period_s:g} s",
                d.requests,
                d.registers,
                f"{d.poll_s * 1e3:.0f} ms",
                f"{d.share:.1%}",
            )
            for d in line.devices
        ]
        click.echo(table(("device", "template", "every", "requests", "registers", "whole read", "share"), rows))
    if not lines and not as_json:
        click.echo("no Modbus line whose speed is known")
    return int(any(line.share > FULL for line in lines))


def _loaded(file: Path | None) -> Config:
    """The configuration, also where its only mistake is that a line is too slow: that is what is to be shown."""
    from gateway.config.load import load
    from gateway.config.problem import ConfigError

    path = config_path(file)
    if path is None:
        return require_config(None)
    loaded = load(path)
    wrong = {problem.code for problem in loaded.problems if problem.severity == "error"}
    if loaded.draft is None or wrong - BESIDE_THE_POINT:
        raise ConfigError(str(path), loaded.problems)
    return loaded.draft
