"""``lamppost doctor``: looks for what is wrong with this box, and says what to do about it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from gateway.cli.options import config_option, config_path
from gateway.cli.output import count, plain, say_json, style

if TYPE_CHECKING:
    from gateway.config.schema import Config

Result = Literal["ok", "warn", "fail"]
CHECK_S = 6.0
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: a stable name, the result, what was seen, and what to do where it is not ok."""

    name: str
    result: Result
    detail: str
    fix: str = ""


Check = Callable[[], Sequence[Finding]]


@click.command("doctor", short_help="Look for what is wrong with this box.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object {ok, findings}.")
def command(config_file: Path | None, as_json: bool) -> int:
    """Look at the configuration, clock, disk, ports, lines, Bluetooth, network and daemon of this box.

    Each check ends within seconds and says what to do. Exit code 0: nothing failed (there may be warnings), 1: else.
    """
    from gateway.cli import doctor_checks

    path = config_path(config_file)
    config, findings = doctor_checks.configuration(path)
    findings += examine(doctor_checks.checks(config))
    failed = any(finding.result == "fail" for finding in findings)
    if as_json:
        say_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
        return int(failed)
    for finding in findings:
        _show(finding)
    counts = {result: sum(finding.result == result for finding in findings) for result in COLOURS}
    click.echo(f"\n{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
    return int(failed)


def examine(checks: Iterable[tuple[str, Check]], limit_s: float = CHECK_S) -> list[Finding]:
    """Run checks side by side; one that takes longer than ``limit_s`` fails and is left behind."""
    results: dict[str, Sequence[Finding]] = {}
    threads = []
    for name, check in checks:
        thread = threading.Thread(target=_one, args=(name, check, results), name=name, daemon=True)
        thread.start()
        threads.append(thread)
    deadline = time.monotonic() + limit_s
    findings: list[Finding] = []
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        late = Finding(
            thread.name, "fail", f"no result within {limit_s:g} s", "Try again; look at the load of the box."
        )
        findings += results.get(thread.name, [late])
    return findings


def _one(name: str, check: Check, results: dict[str, Sequence[Finding]]) -> None:
    from gateway.errors import LamppostError

    try:
        results[name] = check()
    except ImportError as error:
        fix = "Install Lamppost with what it needs: `pip install 'lamppost[edge,ble]'`."
        results[name] = [Finding(name, "fail", f"{error.name or error} is not installed", fix)]
    except LamppostError as error:
        results[name] = [Finding(name, "fail", error.cause, error.fix)]
    except OSError as error:
        results[name] = [Finding(name, "fail", error.strerror or str(error), "See what the system log says.")]


def _show(finding: Finding) -> None:
    mark = style(f"{finding.result:4}", COLOURS[finding.result], bold=True)
    click.echo(f"{mark}  {finding.name:20}  {plain(finding.detail)}")
    if finding.fix and finding.result != "ok":
        click.echo(f"{'':26}  {style('fix', 'green')}: {plain(finding.fix)}")


def summary_config(config: Config) -> str:
    """A configuration in a few words."""
    return f"{count(len(config.devices), 'device')}, {count(len(config.buses), 'bus', 'buses')}"
