"""Disaggregation as the edge runs it: how the worker computes is chosen by the memory of the board."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.edge.disaggregation import has_little_memory


@pytest.mark.parametrize(
    ("text", "little"),
    [
        ("MemTotal:         438616 kB\nMemFree: 1 kB\n", True),  # Raspberry Pi Zero 2 W, 512 MB
        ("MemTotal:         929188 kB\nMemFree: 1 kB\n", False),  # Raspberry Pi 3
        ("MemTotal:        3884404 kB\n", False),
        ("nothing of the kind", False),
        ("", False),
    ],
)
def test_a_board_of_512_mb_compiles_nothing(tmp_path: Path, text: str, little: bool) -> None:
    (tmp_path / "meminfo").write_text(text)
    assert has_little_memory(tmp_path / "meminfo") is little
    assert has_little_memory(tmp_path / "absent") is False
