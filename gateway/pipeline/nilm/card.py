"""The model card: what a model is, what it was made from, how good it is, and what it must not be used for.

The headings follow Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019); an AI register can take the JSON.
"""

from __future__ import annotations

from typing import Any

from gateway.pipeline.nilm.model import PERIOD_TOLERANCE, Model
from gateway.pipeline.nilm.release import Release

USE = "Estimating what each appliance behind one meter uses, on the gateway that reads the meter."
NOT_FOR = (
    "Billing, safety, or judging people. What appliances do shows when people are at home and what they do: it is "
    "personal data, and stays on the box unless the configuration grants it."
)
METHOD_SMALL = " Of some, boosted trees over a window of the mains correct or replace it."
METHOD = "Factorial hidden Markov states over power differences, tracked by a beam, with an explicit unknown load."


def card(model: Model, release: Release | None = None) -> dict[str, Any]:
    """The card as JSON; powers in W, times in s."""
    period = model.period_s
    parts = list(model.phases.items()) if model.phases else [(None, model)]
    loads = [
        {
            "name": load.name,
            "phase": phase,
            "levels_w": [round(state.level_w, 1) for state in load.states],
            "longest_run_s": round(load.longest_run * period),
        }
        for phase, part in parts
        for load in part.loads
    ]
    steady = [
        {"name": load.name, "phase": phase, "level_w": round(load.level_w, 1), "share": load.share}
        for phase, part in parts
        for load in part.steady
    ]
    made: dict[str, Any] = {
        "use": USE,
        "not_for": NOT_FOR,
        "method": METHOD + (METHOD_SMALL if model.small else ""),
        "phases": None if model.phases is None else list(model.phases),
        "period_s": period,
        "periods_s": [round(period / PERIOD_TOLERANCE, 3), round(period * PERIOD_TOLERANCE, 3)],
        "provenance": model.provenance,
        "trained_on": model.trained_on,
        "loads": loads,
        "steady": steady,
        "small": [own.name for own in model.small],
    }
    if release is not None:
        made |= {
            "gateway": release.gateway,
            "serial": release.serial,
            "made": release.made.isoformat(),
            "expires": None if release.expires is None else release.expires.isoformat(),
            "scores": None
            if release.scores is None
            else {name: getattr(release.scores, name) for name in ("ea", "ea_zero", "ea_mean", "appliances")},
        }
    return made


def markdown(made: dict[str, Any]) -> str:
    """The card for people."""
    low, high = made["periods_s"]
    lines = [
        "# Model card: appliances behind one meter",
        "",
        f"- **Use**: {made['use']}",
        f"- **Not for**: {made['not_for']}",
        f"- **Method**: {made['method']}",
        f"- **Meter**: a sample each {made['period_s']:g} s ({low:g} to {high:g} s are taken)",
        f"- **Phases**: {'the total of all' if made['phases'] is None else ', '.join(made['phases'])}",
        f"- **Training data**: {made['trained_on'] or 'not said'}",
        f"- **Provenance**: {made['provenance'] or 'not said'}",
    ]
    if "serial" in made:
        lines.append(f"- **Release**: {made['serial']} for {made['gateway']}, made {made['made']}")
        lines.append(f"- **Expires**: {made['expires'] or 'never'}")
    lines += ["", "| appliance | levels, W | longest run |", "|---|---|---|"]
    for load in made["loads"]:
        levels = ", ".join(f"{level:g}" for level in load["levels_w"])
        lines.append(f"| {_named(load)} | {levels} | {_span(load['longest_run_s'])} |")
    lines += [f"| {_named(load)} | {load['level_w']:g}, steady | |" for load in made["steady"]]
    if made["small"]:
        lines += ["", f"Small models (trees over a window of the mains) serve: {', '.join(made['small'])}."]
    return "\n".join([*lines, *_scores(made.get("scores"))]) + "\n"


def _scores(scores: dict[str, Any] | None) -> list[str]:
    if scores is None:
        return ["", "How good it is was not measured."]
    told = f"Estimated accuracy {_number(scores['ea'])} on data it had not seen"
    lines = [
        "",
        f"{told} (predicting zero {_number(scores['ea_zero'])}, the mean {_number(scores['ea_mean'])}).",
        "",
        "| appliance | EA | F1 | MAE, W |",
        "|---|---|---|---|",
    ]
    for name, one in scores["appliances"].items():
        lines.append(f"| {name} | {_number(one.get('ea'))} | {_number(one.get('f1'))} | {_number(one.get('mae'))} |")
    return lines


def _named(load: dict[str, Any]) -> str:
    return str(load["name"]) if load["phase"] is None else f"{load['name']} ({load['phase']})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
