"""``lamppost template list``: the models that are known, with evidence and grade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateway.cli.output import say_error, say_json, table
from gateway.errors import UsageError

if TYPE_CHECKING:
    from drivers.template import Template

HEAD = ("template", "kind", "vendor", "model", "bus", "evidence", "grade")


@click.command("list", short_help="The models that are known.")
@click.option("--kind", help="Only those of a kind, such as electricity_meter or air.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def command(kind: str | None, as_json: bool) -> int:
    """List all templates: those that ship, those of other packages and those of this box.

    Exit code 1 where a file of this box is wrong; the others are listed all the same.
    """
    from drivers import template as templates

    rows, wrong = [], 0
    for name in templates.names():
        try:
            rows.append(about(templates.load(name)))
        except templates.TemplateError as error:
            say_error(error.code, str(error), error.fix)
            wrong += 1
    kinds = sorted({row["kind"] for row in rows})
    if kind is not None and kind not in kinds:
        raise UsageError(f"there is no template of kind {kind!r}", fix=f"Kinds: {', '.join(kinds)}.")
    rows = [row for row in rows if kind in (None, row["kind"])]
    if as_json:
        say_json(rows)
    else:
        click.echo(table(HEAD, ([_cell(row.get(key, row["name"])) for key in HEAD] for row in rows)))
    return int(bool(wrong))


def about(template: Template) -> dict[str, Any]:
    """A template in a few words; the keys of the JSON."""
    from drivers.template_quality import grade

    return {
        "name": template.name,
        "kind": template.kind,
        "vendor": template.vendor,
        "model": template.model,
        "variants": list(template.variants),
        "bus": bus_types(template),
        "data_model": template.data_model,
        "evidence": template.evidence,
        "grade": grade(template).word,
        "values": len(template.points) or len(template.fields),
        "caveats": len(template.caveats),
        "shipped": template.shipped,
    }


def bus_types(template: Template) -> list[str]:
    """The types of bus that the device itself speaks on."""
    from gateway.config.addresses import BUS_TYPES

    if template.protocol == "modbus":
        return [f"modbus-{transport}" for transport in template.transports]
    return list(BUS_TYPES.get(template.protocol, (template.protocol,)))


def _cell(value: object) -> object:
    return ", ".join(value) if isinstance(value, list) else value
