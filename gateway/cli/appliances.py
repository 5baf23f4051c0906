"""``lamppost appliances``: what the appliances of this box do, and teaching it new ones on site."""

from __future__ import annotations

import csv
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from gateway.cli.options import client, config_option, config_path, daemon_options, require_config
from gateway.cli.output import ago, say_json, table
from gateway.errors import UsageError
from gateway.pipeline.nilm.result import TOTAL

if TYPE_CHECKING:
    from gateway.cli.control import ControlClient
    from gateway.pipeline.nilm.onsite import Edge, PhaseWatch

DAY_S = 86_400.0
WAIT_S = 120.0
J_PER_KWH = 3.6e6
TOGETHER = 6  # readings after the first edge of a load in which its edges on other phases come, too
MODEL = click.Path(path_type=Path, dir_okay=False)


@click.group("appliances", short_help="Which appliance does what; teach new ones.")
def command() -> None:
    """Appliances that the disaggregation of this box tells apart."""


@command.command("list")
@daemon_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def list_(config_file: Path | None, data: Path | None, socket_path: Path | None, as_json: bool) -> None:
    """What each appliance does now."""
    told = client(config_file, data, socket_path).ask("appliances")
    if as_json:
        say_json(told)
        return
    if told["mains_w"] is None:
        click.echo(f"nothing yet: is there a model, and does {told['meter']} answer? See `lamppost status`.")
        return
    rows = [
        (name, "on" if one["on"] else "off", f"{one['power_w']:.0f}", f"{one['energy_kwh']:.3f}", one["confidence"])
        for name, one in sorted(told["appliances"].items(), key=lambda item: -float(item[1]["power_w"]))
    ]
    rows.append(("other", "", f"{told['other_w']:.0f}", "", ""))
    click.echo(f"{told['meter']}: {told['mains_w']:.0f} W, {ago(told['age_s'])}")
    click.echo(table(("appliance", "is", "W", "kWh", "confidence"), rows))


@command.command("export")
@daemon_options
@click.option("--days", type=click.FloatRange(0, 366, min_open=True), default=7.0, show_default=True, help="Back.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list instead of CSV.")
def export(config_file: Path | None, data: Path | None, socket_path: Path | None, days: float, as_json: bool) -> None:
    """The runs of all appliances: when each was on (UTC) and what it used, as CSV on the standard output."""
    runs = client(config_file, data, socket_path).ask("runs", since_s=time.time() - days * DAY_S)
    if as_json:
        say_json(runs)
        return
    writer = csv.writer(sys.stdout)
    writer.writerow(("appliance", "start", "end", "kWh"))
    writer.writerows((run["name"], _utc(run["start_s"]), _utc(run["end_s"]), f"{run['kwh']:.4f}") for run in runs)


