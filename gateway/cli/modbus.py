"""``lamppost modbus``: look into a device that has no template yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.control import NoDaemonError
from gateway.cli.options import client, daemon_options, host_port, require_config
from gateway.cli.output import number, say_json, table
from gateway.errors import UsageError

if TYPE_CHECKING:
    from drivers.guess import Guess

COUNT_MAX = 125
ORDER_NAMES = {
    ("high-first", "high-first"): "ABCD",
    ("low-first", "high-first"): "CDAB",
    ("high-first", "low-first"): "BADC",
    ("low-first", "low-first"): "DCBA",
}


class Number(click.ParamType[int]):
    """A whole number, decimal or with 0x."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises click's usage error."""
        try:
            return value if isinstance(value, int) else int(str(value), 0)
        except ValueError:
            self.fail(f"{value!r} is not a whole number (decimal, or with 0x)", param, ctx)


def line_options(function: Any) -> Any:
    """Which line to use where no bus of a configuration is named."""
    options = (
        click.option("--bus", help="Bus of the configuration; the running daemon is asked."),
        click.option("--port", help="Serial port, instead of --bus."),
        click.option("--host", help="Modbus TCP host, with :PORT where it is not 502, instead of --bus."),
        click.option("--baud", type=click.IntRange(300, 1_000_000), default=9600, show_default=True),
        click.option("--parity", type=click.Choice(["none", "even", "odd"]), default="none", show_default=True),
        click.option("--stop-bits", type=click.IntRange(1, 2), default=1, show_default=True),
        click.option(
            "--framing", type=click.Choice(["tcp", "rtu"]), default="tcp", show_default=True, help="Of --host."
        ),
        click.option("--timeout", type=click.FloatRange(0.05, 30), default=1.0, show_default=True, help="Seconds."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group("modbus", short_help="Look into a Modbus device without a template.")
def command() -> None:
    """Look into a Modbus device that has no template yet. Reads only: functions 3 and 4."""


@command.command("read", short_help="Registers as every type and order.")
@click.argument("address", type=Number())
@click.argument("count", type=Number(), default=10)
@click.option("--id", "unit", type=click.IntRange(0, 255), required=True, help="Modbus id of the device.")
@click.option("--fc", "function", type=click.IntRange(3, 4), default=4, show_default=True, help="3 holding, 4 input.")
@line_options
@daemon_options
@click.option("--all", "everything", is_flag=True, help="Every type and order, not only what may be meant.")
@click.option("--json", "as_json", is_flag=True, help="{request, answer, registers, guesses}.")
def read(
    address: int,
    count: int,
    unit: int,
    function: int,
    everything: bool,
    as_json: bool,
    **line: Any,
) -> None:
    """Read COUNT registers from ADDRESS (0-based) and show them as every type and order, the plausible ones marked.

    What is printed with --json, `lamppost template new --from FILE` takes.
    """
    if not 1 <= count <= COUNT_MAX or not 0 <= address <= 0x10000 - count:
        raise UsageError(f"{count} registers from {address:#06x}: 1 to {COUNT_MAX}, up to 0xFFFF", fix="Read fewer.")
    wanted = {"unit": unit, "function": function, "address": address, "count": count}
    found = read_registers(wanted, line)
    _show(found, everything, as_json)


def read_registers(wanted: dict[str, int], line: dict[str, Any]) -> dict[str, Any]:
    """The exchange {request, answer} (hex of RTU frames) over the line that the options name. Raises DriverError."""
    from gateway.cli import direct

    if [line["bus"], line["port"], line["host"]].count(None) != 2:
        raise UsageError("which line?", fix="Give one of --bus, --port and --host.")
    if line["bus"] is None:
        return direct.run(direct.exchange(_settings(line), wanted))
    try:
        answer = client(line["config_file"], line["data"], line["socket_path"]).ask("modbus", bus=line["bus"], **wanted)
    except NoDaemonError:
        config = require_config(line["config_file"])
        direct.known("bus", line["bus"], config.buses)
        answer = direct.run(direct.exchange(config.buses[line["bus"]].model_dump(), wanted))
    return dict(answer)


def _settings(line: dict[str, Any]) -> dict[str, Any]:
    """The bus that the options describe, as a configuration has it."""
    if line["port"] is not None:
        chosen = {key: line[key] for key in ("port", "baud", "parity", "stop_bits", "timeout")}
        return {"type": "modbus-rtu", **chosen}
    host, port = host_port("--host", line["host"], 502)
    return {"type": "modbus-tcp", "host": host, "port": port, "framing": line["framing"], "timeout": line["timeout"]}


def _show(found: dict[str, Any], everything: bool, as_json: bool) -> None:
    from drivers import modbus_capture
    from drivers.guess import guesses

    exchange = modbus_capture.parse(bytes.fromhex(found["request"] + found["answer"]))
    first = exchange.address or 0
    all_guesses = guesses(exchange.registers, first)
    if as_json:
        registers = [exchange.registers[at : at + 2].hex() for at in range(0, len(exchange.registers), 2)]
        say_json({**found, "registers": registers, "guesses": [_guess_json(guess) for guess in all_guesses]})
        return
    click.echo(table(("address", "raw", "u16", "i16", "as text"), _rows(exchange.registers, first)))
    click.echo()
    shown = [guess for guess in all_guesses if everything or guess.plausible]
    if not shown:
        click.echo(
            "nothing that looks like a voltage, a frequency, CO2 or a pressure; --all shows every type and order"
        )
        return
    click.echo(table(("address", "type", "order", "value", "scale", "may be"), (_guess_row(guess) for guess in shown)))


def _rows(registers: bytes, first: int) -> Iterable[tuple[object, ...]]:
    for at in range(0, len(registers), 2):
        raw = registers[at : at + 2]
        unsigned = int.from_bytes(raw, "big")
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in raw)
        yield f"0x{first + at // 2:04X}", raw.hex(), unsigned, int.from_bytes(raw, "big", signed=True), text


def _guess_row(guess: Guess) -> tuple[object, ...]:
    order = ORDER_NAMES[guess.word_order, guess.byte_order]
    return f"0x{guess.address:04X}", guess.type, order, number(guess.value), guess.scale, guess.plausible


def _guess_json(guess: Guess) -> dict[str, Any]:
    return {
        "address": guess.address,
        "type": guess.type,
        "word_order": guess.word_order,
        "byte_order": guess.byte_order,
        "value": guess.value,
        "scale": guess.scale,
        "plausible": guess.plausible,
    }
