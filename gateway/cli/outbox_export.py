"""``lamppost outbox export``: the waiting readings as CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from gateway.cli.options import DEFAULT_DATA, config_option, config_path, require_config
from gateway.cli.output import count, plain, say_json
from gateway.errors import LamppostError, UsageError

if TYPE_CHECKING:
    from gateway.model import Reading
    from gateway.outbox.inspection import Inspection

FILE_NAME = "outbox.sqlite"
COLUMNS = (
    "seq", "observed_at", "device", "quantity", "value", "text", "unit", "quality", "reason", "boot_id", "monotonic_s",
)  # fmt: skip
ROWS_A_GROUP = 50_000
Row = dict[str, Any]
Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])


def outbox_options(function: Wrapped) -> Wrapped:
    """``[FILE] --config --data``: which outbox. Pass them to :func:`inspection`."""
    path = click.Path(path_type=Path, readable=False)
    function = click.option("--data", type=path, envvar="LAMPPOST_DATA", help="Folder of the daemon (storage.path).")(
        config_option(function)
    )
    return click.argument("file", required=False, type=path)(function)


def inspection(file: Path | None, config_file: Path | None, data: Path | None) -> Inspection:
    """The outbox that is meant. Raises OutboxError, ConfigError."""
    from gateway.outbox.inspection import Inspection

    if file is None:
        known = config_path(config_file)
        folder = data or (require_config(known).storage.path if known else DEFAULT_DATA)
        file = folder / FILE_NAME
    return Inspection(file)


@click.command("export", short_help="Its readings as CSV, JSON lines or Parquet.")
@outbox_options
@click.option("--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]), help="Default: by the output's name.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write; default: the terminal.")
@click.option("--device", "devices", multiple=True, help="Only this device; may be given several times.")
@click.option("--since", type=click.DateTime(), help="Only from this instant on (UTC).")
@click.option("--until", type=click.DateTime(), help="Only before this instant (UTC).")
def command(
    file: Path | None,
    config_file: Path | None,
    data: Path | None,
    form: str | None,
    output: Path | None,
    devices: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
) -> None:
    """Write what waits in the outbox, in the order of the stream; the readings stay where they are.

    A value is a number in `value` (true is 1) or a text in `text` (a position as WKT). Readings whose boot does not
    know the time have no `observed_at` but `boot_id` and `monotonic_s`; --since and --until leave them out.
    """
    form = form or _form_of(output)
    if form == "parquet" and output is None:
        raise UsageError("Parquet is no text", fix="Give --output FILE.parquet.")
    with closing(inspection(file, config_file, data)) as outbox:
        chosen = Chosen(devices, _ns(since), _ns(until))
        faults: list[str] = []
        rows = chosen.rows(_with_progress(outbox, faults))
        _write_text(rows, sys.stdout, form) if output is None else _write_file(rows, output, form)
    click.echo(count(chosen.taken, "reading"), err=True)
    if faults:
        fix = "Run `lamppost outbox verify`."
        raise LamppostError(f"damaged blocks were left out: {'; '.join(faults)}", code="outbox.damaged", fix=fix)


class Chosen:
    """Which readings, and as which rows; ``taken`` counts them. ``since`` (included) and ``until`` in ns."""

    def __init__(self, devices: Sequence[str], since: int | None, until: int | None) -> None:
        self.taken = 0
        self._devices = frozenset(devices)
        self._since, self._until = since, until

    def rows(self, blocks: Iterable[list[Reading]]) -> Iterator[Row]:
        """The chosen readings as rows with COLUMNS."""
        from gateway.mapping.mapper import iso
        from gateway.outbox.inspection import flat

        for readings in blocks:
            for reading in readings:
                if not self._wants(reading):
                    continue
                row = flat(reading)
                observed_ns, monotonic_ns = row.pop("observed_ns"), row.pop("monotonic_ns")
                row["observed_at"] = None if observed_ns is None else iso(observed_ns)
                row["monotonic_s"] = None if monotonic_ns is None else monotonic_ns / 1e9
                self.taken += 1
                yield {name: row[name] for name in COLUMNS}

    def _wants(self, reading: Reading) -> bool:
        if self._devices and reading.device not in self._devices:
            return False
        if self._since is None and self._until is None:
            return True
        if reading.clock is not None or (self._since is not None and reading.observed_ns < self._since):
            return False
        return self._until is None or reading.observed_ns < self._until


def _with_progress(outbox: Inspection, faults: list[str]) -> Iterator[list[Reading]]:
    blocks = outbox.readings(faults)
    if not sys.stderr.isatty():
        yield from blocks
        return
    with click.progressbar(blocks, length=outbox.blocks, label="blocks", file=sys.stderr) as bar:
        yield from bar


def _write_file(rows: Iterator[Row], output: Path, form: str) -> None:
    """Under another name first: what is there with the given name is whole. Raises LamppostError."""
    part = output.with_name(output.name + ".part")
    try:
        if form == "parquet":
            _write_parquet(rows, part)
        else:
            with part.open("w", encoding="utf-8", newline="") as stream:
                _write_text(rows, stream, form)
        part.replace(output)
    except OSError as error:
        fix = "Check the folder, its permissions and the free space."
        raise LamppostError(f"cannot write {output}: {error.strerror or error}", code="output", fix=fix) from error
    finally:
        part.unlink(missing_ok=True)


def _write_text(rows: Iterator[Row], stream: IO[str], form: str) -> None:
    if form == "jsonl":
        for row in rows:
            say_json(row, stream)
        return
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: plain(value) if isinstance(value, str) else value for name, value in row.items()})


def _write_parquet(rows: Iterator[Row], path: Path) -> None:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        fix = "Use --format csv or jsonl, or install it: `pip install pyarrow`."
        raise LamppostError("Parquet needs the Python package pyarrow", code="install.missing", fix=fix) from error
    kinds = {"seq": arrow.int64(), "value": arrow.float64(), "monotonic_s": arrow.float64()}
    kinds["observed_at"] = arrow.timestamp("us", tz="UTC")
    schema = arrow.schema([(name, kinds.get(name, arrow.string())) for name in COLUMNS])
    group = list[Row]()
    with parquet.ParquetWriter(path, schema) as writer:
        for row in rows:
            at = row["observed_at"]
            group.append({**row, "observed_at": datetime.fromisoformat(at) if at else None})
            if len(group) == ROWS_A_GROUP:
                writer.write_table(arrow.Table.from_pylist(group, schema))
                group.clear()
        writer.write_table(arrow.Table.from_pylist(group, schema))


def _form_of(output: Path | None) -> str:
    suffix = "" if output is None else output.suffix.removeprefix(".").lower()
    return suffix if suffix in ("jsonl", "parquet") else "csv"


def _ns(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.replace(tzinfo=UTC).timestamp() * 10**6) * 1000
