"""The rule that is shipped for polkit, asked of the real polkit on a bus of its own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sim.real_managers import need

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RULE = Path(__file__).parents[2] / "packaging" / "polkit" / "50-lamppost.rules"
POLKITD = Path("/usr/lib/polkit-1/polkitd")
ALLOWED = (
    "org.freedesktop.NetworkManager.network-control",
    "org.freedesktop.NetworkManager.settings.modify.system",
    "org.freedesktop.ModemManager1.Device.Control",
)
NOT_ALLOWED = ("org.freedesktop.NetworkManager.reload", "org.freedesktop.ModemManager1.Messaging")
_BUS = """<busconfig><type>system</type><listen>unix:path={folder}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/></policy></busconfig>
"""
# the service's user need not exist here: the rule is asked about nobody; a process of his is the subject
_SCRIPT = """
trap 'kill $(jobs -p) 2>/dev/null' EXIT
mount --bind {folder}/rules /etc/polkit-1/rules.d
dbus-daemon --config-file={folder}/bus.conf --nofork --nopidfile &
for i in $(seq 100); do [ -S {folder}/bus ] && break; sleep 0.1; done
export DBUS_SYSTEM_BUS_ADDRESS=unix:path={folder}/bus
{polkitd} &
setpriv --reuid nobody --regid nogroup --clear-groups sleep 120 & subject=$!
for i in $(seq 100); do pkcheck --action-id org.freedesktop.policykit.exec --process $$ >/dev/null 2>&1 && break
  sleep 0.1; done
for action in {actions}; do pkcheck --action-id $action --process $subject >/dev/null 2>&1; echo "$action $?"; done
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not that of pytest: the user of polkit must be able to go there."""
    made = Path(tempfile.mkdtemp(prefix="lamppost-polkit-"))
    made.chmod(0o755)
    (made / "rules").mkdir()
    yield made
    shutil.rmtree(made)


async def verdicts(folder: Path) -> dict[str, bool]:
    (folder / "bus.conf").write_text(_BUS.format(folder=folder))
    script = _SCRIPT.format(folder=folder, polkitd=POLKITD, actions=" ".join((*ALLOWED, *NOT_ALLOWED)))
    process = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "bash", "-c", script,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    output, _ = await process.communicate()
    rows = [line.split() for line in output.decode().splitlines() if line.startswith("org.freedesktop.")]
    return {action: status == "0" for action, status in rows}


async def test_the_rule_allows_what_is_asked_and_no_more(folder: Path) -> None:
    need("NetworkManager", "ModemManager", "dbus-daemon", "pkcheck", "setpriv", "unshare")
    if not POLKITD.exists():
        pytest.skip(f"not installed: {POLKITD}")
    assert await verdicts(folder) == dict.fromkeys((*ALLOWED, *NOT_ALLOWED), False)
    rule = RULE.read_text(encoding="utf-8")
    assert '"lamppost"' in rule
    (folder / "rules" / RULE.name).write_text(rule.replace('"lamppost"', '"nobody"'))
    assert await verdicts(folder) == dict.fromkeys(ALLOWED, True) | dict.fromkeys(NOT_ALLOWED, False)
