"""Make the dictionary of the compact form: ``python packaging/dictionary.py > gateway/compact/dictionary-N.json``.

From the tables in drivers/quantities.py in their order, since what stands together there is read together; the words
are the names in the templates of devices and the appliances of the load model. The same tree gives the same file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from drivers.quantities import QUANTITIES  # noqa: E402

APPLIANCES = ("fridge", "kettle", "washing_machine", "oven", "heat_pump", "car", "other")


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
    content = {"quantities": [[q.name, q.unit] for q in QUANTITIES.values()], "words": words()}
    lines = [
        json.dumps(content["quantities"], ensure_ascii=False).replace("], [", "],\n["),
        json.dumps(content["words"]),
    ]
    print(f'{{"quantities": {lines[0]},\n"words": {lines[1]}}}')


if __name__ == "__main__":
    main()
