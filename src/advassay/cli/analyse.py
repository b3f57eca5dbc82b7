"""`advassay analyse`: one curve of a store, as a table or JSON."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors
from advassay.cli.options import say_without_runs
from advassay.errors import SpecError
from advassay.store_layout import writing

if TYPE_CHECKING:
    import polars as pl

    from advassay.analysis import Curve


class Over(StrEnum):
    """Variable of the x axis."""

    epsilon = "epsilon"
    step = "step"
    clean_confidence = "clean_confidence"
    train_size = "train_size"


class By(StrEnum):
    """What the images are split by."""

    cohort = "cohort"
    image_type = "image_type"
    class_ = "class"
    direction = "direction"
    arm = "arm"
    step_size = "step_size"


class Success(StrEnum):
    """How an iterate is judged."""

    last = "last"
    any = "any"


OverOption = Annotated[Over, typer.Option("--over", help="Variable of the x axis.")]
ByOption = Annotated[list[By], typer.Option("--by", help="Split the images by this; repeatable.")]
Arm = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--arm", metavar="NAME", help="Attack arm; default: the one that the analysis plan names."),
]
Epsilon = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--epsilon",
        metavar="E",
        help="Amplitude to show; default: the recorded one nearest to 0.02. Not with --over epsilon.",
    ),
]
Step = Annotated[Optional[int], typer.Option("--step", metavar="K", help="Iteration; the last if not given.")]  # noqa: UP045
StepSize = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--step-size", metavar="RULE", help='A recorded step size, or "any"; the first if not given.'),
]
SuccessOption = Annotated[
    Success, typer.Option("--success", help="last: misclassified at iteration K; any: at some iteration up to K.")
]
Robust = Annotated[
    bool, typer.Option("--robust-accuracy", help="Print robust accuracy (all images) in place of the success rate.")
]
Output = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--output", "-o", metavar="FILE", help="Write the rows to FILE as CSV instead of printing them."),
]


@cli_errors
def analyse(
    store: options.StoreArgument,
    over: OverOption = Over.epsilon,
    by: ByOption = [By.cohort],  # noqa: B006 (typer copies it)
    arm: Arm = None,
    epsilon: Epsilon = None,
    step: Step = None,
    step_size: StepSize = None,
    success: SuccessOption = Success.last,
    robust: Robust = False,
    output: Output = None,
    as_json: options.Json = False,
) -> None:
    """Print one curve of a store with n, events, 95% intervals and the method of each. Needs no GPU and no torch.

    Success is over the images first classified correctly; the interval counts patients, not images, where they repeat.

    Example:

        advassay analyse runs/demo --over epsilon --by cohort --step 20 --success last --json
    """
    from advassay.analysis import robust_accuracy_curve, success_curve
    from advassay.analysis.interval_text import with_known_patients
    from advassay.csv_export import write_csv
    from advassay.records import open_records

    if output is not None and output.is_dir():
        raise SpecError(f"output: a file name is needed, {output} is a folder.", f"Name it: {output / 'curve.csv'}")
    make: Callable[..., Curve] = robust_accuracy_curve if robust else success_curve
    records = open_records(store)
    curve = make(
        records, over.value, [name.value for name in by], arm=arm, epsilon=epsilon, step=step,
        step_size=step_size, success=success.value,
    )  # fmt: skip
    frame = with_known_patients(curve.frame, records.preparations)
    say_without_runs(records)
    if output is not None:
        with writing(output) as beside:
            write_csv(frame, beside)
        print(output)
    elif as_json:
        _print_json(frame, quantity=curve.quantity, over=curve.over, success=curve.success, level=curve.level)
    else:
        _print_table(frame, curve.quantity, curve.over)


COLUMNS = {
    "cohort": "cohort id; further columns by --by: class, direction, arm, step_size",
    "image_type": "X-ray, histology, …",
    "arm": "attack arm",
    "step_size": "step size as the arm writes it",
    "train_size": "training images of the network",
    "seed": "seed the network was trained with",
    "epsilon": "amplitude, a fraction of the pixel range",
    "step": "iteration, 0 = clean",
    "rate": "attack success rate over images first classified correctly (--robust-accuracy: share of all images that "
    "are still correct)",
    "low": "lower bound of the 95% interval",
    "high": "upper bound",
    "n": "images counted",
    "events": "of those, misclassified (--robust-accuracy: still correct)",
    "patients": "patients they come from; null where none is known, and then not printed",
    "method": "how the interval was made",
}
"""Of each of `rows`; beside them stand quantity, over, success, level."""

HIDDEN = ("image_type", "train_size", "seed", "bin_low", "bin_high")
"""Columns of the JSON that the printed table leaves out, but for those of what runs along."""
NETWORK = ("train_size", "seed")


def _print_json(frame: pl.DataFrame, **about: object) -> None:
    import json

    print(json.dumps(about | {"rows": frame.to_dicts()}, indent=2, ensure_ascii=False))


def _print_table(frame: pl.DataFrame, quantity: str, over: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=quantity.replace("_", " "), title_justify="left", box=None, pad_edge=False)
    left_out = set(HIDDEN) - set(NETWORK) if over == "train_size" else set(HIDDEN)
    left_out |= {"patients"} if "patients" in frame.columns and not frame["patients"].count() else set()
    shown = [name for name in frame.columns if name not in left_out]
    for name in shown:
        table.add_column(name, justify="right" if frame.schema[name].is_numeric() else "left")
    for row in frame.select(shown).iter_rows(named=True):
        table.add_row(*(_cell(name, value) for name, value in row.items()))
    console = Console(highlight=False)
    console = Console(width=max(console.width, 140), highlight=False) if not console.is_terminal else console
    console.print(table)


def _cell(name: str, value: object) -> str:
    if value is None:
        return "–"
    return (
        f"{value:.3f}" if name in ("rate", "low", "high") else f"{value:g}" if isinstance(value, float) else str(value)
    )
