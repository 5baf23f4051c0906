"""``lamppost``: the command. It starts fast (a command is imported when it is called) and never shows a traceback.

Exit codes: 0 ok, 1 an error (told as ``error[code]: cause`` and ``fix: ...``), 2 wrong usage, 130 Ctrl-C,
141 whoever read the output went away.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import click

from drivers.errors import DriverError
from gateway import __version__
from gateway.cli.output import say_error
from gateway.errors import LamppostError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# name: what `lamppost --help` says of it; the command is `command` in gateway.cli.<name>
COMMANDS: Mapping[str, str] = {
    "run": "Run the daemon: edge, server or both.",
    "check": "Check a configuration file: every mistake, with its place.",
    "status": "Is all well, and if not, what is to be done?",
    "top": "All devices and their readings, live.",
    "read": "Read one device.",
    "scan": "Find ports, Modbus ids, Bluetooth and MQTT devices.",
    "capture": "Record the frames on a bus.",
    "replay": "Decode recorded frames.",
    "decode": "What does this frame say?",
    "modbus": "Look into a Modbus device without a template.",
    "template": "Templates: list, show, check, make a new one.",
    "config": "What a configuration costs: the load of each line.",
    "link": "The ways out: how good each is, and why one is used.",
    "outbox": "What waits to be sent: show, export, verify.",
    "server": "The data of the server: backup, restore, move, verify.",
    "doctor": "Look for what is wrong with this box.",
    "models": "Models of the loads behind a meter: train, score, publish.",
    "appliances": "Which appliance does what; teach new ones.",
    "demo": "A simulated site, live on a page.",
    "completion": "Print the completion script of a shell.",
}
INTERRUPTED, BROKEN_PIPE = 130, 141
INTERRUPT_AGAIN_S = 0.02
COMPLETE = "_LAMPPOST_COMPLETE"
OWN = ("gateway", "drivers")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Lazy(click.Group):
    """A group that imports a command when it is called, and knows the help of all without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"gateway.cli.{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"gateway.cli.{cmd_name}.command is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands from the table: completing must not import them all."""
        from click.shell_completion import CompletionItem

        items = [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; an unknown name gets a suggestion."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"no command {args[0]!r}{f'; did you mean {close[0]!r}?' if close else ''}")
        return super().resolve_command(ctx, args)


@click.group("lamppost", cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lamppost")
def cli() -> None:
    """Meters, air and bicycles in; NGSI-LD out. An edge gateway and the city platform that it reports to."""


def main(args: list[str] | None = None) -> int:
    """Run the command; returns the exit code. An exception that nobody foresaw goes to :func:`report_internal`."""
    sys.excepthook = report_internal
    sys.unraisablehook = interrupt_again
    try:
        code = _run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _close_stdout()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        _close_stdout()
        say_error("output", f"the output cannot be written: {error.strerror}", "Make room where the output goes.")
        return 1


def _run(args: list[str] | None) -> int:
    arguments = sys.argv[1:] if args is None else args
    if COMPLETE in os.environ:
        cli.main(args=arguments, prog_name="lamppost", complete_var=COMPLETE, standalone_mode=False)
    try:
        # not cli.main: it has its own way with Ctrl-C and with a pipe that nobody reads
        with cli.make_context("lamppost", list(arguments)) as context:
            result = cli.invoke(context)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except (LamppostError, DriverError) as error:
        tell(error)
        return 2 if isinstance(error, LamppostError) and error.code == "usage" else 1
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(OWN):
            raise
        tell(not_installed(error))
        return 1
    except BaseExceptionGroup as group:
        return _group(group)


def _group(group: BaseExceptionGroup[BaseException]) -> int:
    """Of a task group that failed: what a user can do something about, else the group itself is unforeseen."""
    if group.subgroup(KeyboardInterrupt) is not None:
        return INTERRUPTED
    for leaf in _leaves(group):
        if isinstance(leaf, LamppostError | DriverError):
            tell(leaf)
            return 1
        if isinstance(leaf, BrokenPipeError):
            raise leaf
    raise group


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for member in group.exceptions:
        if isinstance(member, BaseExceptionGroup):
            yield from _leaves(member)
        else:
            yield member


def tell(error: LamppostError | DriverError) -> None:
    """Print an error: all problems of a configuration, or code, cause and fix."""
    from gateway.config.problem import ConfigError

    if isinstance(error, ConfigError):
        from gateway.cli.problems import say_problems

        say_problems(error.problems, err=True)
    elif isinstance(error, LamppostError):
        say_error(error.code, error.cause, error.fix)
    else:
        say_error(error.code, str(error), error.fix)


def not_installed(error: ModuleNotFoundError) -> LamppostError:
    """The error that a missing package means."""
    return LamppostError(
        f"the Python package {error.name!r} is not installed",
        code="install.missing",
        fix="Install Lamppost with what this command needs: `pip install 'lamppost[demo]'`.",
    )


def interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    """sys.unraisablehook: a Ctrl-C that Python drops, because it hit a finalizer or a callback, comes again."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, INTERRUPT_AGAIN_S)
    else:
        sys.__unraisablehook__(lost)


def report_internal(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """sys.excepthook: one line with the code ``internal``, and the details into a file."""
    if issubclass(kind, KeyboardInterrupt):
        return
    try:
        where = _write_details(kind, error, traceback)
    except OSError:
        where = ""
    summary = " ".join(str(error).split())[:200]
    fix = f"Report it, with {where}." if where else "Report it."
    say_error("internal", f"{kind.__name__}: {summary}" if summary else kind.__name__, fix)


def _write_details(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> str:
    import tempfile
    from pathlib import Path
    from traceback import format_exception

    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "lamppost"
    details = "".join(format_exception(kind, error, traceback))
    text = f"lamppost {__version__}, Python {sys.version}\n{' '.join(sys.argv)}\n{details}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "last-error.log"
        path.write_text(text, encoding="utf-8", errors="replace")
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        descriptor, name = tempfile.mkstemp(prefix="lamppost-error-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        return name
    return str(path)


def _close_stdout() -> None:
    """Nothing more can be written: keep Python from trying again, and complaining, when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
