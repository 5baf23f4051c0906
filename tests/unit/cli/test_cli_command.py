"""The installed command: exit codes, what it prints, and never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gateway.cli.main import COMMANDS, cli
from tests.unit.cli.command import LAMPPOST, Run, environment

TEN = """\
site:
  id: Main School
  location: {latitude: 95.0, longitude: 12.5}
  time_zone: Europe/Kopenhagen
uplink:
  url: https://platform.example.net
  intervall: 10s
buses:
  rs485: {type: modbus-rtuu, port: /dev/serial/by-id/usb-one}
  p1: {type: serial, port: /dev/serial/by-id/usb-two, baud: fast}
devices:
  main-meter: {template: eastron-sdm63, bus: rs485, adress: 1}
  grid: {template: dsmr-p1-v5, bus: p2}
  boiler: {bus: rs485, address: 2}
"""


def without_traceback(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([LAMPPOST, *arguments], timeout=60, check=False, **options)  # type: ignore[call-overload]
    assert b"Traceback" not in (done.stderr or b"")
    return done  # type: ignore[no-any-return]


def test_check_shows_every_mistake_with_its_place(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(TEN)
    done = run("check", path)
    assert done.returncode == 1
    assert done.stdout.count("error[config.") == 10
    assert done.stdout.endswith("10 errors\n")
    expected = [
        f"{path}:7:3: error[config.unknown-key]: unknown key 'intervall'",
        "      intervall: 10s",
        "      ^",
        "    did you mean 'interval'?",
    ]
    lines = done.stdout.splitlines()
    assert lines[lines.index(expected[0]) :][:4] == expected


def test_check_as_json(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(TEN)
    done = run("check", path, "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 1
    assert (result["ok"], result["file"], len(result["problems"])) == (False, str(path), 10)
    keys = {"severity", "code", "message", "file", "line", "column", "text", "hint", "fix"}
    assert all(set(problem) == keys for problem in result["problems"])


def test_check_of_a_good_file(run: Run) -> None:
    done = run("check", Path(__file__).parents[3] / "config" / "examples" / "school.yaml")
    assert done.returncode == 0
    assert "ok: " in done.stdout
    assert "8 devices, 5 buses" in done.stdout


def test_a_wrong_configuration_is_shown_by_every_command_that_needs_one(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(TEN)
    for arguments in (("read", "main-meter"), ("scan", "p1"), ("status",), ("run", "--role", "edge")):
        done = run(*arguments, "--config", path)
        assert done.returncode == 1
        assert done.stderr.count("error[config.") == 10


@pytest.mark.parametrize("name", ["folder", "missing", "binary", "empty", "image", "pipe", "zero", "long line"])
@pytest.mark.parametrize("arguments", [("check",), ("status", "--config"), ("replay", "--template", "dsmr-p1-v5")])
def test_files_that_are_none(run: Run, tmp_path: Path, name: str, arguments: tuple[str, ...]) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "pipe":
        if arguments[0] == "replay":
            return  # a capture may well come through a pipe
        os.mkfifo(path)
    elif name == "zero":
        path = Path("/dev/null")
    elif name != "missing":
        data = {
            "binary": os.urandom(4000),
            "empty": b"",
            "image": b"\x89PNG\r\n\x1a\n" + bytes(500),
            "long line": b"x" * 10**6,
        }
        path.write_bytes(data[name])
    done = run(*arguments, path)
    assert done.returncode in (1, 2)
    assert "error[" in done.stdout + done.stderr


def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(TEN)
    path.chmod(0)
    weaker = []
    if os.geteuid() == 0:  # root may read everything: without that power then
        weaker = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    command = [*weaker, LAMPPOST, "check", str(path)]
    done = subprocess.run(command, capture_output=True, check=False, env=environment(tmp_path))
    assert b"Traceback" not in done.stderr
    assert done.returncode == 1
    assert b"error[config.unreadable]" in done.stdout


def test_wrong_usage(run: Run) -> None:
    for arguments in ((), ("chekc",), ("check",), ("check", "a", "b"), ("status", "--jsn"), ("completion", "tcsh")):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr
    assert "did you mean 'check'" in run("chekc").stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_help_that_the_table_promises(name: str) -> None:
    with click.Context(cli) as context:
        command = cli.get_command(context, name)
    assert command is not None
    assert command.name == name
    assert command.short_help == COMMANDS[name]
    assert command.help


def test_help_and_check_import_little(tmp_path: Path) -> None:
    """A box has a slow processor: what a command does not need, it does not import."""
    path = tmp_path / "box.yaml"
    path.write_text(TEN)
    code = "import sys; from gateway.cli.main import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"

    def imported(*arguments: str) -> set[str]:
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        return set(done.stderr.split())

    heavy = {
        "rich",
        "bleak",
        "pymodbus",
        "serial",
        "paho",
        "numpy",
        "numba",
        "sqlite3",
        "starlette",
        "aiohttp",
        "httpx",
    }
    assert not imported("--help") & {*heavy, "pydantic", "yaml", "asyncio"}
    assert not imported("check", str(path)) & heavy


def test_no_colours_without_a_terminal(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(TEN)
    assert "\x1b" not in run("check", path).stdout


def test_colours_on_a_terminal_and_none_with_no_color(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(TEN)
    for more, coloured in (
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ):
        ours, theirs = os.openpty()
        variables = {k: v for k, v in environment(tmp_path).items() if k not in ("NO_COLOR", "FORCE_COLOR")} | more
        with subprocess.Popen([LAMPPOST, "check", str(path)], stdout=theirs, env=variables) as process:
            os.close(theirs)
            shown = b""
            while True:
                try:
                    chunk = os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
                if not chunk:
                    break
                shown += chunk
        os.close(ours)
        assert process.returncode == 1
        assert (b"\x1b[" in shown) == coloured


def test_nobody_reads_the_output(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(TEN)
    ours, theirs = os.pipe()
    os.close(ours)
    done = without_traceback("check", str(path), stdout=theirs, stderr=subprocess.PIPE, env=environment(tmp_path))
    os.close(theirs)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_output_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(TEN)
    for closing in (">&-", ">&- 2>&-", "2>&-", "<&-"):
        script = f'"{LAMPPOST}" check "{path}" {closing}'
        done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, env=environment(tmp_path))
        assert done.returncode == 1
        assert b"Traceback" not in done.stderr


def test_the_output_is_a_full_disk(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = without_traceback("--help", stdout=full, stderr=subprocess.PIPE, env=environment(tmp_path))
    assert done.returncode == 1
    assert b"error[output]" in done.stderr


def test_ctrl_c_is_quiet(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # where the tests run in the background, SIGINT is ignored from birth; a terminal's command is born with it
    born = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", born, LAMPPOST, "replay", str(pipe), "--template", "dsmr-p1-v5"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path)) as process,
        pipe.open("wb", buffering=0) as writer,
    ):  # opens when the command has opened it
        writer.write(b"\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_ctrl_c_that_hits_a_finalizer_is_not_lost(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time, gateway.cli.main as m\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finalized:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        for _ in range(1000): pass\n"
        "def works(*_):\n"
        "    Finalized()\n"
        "    time.sleep(60)\n"
        "m.Lazy.get_command = works\n"
        "sys.exit(m.main(['check', 'x']))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, check=False, env=environment(tmp_path), timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_what_nobody_foresaw_is_told_in_one_line(tmp_path: Path) -> None:
    code = (
        "import sys, gateway.cli.main as m\n"
        "def broken(*_): raise RuntimeError('two\\nlines')\n"
        "m.Lazy.get_command = broken\n"
        "sys.exit(m.main(['check', 'x']))\n"
    )
    for home in (tmp_path, tmp_path / "file"):
        (tmp_path / "file").touch()
        variables = environment(tmp_path) | {"XDG_STATE_HOME": str(home), "TMPDIR": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=variables)
        assert done.returncode == 1
        first, fix = done.stderr.splitlines()
        assert first == "error[internal]: RuntimeError: two lines"
        details = Path(fix.removeprefix("fix: Report it, with ").removesuffix("."))
        assert "RuntimeError: two" in details.read_text()
        assert "Traceback" in details.read_text()


def test_a_missing_package_is_told(tmp_path: Path) -> None:
    code = "import sys; sys.modules['yaml'] = None\nimport gateway.cli.main as m\nsys.exit(m.main(['check', 'x']))\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment(tmp_path)
    )
    assert done.returncode == 1
    assert "error[install.missing]" in done.stderr
    assert "yaml" in done.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_completion_in_bash(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(run("completion", "bash").stdout)
    code = f"""
        set -eu
        source {script}
        COMP_WORDS=(lamppost st) COMP_CWORD=1
        _lamppost_completion {LAMPPOST}
        echo "${{COMPREPLY[@]}}"
        COMP_WORDS=(lamppost check --js) COMP_CWORD=2 COMPREPLY=()
        _lamppost_completion {LAMPPOST}
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, env=environment(tmp_path))
    assert done.stdout.split() == ["status", "--json"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_of_other_shells(run: Run, shell: str) -> None:
    assert "_LAMPPOST_COMPLETE" in run("completion", shell).stdout
