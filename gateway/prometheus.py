"""The Prometheus text of a metric (exposition format 0.0.4), for both roles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[Mapping[str, str], float]


def family(name: str, kind: str, text: str, samples: Iterable[Sample] | float) -> str:
    """The lines of one metric; ``samples`` may be a single number without labels."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    pairs: Iterable[Sample] = [({}, samples)] if isinstance(samples, int | float) else samples
    for labels, value in pairs:
        inner = ",".join(f'{key}="{_escape(part)}"' for key, part in labels.items())
        lines.append(f"{name}{{{inner}}} {value:.15g}" if inner else f"{name} {value:.15g}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
