"""What polling costs a line: the share of its time, and what would fit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gateway.config import budget
from gateway.config.load import load_bytes
from tests.unit.cli.command import LAMPPOST, environment

SITE = """
site: {id: a, location: {latitude: 1, longitude: 2}}
uplink: {url: "http://127.0.0.1:9090"}
storage: {path: /tmp}
buses:
  line: {type: modbus-rtu, port: /dev/serial/by-id/x, baud: BAUD}
  behind: {type: modbus-tcp, host: 10.0.0.1, baud: 9600}
  lan: {type: modbus-tcp, host: 10.0.0.2}
devices:
  one: {template: eastron-sdm630, bus: line, address: 1, period: PERIOD}
  two: {template: eastron-sdm630, bus: line, address: 2, period: PERIOD}
  three: {template: senseair-s8, bus: behind, address: 254}
  four: {template: eastron-sdm630, bus: lan, address: 1, period: 1}
"""


def loaded(baud: int, period: float) -> tuple[list[budget.LineBudget], list[str], list[str]]:
    text = SITE.replace("BAUD", str(baud)).replace("PERIOD", str(period))
    found = load_bytes(text.encode(), Path("/tmp/a.yaml"))
    assert found.draft is not None
    busy = [problem for problem in found.problems if problem.code.startswith("config.bus-")]
    return budget.budgets(found.draft), [problem.code for problem in busy], [problem.hint for problem in busy]


def test_a_line_that_has_room_is_passed() -> None:
    (line, behind), codes, _ = loaded(9600, 2)
    assert (line.bus, behind.bus, codes) == ("line", "behind", [])
    assert 0.1 < line.share < budget.WARN
    assert [device.device for device in line.devices] == ["one", "two"]


def test_energies_are_not_read_with_the_powers() -> None:
    (line, _), _, _ = loaded(9600, 2)
    whole = sum(device.poll_s / device.period_s for device in line.devices)
    assert line.share < whole


def test_a_line_that_is_nearly_full_is_warned_of_and_one_that_is_overfull_refused() -> None:
    (line, _), codes, _ = loaded(9600, 0.6)
    assert (budget.WARN < line.share < budget.FULL, codes) == (True, ["config.bus-load"])
    (line, _), codes, (hint,) = loaded(2400, 1)
    assert (line.share > budget.FULL, codes) == (True, ["config.bus-overload"])
    assert "times as long would fit, or 9600 baud" in hint


@pytest.mark.parametrize("baud", [2400, 9600, 19_200])
def test_what_is_said_to_fit_fits(baud: int) -> None:
    (line, _), _, hints = loaded(baud, 0.2)
    factor = float(hints[0].split()[1])
    (stretched, _), codes, _ = loaded(baud, 0.2 * factor)
    assert stretched.share <= budget.WARN < line.share
    assert codes == []


def test_the_plan_is_shown_for_a_line_that_is_too_slow(tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [LAMPPOST, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment(tmp_path))

    file = tmp_path / "a.yaml"
    file.write_text(SITE.replace("BAUD", "2400").replace("PERIOD", "1"))
    done = run("config", "plan", file)
    assert done.returncode == 1
    assert "line, 2400 baud" in done.stdout
    assert "eastron-sdm630" in done.stdout
    assert run("config", "plan", tmp_path / "none.yaml").returncode != 0
    file.write_text("site: 1")
    assert "error[config." in run("config", "plan", file).stderr
