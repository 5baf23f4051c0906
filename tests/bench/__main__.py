"""``python -m tests.bench [NAME ...]``: run benchmarks; they print figures and assert nothing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

KNOWN = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main(names: list[str]) -> int:
    """Run the named benchmarks, all without a name. Returns the exit code."""
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(KNOWN)}", file=sys.stderr)
        return 2
    for name in names or KNOWN:
        print(f"== {name}")
        importlib.import_module(f"tests.bench.bench_{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
