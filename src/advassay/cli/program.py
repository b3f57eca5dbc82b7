"""The program: its verbs in the order of a study."""

from __future__ import annotations

from typing import Annotated

import typer

from advassay.cli.analyse import analyse
from advassay.cli.attack import AttackCommand, attack
from advassay.cli.compare import compare
from advassay.cli.conclusions import conclusions
from advassay.cli.datasets import datasets
from advassay.cli.demo import demo
from advassay.cli.doctor import doctor
from advassay.cli.evaluate import evaluate
from advassay.cli.forget import forget
from advassay.cli.init import init
from advassay.cli.label import label
from advassay.cli.merge import merge
from advassay.cli.phantoms import phantoms
from advassay.cli.plan import plan
from advassay.cli.power import power
from advassay.cli.prepare import prepare
from advassay.cli.prune import prune
from advassay.cli.regions import regions
from advassay.cli.report import report
from advassay.cli.run import run
from advassay.cli.schema import schema
from advassay.cli.select import select
from advassay.cli.status import status
from advassay.cli.tiles import tiles
from advassay.cli.train import train

VERBS = (
    demo,
    evaluate,
    init,
    plan,
    power,
    run,
    select,
    regions,
    prepare,
    train,
    attack,
    analyse,
    conclusions,
    report,
    compare,
    status,
    merge,
    prune,
    forget,
    doctor,
    schema,
    label,
    phantoms,
    tiles,
    datasets,
)

app = typer.Typer(
    name="advassay",
    help="Measure how the success of adversarial attacks on biomedical image classifiers depends on image type, "
    "amplitude, iterations, confidence and training-set size.\n\nExample:\n\n    advassay demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for verb in VERBS:
    app.command(cls=AttackCommand if verb is attack else None)(verb)


def _version(asked: bool) -> None:
    if asked:
        from advassay import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the command `advassay`."""
    app()
