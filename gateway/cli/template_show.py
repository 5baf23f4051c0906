"""``lamppost template show``: all that a template says of a device."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from gateway.cli.output import number, plain, say_json, style, table
from gateway.cli.template_check import load
from gateway.cli.template_list import about, bus_types

if TYPE_CHECKING:
    from drivers.template import Point, Template

COLOURS = {"platinum": "green", "gold": "green", "silver": "cyan", "bronze": "yellow", "none": "red"}
HEAD = ("quantity", "unit", "address", "function", "type", "scale", "no value", "every")


@click.command("show", short_help="All that a template says.")
@click.argument("template")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(template: str, as_json: bool) -> None:
    """Show a TEMPLATE, by name or file: how it is reached, what it delivers, evidence, sources and caveats."""
    loaded = load(template)
    if as_json:
        say_json(_whole(loaded))
        return
    for line in lines(loaded):
        click.echo(line)


def _whole(template: Template) -> dict[str, object]:
    from drivers.template_quality import missing

    whole = dataclasses.asdict(template) | about(template)
    whole["frames"] = [
        {"request": one.request.hex(), "answer": one.answer.hex(), "topic": one.topic, "expect": dict(one.expect)}
        for one in template.frames
    ]
    return whole | {"caveats": list(template.caveats), "missing": missing(template)}


def lines(template: Template) -> Iterator[str]:
    """The template for people."""
    from drivers.template_quality import grade, missing

    reached = grade(template).word
    title = style(plain(f"{template.vendor} {template.model}"), "white", bold=True)
    yield f"{title}  ({template.name}, {template.kind})"
    if template.variants:
        yield plain(f"also: {', '.join(template.variants)}")
    yield f"bus: {', '.join(bus_types(template))}; {'; '.join(way(template))}"
    yield f"evidence: {template.evidence}; grade: {style(reached, COLOURS[reached], bold=True)}"
    lacking = missing(template)
    if lacking:
        yield f"for the next grade: {'; '.join(lacking)}"
    for heading, texts in (("sources", template.sources), ("caveats", template.caveats)):
        if texts:
            yield f"\n{heading}:"
            yield from (f"  - {plain(text)}" for text in texts)
    yield ""
    yield _values(template)


def way(template: Template) -> Iterator[str]:
    """How the device is reached and how often it is read, part by part."""
    line = template.line
    if line.stated:
        letter = {"none": "N", "even": "E", "odd": "O"}[line.parity]
        yield f"line {line.baud} {line.data_bits}{letter}{line.stop_bits}"
    elif template.protocol == "modbus" and "rtu" in template.transports:
        yield "no source states the line"
    if template.tcp_port is not None:
        yield f"TCP port {template.tcp_port}"
    if template.address is not None:
        yield f"address {template.address} from the factory"
    if template.period_s is not None:
        yield f"every {number(template.period_s)} s"
    else:
        yield "period as configured" if template.protocol == "modbus" else "speaks by itself"


def _values(template: Template) -> str:
    from drivers.quantities import QUANTITIES

    if template.points:
        return table(HEAD, (_row(point, point.quantity in template.disputed) for point in template.points))
    named = [(field.quantity, QUANTITIES[field.quantity].unit, field.path) for field in template.fields]
    shown = {quantity for frame in template.frames for quantity in frame.expect}
    rows = named or [(quantity, QUANTITIES[quantity].unit, "") for quantity in sorted(shown)]
    return table(("quantity", "unit", "path"), rows)


def _row(point: Point, disputed: bool) -> tuple[object, ...]:
    from drivers.quantities import QUANTITIES

    kind = f"{point.type}[{point.words}]" if point.words else point.type
    kind += " low word first" if point.word_order == "low-first" and point.count > 1 else ""
    kind += " low byte first" if point.byte_order == "low-first" else ""
    scale = f"{point.scale:g}" + (f" x 10^[{point.scale_register:#06x}]" if point.scale_register is not None else "")
    scale += f" {point.offset:+g}" if point.offset else ""
    name = f"{point.quantity} (disputed)" if disputed else point.quantity
    every = "" if point.every is None else f"{point.every:g} s"
    raw = ", ".join(f"{value:#x}" for value in point.nan)
    return name, QUANTITIES[point.quantity].unit, f"0x{point.address:04X}", point.function, kind, scale, raw, every
