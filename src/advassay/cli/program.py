"""The program: its verbs, in groups."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from advassay.cli.analyse import analyse
from advassay.cli.attack import AttackCommand, attack
from advassay.cli.compare import compare
from advassay.cli.conclusions import conclusions
from advassay.cli.datasets import datasets
from advassay.cli.demo import demo
from advassay.cli.doctor import doctor
from advassay.cli.error_handling import EXIT_CODES
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
from advassay.cli.sync import sync
from advassay.cli.tiles import tiles
from advassay.cli.train import train
from advassay.cli.transfer import transfer
from advassay.cli.view import view

GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Begin": (demo, init, datasets, phantoms, doctor),
    "Evaluate a model": (evaluate,),
    "Run a study": (plan, power, run, status),
    "Stages of a study": (select, regions, prepare, train, attack, transfer),
    "Read the results": (conclusions, analyse, report, compare, view),
    "Look after a store": (merge, sync, prune, forget),
    "Make tables of images and labels": (tiles, label),
    "Reference": (schema,),
}
"""Heading of the help → its verbs."""
VERBS = tuple(verb for verbs in GROUPS.values() for verb in verbs)


class VerbGroup(TyperGroup):
    """The program's help: verbs under headings, whole summaries, the exit codes."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for heading, verbs in GROUPS.items():
            with formatter.section(heading):
                formatter.write_dl([(verb.__name__, summary_of(self.commands[verb.__name__])) for verb in verbs])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


def summary_of(command: Any) -> str:
    """The first paragraph of a verb's help, on one line."""
    return " ".join(inspect.cleandoc(command.help).partition("\n\n")[0].split())


app = typer.Typer(
    name="advassay",
    cls=VerbGroup,
    help="Measure how the success of adversarial attacks on biomedical image classifiers depends on image type, "
    "amplitude, iterations, confidence and training-set size.\n\nExample:\n\n    advassay demo\n\n"
    "`advassay VERB --help` shows the options of a verb.",
    no_args_is_help=True,
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
