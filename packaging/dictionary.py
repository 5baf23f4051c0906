"""Make the dictionary of the compact form: ``python packaging/dictionary.py > gateway/compact/dictionary-N.json``.

The quantities of drivers/quantities.py: those that most templates of devices have first, else in their order, since
what stands together there is read together and small steps between numbers are short. The words are the names of the
templates and the appliances of the load model. The same tree gives the same file.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from drivers.quantities import QUANTITIES  # noqa: E402

APPLIANCES = ("fridge", "kettle", "washing_machine", "oven", "heat_pump", "car", "other")


def by_use() -> list[str]:
    """The quantities, by how many templates have them."""
    used: Counter[str] = Counter()
    for path in sorted((ROOT / "config/templates").glob("*/*.yaml")):
        points = yaml.safe_load(path.read_text(encoding="utf-8")).get("points", [])
        used.update({point["quantity"] for point in points if "quantity" in point})
    return sorted(QUANTITIES, key=lambda name: -used[name])


def words() -> list[str]:
    """Names and states of the templates, shortest last."""
    found = set(APPLIANCES)
    for path in sorted((ROOT / "config/templates").glob("*/*.yaml")):
        found.add(path.stem)
        found.add(path.parent.name)
        found |= _states(yaml.safe_load(path.read_text(encoding="utf-8")))
    return sorted(found, key=lambda word: (-len(word), word))


def _states(part: object) -> set[str]:
    """The texts that a point may have as a value."""
    if isinstance(part, list):
        return set().union(*(_states(member) for member in part))
    if not isinstance(part, dict):
        return set()
    found = set().union(*(_states(member) for member in part.values()))
    for key in ("states", "texts", "map"):
        if isinstance(part.get(key), dict):
            found |= {value for value in part[key].values() if isinstance(value, str)}
    return found


def main() -> None:
    """Print the file."""
    ordered = by_use()
    content = {"quantities": [[name, QUANTITIES[name].unit] for name in ordered], "words": words()}
    lines = [
        json.dumps(content["quantities"], ensure_ascii=False).replace("], [", "],\n["),
        json.dumps(content["words"]),
    ]
    print(f'{{"quantities": {lines[0]},\n"words": {lines[1]}}}')


if __name__ == "__main__":
    main()
