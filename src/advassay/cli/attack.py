"""`advassay attack`: a study's third stage, or a checkpoint of one's own on one's own images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from typer.core import TyperCommand

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.model_options import (
    Channels,
    Classes,
    Finding,
    Mean,
    Size,
    Std,
    Trust,
    ValueRange,
    class_names,
    numbers,
    value_range_of,
)
from advassay.cli.options import StudyOptions, say_left_out, tune_for
from advassay.cli.output_tables import end_with_errors
from advassay.cli.progress_bars import progress

COLUMNS = {
    "cohort": "the cohort's name",
    "arm": "name of the attack arm",
    "run_id": "folder of the run in STORE/records",
    "images": "images attacked",
    "rows": "trajectories recorded",
}
"""Columns of `attack --json`, one entry for each run."""

if TYPE_CHECKING:
    from advassay.records import RunHeader
    from advassay.study.run.prepare_stage import Failures
    from advassay.workflows.evaluated_model import ModelOptions

StudyOrNothing = Annotated[
    Optional[Path],  # noqa: UP045 (typer reads Optional)
    typer.Argument(metavar="[STUDY]", help="Study file (YAML); leave out with --model.", show_default=False),
]
Model = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--model",
        metavar="MODEL",
        help="Checkpoint (model.safetensors) written by `advassay train`, or a model of another maker, as `advassay "
        "evaluate` takes it: proved on the images before the first step.",
    ),
]
Images = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--images", metavar="FOLDER", help="With --model: one subfolder of images per class of the model."),
]
Store = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--store",
        metavar="FOLDER",
        help="Folder that everything is written to, reused to continue; if not given, runs/NAME of the study, "
        "or runs/own with --model.",
    ),
]


class AttackCommand(TyperCommand):
    """The verb, with the update rules and losses that are registered at the end of its help."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        # Only when help is asked for: it imports the packages that register some.
        from advassay.spec.attack_components import list_components

        for field, parts in list_components().items():
            with formatter.section(f"Values of attack.{field}"):
                formatter.write_dl(list(parts.items()))


@cli_errors
def attack(
    study: StudyOrNothing = None,
    model: Model = None,
    images: Images = None,
    store: Store = None,
    data: options.Data = None,
    device: options.DeviceOption = options.Device.auto,
    threads: options.Threads = None,
    scale: options.Scale = 1.0,
    source: options.SourceOption = None,
    changes: options.Set = None,
    mean: Mean = None,
    std: Std = None,
    value_range: ValueRange = None,
    classes: Classes = None,
    channels: Channels = None,
    finding: Finding = None,
    trust: Trust = False,
    size: Size = None,
    key_file: options.KeyFile = None,
    as_json: options.Json = False,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Attack the networks of a study, or a model of your own on your own images.

    With STUDY: the stages up to the attack, without the report. With --model and --images: every image of the
    folder is attacked by the three arms of the shipped studies; subfolders bear the names of the model's
    classes, and --set changes the attack (--set attack.images=40, --set attack.arms.A.loss=margin). Then:
    `advassay report STORE`.
    A cohort of the study that cannot be formed does not stop the others: its error comes last, and the exit code is 3.

    Example:

        advassay attack --model runs/demo/classifiers/ID/model.safetensors --images my-images --store runs/mine
    """
    from advassay.errors import SpecError

    if (study is None) == (model is None) or (model is None) != (images is None):
        raise SpecError("attack: give STUDY, or --model and --images.", "See `advassay attack --help`.")
    said = {
        "mean": numbers("--mean", mean), "std": numbers("--std", std), "value_range": value_range_of(value_range),
        "channels": channels, "class_names": class_names(classes), "finding": finding, "size_px": size,
    }  # fmt: skip
    if study is not None:
        if trust or any(value is not None for value in said.values()):
            raise SpecError("attack: --mean, --std and the like are about --model, got a study.", "Leave them out.")
        _attack_study(
            StudyOptions(
                study, store, data, device, threads, scale, source, changes, key_file, quiet or as_json, verbose
            ),
            as_json,
        )
        return
    if scale != 1.0 or source is not None:
        raise SpecError("attack --model: --scale and --source change a study.", "Use --set attack.images=N.")
    assert model is not None
    assert images is not None
    from advassay.workflows.evaluated_model import ModelOptions

    own = ModelOptions(trust=trust, **said)  # type: ignore[arg-type]
    kept = store or Path("runs/own")
    _attack_own(model, images, kept, own, device, threads, changes, key_file, quiet or as_json, as_json, verbose)


def _attack_study(asked: StudyOptions, as_json: bool) -> None:
    from advassay.study import attack as attack_study

    read = asked.read()
    failures: Failures = {}
    with asked.site(read, runs_networks=True) as here:
        headers = attack_study(read, here, failures)
    say_left_out(failures, read, here)
    if as_json:
        _print_json(headers)
    elif headers:
        say(f"{len(headers)} runs in {here.store.records}. Next: advassay report {here.store.root}")
    end_with_errors(failures)


def _attack_own(
    model: str,
    images: Path,
    store: Path,
    own: ModelOptions,
    device: options.Device,
    threads: int | None,
    changes: list[str] | None,
    key_file: Path | None,
    quiet: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    from advassay.study import make_environment
    from advassay.workflows.model_attack import attack_model

    with progress(quiet) as shown:
        here = make_environment(store, device=device.value, threads=threads, key_file=key_file, progress=shown)
        tune_for(here.device, verbose=verbose)
        headers = attack_model(model, images, here, own, overrides=changes or (), announce=say)
    if as_json:
        _print_json(headers)
        return
    for header in headers:
        what = f"{header.images} images, {header.rows} trajectories in records/{header.run_id}"
        say(f"{header.cohort}, arm {header.arm}: {what}")
    say(f"Next: advassay report {store}")


def _print_json(headers: Sequence[RunHeader]) -> None:
    rows = [{name: getattr(header, name) for name in COLUMNS} for header in headers]
    print(json.dumps(rows, ensure_ascii=False, indent=2))
