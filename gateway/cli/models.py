"""``lamppost models``: models of the loads behind a meter: train them, and see how good they are."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli import models_release
from gateway.cli.output import say_json, table
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.pipeline.nilm.evaluate import Evaluation
    from gateway.pipeline.nilm.recording import Recording


@click.group("models", short_help="Models of the loads behind a meter: train, score, publish.")
def command() -> None:
    """Models say which appliances there are behind a meter, and how to tell them apart.

    FILE is a wide table (Parquet, CSV or npz): one column an appliance in W, one of the mains. Runs are parted by gaps
    in the times, or by a column `segment`.
    """


for _part in (models_release.key, models_release.sign, models_release.publish, models_release.card):
    command.add_command(_part)


def _recording_options(function: click.decorators.FC) -> click.decorators.FC:
    function = click.option("--period", type=float, help="Seconds between two rows, where the rows have no times.")(
        function
    )
    function = click.option(
        "--mains", default="main", show_default=True, help="Column of the mains, or A,B,C of its phases."
    )(function)
    return click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))(function)


@command.command("score")
@_recording_options
@click.option("--split", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Learn from so much of it.")
@click.option("--model", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Score this model instead.")
@click.option(
    "--train",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Learn from this other house instead; may be given several times.",
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write the scores as an HTML page, too.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def score(
    file: Path,
    mains: str,
    period: float | None,
    split: float | None,
    model: Path | None,
    train: tuple[Path, ...],
    plot: Path | None,
    as_json: bool,
) -> None:
    """How well are the appliances of FILE told apart?

    With --split 0.7 the first 70 % in time train a model and the rest is scored; with --model, or with --train other
    houses, all is scored.
    """
    if [split is not None, model is not None, bool(train)].count(True) != 1:
        raise UsageError("give one of --split, --model and --train", fix="lamppost models score FILE --split 0.7")
    recording = _read(file, mains, period)
    from gateway.pipeline.nilm import evaluate
    from gateway.pipeline.nilm import model as models

    say = _say if sys.stderr.isatty() else lambda _: None
    if model is not None:
        result = evaluate.model_score(recording, models.load(model))
    elif train:
        result = evaluate.house_score(recording, [_read(other, mains, period) for other in train], say)
    else:
        result = evaluate.split_score(recording, split or 0.0, say)
    if plot is not None:
        from gateway.cli.models_plot import page

        try:
            plot.write_text(page(result), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{plot}: {error.strerror}") from None
    if as_json:
        say_json(result.plain())
    else:
        click.echo(_page(result))


@command.command("train")
@_recording_options
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Model to write.")
@click.option("--provenance", default="", help="Where the recording came from.")
def train(file: Path, mains: str, period: float | None, output: Path, provenance: str) -> None:
    """Train a model on the whole of FILE."""
    recording = _read(file, mains, period)
    from gateway.pipeline.nilm import evaluate
    from gateway.pipeline.nilm import model as models

    learned = evaluate.learned_from(recording, provenance or recording.name, _say)
    models.save(learned, output)
    click.echo(f"{output}: {', '.join(learned.names)} ({learned.trained_on})")


@command.command("untrained")
@click.option("--period", type=click.FloatRange(0, 3600, min_open=True), required=True, help="Seconds between samples.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Model to write.")
@click.option("--phase", "phases", type=click.Choice(["L1", "L2", "L3"]), multiple=True, help="Once for each phase.")
def untrained(period: float, output: Path, phases: tuple[str, ...]) -> None:
    """Write a model that knows no load: it finds load_1, load_2, ... while they run, and names can be given.

    With --phase it is for a meter whose phases are looked at one by one.
    """
    from gateway.pipeline.nilm import model as models
    from gateway.pipeline.nilm import onsite

    models.save(onsite.untrained(period, sorted(set(phases))), output)
    click.echo(f"{output}: loads are found while they run; `lamppost appliances name` gives them names")


@command.command("simulate")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Parquet or npz to write."
)
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True, help="Each seed: another house.")
@click.option("--days", type=click.FloatRange(0, 100, min_open=True), default=10.0, show_default=True)
@click.option("--period", type=click.FloatRange(0.1, 3600), default=6.0, show_default=True, help="Seconds a row.")
@click.option("--appliances", type=click.IntRange(1, 20), default=6, show_default=True, help="How many have a label.")
def simulate(output: Path, seed: int, days: float, period: float, appliances: int) -> None:
    """Write a labelled synthetic house, to score on: the same seed gives the same one everywhere."""
    try:
        import numpy as np

        from gateway.pipeline.nilm.simulate import house
    except ImportError:
        raise UsageError("models need numpy", fix="pip install lamppost[nilm]") from None
    try:
        made = house(seed, days, period, appliances)
    except ValueError as error:
        raise UsageError(str(error)) from None
    columns = {"main": made.mains, **made.appliances}
    try:
        if output.suffix == ".npz":
            np.savez(output, allow_pickle=False, **columns)
        else:
            import pyarrow
            from pyarrow import parquet

            parquet.write_table(pyarrow.table(columns), output)
    except ImportError:
        raise UsageError("writing Parquet needs pyarrow", fix="pip install lamppost[train]") from None
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from None
    click.echo(f"{output}: {len(made.mains)} rows of {period:g} s; {', '.join(made.appliances)}")


def _say(text: str) -> None:
    """Progress, on stderr."""
    click.echo(text, err=True)


def _read(file: Path, mains: str, period: float | None) -> Recording:
    os.environ.setdefault(
        "NUMBA_CACHE_DIR", str(Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lamppost")
    )
    try:
        from gateway.pipeline.nilm import recording
    except ImportError:
        raise UsageError("models need numpy", fix="pip install lamppost[nilm]") from None
    return recording.read(file, mains=mains, period_s=period)


def _page(result: Evaluation) -> str:
    report = result.report
    rows = [
        (name, one.mae_w, one.nde, one.sae, one.ea, one.f1, one.event_f1, f"{one.threshold_w:g}")
        for name, one in sorted(report.appliances.items(), key=lambda item: -item[1].share)
    ]
    rounded = [[f"{v:.3f}" if isinstance(v, float) else v for v in row] for row in rows]
    head = ("appliance", "MAE W", "NDE", "SAE", "EA", "F1", "event F1", "on from W")
    verdict = f"EA {report.ea:.3f}; predicting zero {report.ea_zero:.3f}, the mean {report.ea_mean:.3f}"
    size = f"{result.rows} rows of {result.recording.period_s:g} s; unexplained {report.unexplained:.1%} of the mains"
    size += "" if math.isnan(report.ece) else f"; confidence is off by {report.ece:.1%}"
    return f"{verdict}\n{size}\n\n{table(head, rounded)}"