@command.command("score")
@daemon_options
@click.option("--days", type=click.FloatRange(0, 366, min_open=True), default=7.0, show_default=True, help="Back.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def score(config_file: Path | None, data: Path | None, socket_path: Path | None, days: float, as_json: bool) -> None:
    """How much is explained here, where no sub-meter tells: the unexplained share of the mains, and runs by appliance.

    With labels, `lamppost models score` says how good the estimates are.
    """
    daemon = client(config_file, data, socket_path)
    state = daemon.ask("status")["disaggregation"]
    runs = daemon.ask("runs", since_s=time.time() - days * DAY_S)
    by_name: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_name.setdefault(run["name"], []).append(run)
    shown = {
        name: {
            "runs": len(some),
            "kwh": round(sum(run["kwh"] for run in some), 4),
            "hours": round(sum(run["end_s"] - run["start_s"] for run in some) / 3600, 2),
        }
        for name, some in sorted(by_name.items())
    }
    unexplained = None if state is None else state["unexplained"]
    if as_json:
        say_json({"days": days, "unexplained": unexplained, "appliances": shown})
        return
    click.echo(
        "unexplained: not measured yet" if unexplained is None else f"unexplained: {unexplained:.1%} of the mains"
    )
    click.echo(table(("appliance", "runs", "kWh", "hours"), [(name, *one.values()) for name, one in shown.items()]))


@command.command("page")
@daemon_options
@click.option("--model", type=MODEL, help="Model file; without it that of the configuration.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on loopback; without it a free one.")
def page(config_file: Path | None, data: Path | None, socket_path: Path | None, model: Path | None, port: int) -> None:
    """Show each day as coloured bands in the browser, and correct what was told apart wrongly. Until Ctrl-C.

    A correction renames the run, and moves the load of the model (or adds it) towards what that run drew. From another
    machine: `ssh -L 8000:127.0.0.1:PORT box`.
    """
    from gateway.cli import appliances_page

    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a script started it in the background
    daemon = client(config_file, data, socket_path)

    def runs(start_s: float, end_s: float) -> list[dict[str, Any]]:
        return [run for run in daemon.ask("runs", since_s=start_s) if run["start_s"] < end_s]

    def names() -> list[str]:
        return sorted(daemon.ask("appliances")["appliances"])

    def correct(name: str, start_s: float, right: str) -> str:
        run = daemon.ask("correct", name=name, start_s=start_s, right=right)
        return f"It is {right} now. {_learned_from(run, config_file, model)}"

    known = config_path(config_file)
    zone = ZoneInfo("UTC" if known is None else require_config(known).site.time_zone)
    server, address = appliances_page.serve(port, zone, runs, names, correct)
    click.echo(address)
    with server:
        server.serve_forever()


def _learned_from(run: dict[str, Any], config_file: Path | None, model: Path | None) -> str:
    """Improve the model of this box by a corrected run; what to say of it."""
    from gateway.pipeline.nilm import model as models
    from gateway.pipeline.nilm import onsite
    from gateway.pipeline.nilm.result import ModelError

    seconds = float(run["end_s"]) - float(run["start_s"])
    try:
        path = _model_path(config_file, model)
        watts = float(run["kwh"]) * J_PER_KWH / seconds if seconds > 0 else 0.0
        note = f"{run['name']}: corrected, {datetime.now(UTC):%Y-%m-%d}"
        models.save(onsite.corrected(models.load(path), str(run["name"]), watts, note), path)
    except (ModelError, UsageError) as error:
        return f"The model stays as it is: {error.cause}."
    return f"The model has learned from it ({watts:.0f} W)."


@command.command("name")
@click.argument("old")
@click.argument("new")
@config_option
@click.option("--model", type=MODEL, help="Model file; without it that of the configuration.")
def name(old: str, new: str, config_file: Path | None, model: Path | None) -> None:
    """Give the appliance OLD the name NEW. The daemon takes the model anew; the counter of NEW begins at zero."""
    from gateway.pipeline.nilm import model as models
    from gateway.pipeline.nilm import onsite

    path = _model_path(config_file, model)
    models.save(onsite.renamed(models.load(path), old, new), path)
    click.echo(f"{path}: {old} is {new} now")


@command.command("forget")
@click.argument("name")
@config_option
@click.option("--model", type=MODEL, help="Model file; without it that of the configuration.")
def forget(name: str, config_file: Path | None, model: Path | None) -> None:
    """Take the appliance NAME out of the model."""
    from gateway.pipeline.nilm import model as models
    from gateway.pipeline.nilm import onsite

    path = _model_path(config_file, model)
    models.save(onsite.without(models.load(path), name), path)
    click.echo(f"{path}: without {name}")


@command.command("learn")
@click.argument("name")
@daemon_options
@click.option("--model", type=MODEL, help="Model file; without it that of the configuration.")
@click.option("--times", type=click.IntRange(1, 10), default=3, show_default=True, help="To switch it on and off.")
@click.option("--wait", "wait_s", type=click.FloatRange(1, 3600), default=WAIT_S, show_default=True, help="Seconds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: each edge, then the load.")
def learn(
    name: str,
    config_file: Path | None,
    data: Path | None,
    socket_path: Path | None,
    model: Path | None,
    times: int,
    wait_s: float,
    as_json: bool,
) -> None:
    """Learn the load NAME: switch it on and off a few times, alone, while you see what the meter shows.

    Edges of other loads are told and passed over. The daemon takes the new model within seconds.
    """
    from gateway.edge.mains import quantities
    from gateway.pipeline.nilm import model as models
    from gateway.pipeline.nilm import onsite

    config = require_config(config_file)
    if config.disaggregation is None:
        raise UsageError("the configuration has no `disaggregation`", fix="Name the meter there; see the how-to.")
    path = _model_path(config_file, model)
    watch = onsite.PhaseWatch()
    daemon = client(config_file, data, socket_path)
    part, patience_s = config.disaggregation, 2 * times * wait_s + WAIT_S
    lesson = _Lesson(name, _edges(daemon, part.meter, quantities(part.quantity), watch, patience_s), as_json)
    ups, downs = lesson.take(times, wait_s)
    period = watch.period_s
    if period is None:
        raise UsageError("the meter sent too few samples", fix="Wait a moment longer before you switch.")
    loads = {phase: onsite.load_from(name, ups[phase], downs[phase], period) for phase in ups}
    known = models.load(path) if path.exists() else None
    if known is not None:
        models.check_period(known, period)
        models.check_phases(known, watch.lowest_w)
    note = f"{name}: {times} times on site, {datetime.now(UTC):%Y-%m-%d}"
    models.save(onsite.with_loads(known, loads, period, watch.lowest_w, note), path)
    levels = {phase: load.states[1].level_w for phase, load in loads.items()}
    if as_json:
        phases = None if TOTAL in levels else {phase: round(level, 1) for phase, level in levels.items()}
        level = round(sum(levels.values()), 1)
        say_json({"name": name, "level_w": level, "phases": phases, "period_s": period, "model": str(path)})
    else:
        told = ", ".join(f"{level:.0f} W{_on(phase)}" for phase, level in levels.items())
        click.echo(f"{name}: {told}, a sample each {period:.2g} s; saved to {path}")


class _Lesson:
    """Asks to switch, listens, and keeps the edges that fit: by phase, all that come together with the first one."""

    def __init__(self, name: str, edges: Iterator[Mapping[str, Edge]], as_json: bool) -> None:
        self._name = name
        self._edges = edges
        self._as_json = as_json

    def take(self, times: int, wait_s: float) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """Edges up and down of each phase that the load is on, W. Raises UsageError where none comes in time."""
        ups: dict[str, list[float]] = {}
        downs: dict[str, list[float]] = {}
        next(self._edges, None)  # the first sample has come: the meter is there
        for number in range(1, times + 1):
            known = {phase: some[0] for phase, some in ups.items()}
            came = self._await(f"({number} of {times}) switch {self._name} on", known, +1, wait_s)
            went = self._await(f"({number} of {times}) switch {self._name} off", known or came, -1, wait_s)
            for phase in known or came:
                ups.setdefault(phase, []).append(came[phase])
                downs.setdefault(phase, []).append(went[phase])
        return ups, downs

    def _await(self, ask: str, known: Mapping[str, float], sign: int, wait_s: float) -> dict[str, float]:
        """The edges of all phases that are known; where none is, the first one and those of other phases like it."""
        from gateway.pipeline.nilm import onsite

        if not self._as_json:
            click.echo(f"{ask} ...")
        found: dict[str, float] = {}
        late = 0
        deadline = time.monotonic() + wait_s
        for edges in self._edges:
            for phase, edge in edges.items():
                like = known.get(phase, 0.0) if known else next(iter(found.values()), edge.size_w)
                fits = edge.size_w * sign > 0 and onsite.is_same(edge.size_w, like) and phase not in found
                self._tell(phase, edge, fits)
                if fits:
                    found[phase] = edge.size_w
            late += bool(found)
            if found and (found.keys() >= known.keys() if known else late > TOGETHER or TOTAL in found):
                return found
            if time.monotonic() > deadline:
                break
        fix = "Switch it within the time, or give more with --wait; small loads need a quiet moment."
        raise UsageError(f"no such edge came within {wait_s:g} s: {ask}", fix=fix)

    def _tell(self, phase: str, edge: Edge, fits: bool) -> None:
        if self._as_json:
            where = {} if phase == TOTAL else {"phase": phase}
            say_json({**where, **{key: round(value, 1) for key, value in asdict(edge).items()}, "fits": fits})
        else:
            other = "" if fits else ": another load"
            click.echo(f"  {edge.size_w:+.0f} W{_on(phase)}, now {edge.power_w:.0f} W{other}")


def _on(phase: str) -> str:
    return "" if phase == TOTAL else f" on {phase}"


def _edges(
    daemon: ControlClient, meter: str, phases: Mapping[str, str], watch: PhaseWatch, seconds: float
) -> Iterator[Mapping[str, Edge]]:
    """What each sample of the meter brings, as it comes, for so long; ``phases``: of each quantity."""
    for item in daemon.stream("watch", seconds=seconds, device=meter):
        phase = phases.get(item["quantity"])
        if phase is not None and item["quality"] != "bad" and isinstance(item["value"], int | float):
            edge = watch.feed(phase, time.monotonic() - float(item["age_s"]), float(item["value"]))
            yield {} if edge is None else {phase: edge}


def _model_path(config_file: Path | None, model: Path | None) -> Path:
    if model is not None:
        return model
    part = require_config(config_file).disaggregation
    if part is None or part.model is None:
        fix = "Give --model FILE, or set disaggregation.model."
        raise UsageError("the configuration names no model file", fix=fix)
    return part.model


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
