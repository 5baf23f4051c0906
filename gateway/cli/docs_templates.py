"""The page of the templates: a table for each kind, then each template with what it delivers and what is uncertain."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from itertools import groupby

from drivers import template as templates
from drivers import template_quality
from drivers.quantities import PHASES
from drivers.template import Template
from drivers.template_quality import Grade, grade
from gateway.cli.template_list import bus_types
from gateway.cli.template_show import way
from gateway.config.check_devices import delivers

PARTS = (*PHASES, "l12", "l23", "l31", "n", "t1", "t2", "t3", "t4", "avg", "ln_avg", "ll_avg", "total")
_LONGEST_FIRST = sorted(PARTS, key=len, reverse=True)
EVIDENCE = {
    "captured": "a frame of this very model decodes to what its owner saw",
    "agreed": "two independent sources state the main points alike",
    "one source": "one program or list states them",
    "manual": "the vendor's, or the standard's, own document states them; no device has been seen",
}


def page() -> Iterator[str]:
    """The lines of docs/reference/templates.md."""
    known = sorted((templates.load(name) for name in templates.names()), key=lambda one: (one.kind, one.name))
    yield "# Templates\n"
    yield from _introduction(known)
    for kind, group in groupby(known, key=lambda one: one.kind):
        yield f"\n## {kind}\n"
        yield "| template | vendor | model | bus | evidence | grade | caveats |\n|---|---|---|---|---|---|---|"
        yield from map(_row, group)
    yield "\n## Each in detail\n"
    for one in known:
        yield from _detail(one)


def _introduction(known: list[Template]) -> Iterator[str]:
    modbus = sum(one.protocol == "modbus" for one in known)
    yield inspect.cleandoc(f"""
        {len(known)} models of devices are known, {modbus} of them on Modbus. `template:` of a device names one;
        `lamppost template show NAME` prints the whole map. Every Modbus template is read in the tests from a simulated
        device made from the same file: that proves types, orders and scales against each other, not the addresses.
        How far these are proven is the evidence:
        """)
    yield "\n| evidence | means | templates |\n|---|---|---|"
    for word, meaning in EVIDENCE.items():
        yield f"| {word} | {meaning} | {sum(one.evidence == word for one in known)} |"
    yield "\nThe grade is computed from the file; each one asks for all that those below it do:\n"
    yield "| grade | asks for | templates |\n|---|---|---|"
    asked = _demands()
    for reached in Grade:
        yield f"| {reached.word} | {asked[reached]} | {sum(grade(one) is reached for one in known)} |"


def _demands() -> dict[Grade, str]:
    asked = {wanted: "; ".join(texts) for wanted, texts in template_quality.DEMANDS.items()}
    return {Grade.NONE: "nothing"} | asked


def _row(one: Template) -> str:
    model = ", ".join((one.model, *one.variants))
    name = f"[`{one.name}`](#{one.name})"
    buses = ", ".join(bus_types(one))
    caveats = str(len(one.caveats)) if one.caveats else ""
    return f"| {name} | {one.vendor} | {model} | {buses} | {one.evidence} | {grade(one).word} | {caveats} |"


def _detail(one: Template) -> Iterator[str]:
    yield f"### {one.name}\n"
    yield f"{one.vendor} {one.model}: {'; '.join(way(one))}; {one.data_model}.\n"
    yield f"Delivers {', '.join(_grouped(delivers(one)))}.\n"
    if one.sources:
        yield f"Sources: {'; '.join(one.sources)}.\n"
    if one.caveats:
        yield "\n".join(f"- {caveat}" for caveat in one.caveats) + "\n"


def _grouped(quantities: Iterable[str]) -> Iterator[str]:
    """``voltage_l1``, ``voltage_l2`` and ``voltage_l3`` as ``voltage_{l1,l2,l3}``."""
    parts: dict[str, list[str]] = {}
    for quantity in sorted(quantities):
        part = next((part for part in _LONGEST_FIRST if quantity.endswith(f"_{part}")), "")
        parts.setdefault(quantity.removesuffix(f"_{part}") if part else quantity, []).append(part)
    for stem, found in parts.items():
        ordered = sorted(found, key=lambda part: PARTS.index(part) if part else -1)
        if ordered == [""]:
            yield f"`{stem}`"
        elif len(ordered) == 1:
            yield f"`{stem}_{ordered[0]}`"
        else:
            yield f"`{stem}_{{{','.join(ordered)}}}`"
