"""`advassay power`: how large a study must be for each of the five verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors
from advassay.cli.options import StudyOptions

if TYPE_CHECKING:
    from advassay.analysis.conclusions.study_power import Design, Power
    from advassay.spec.study_spec import AttackSpec
    from advassay.study.plan.image_counts import PlannedDesign

COLUMNS = {
    "number": "question, 1 to 5; 6 and 7 where the study asks them",
    "title": "its short name",
    "verdict": "the verdict that the assumed effect deserves",
    "assumed": "the effect that is assumed",
    "power": "chance of that verdict with the study as declared, in [0, 1]",
    "images": "attackable images a cohort that reach the target, the cohorts as declared; null = out of reach",
    "cohorts": "cohorts that reach it (question 2: of each type; question 5: networks of each size), the images as "
    "declared; null = out of reach",
}

Change = Annotated[
    float, typer.Option("--change", metavar="D", help="Question 1: change of success per doubling of ε.")
]
Types = Annotated[float, typer.Option("--type-ratio", metavar="R", help="Question 2: ratio of ε50 of the image types.")]
Confident = Annotated[
    float, typer.Option("--confidence-ratio", metavar="R", help="Question 4: ratio of ε50 of confident images.")
]
Between = Annotated[
    float, typer.Option("--between-cohorts", metavar="SD", help="Standard deviation of ln ε50 between cohorts.")
]
Trainings = Annotated[
    float, typer.Option("--between-trainings", metavar="SD", help="Standard deviation of ln ε50 between trainings.")
]
Accuracy = Annotated[
    float, typer.Option("--accuracy", metavar="A", help="Clean accuracy: the share of images that can be attacked.")
]
PerPatient = Annotated[float, typer.Option("--images-per-patient", metavar="M", help="Images of one patient.")]
Target = Annotated[float, typer.Option("--target", metavar="P", help="Chance of the verdict that is wanted.")]


@cli_errors
def power(
    study: options.StudyFile,
    store: options.StoreFolder = None,
    data: options.Data = None,
    scale: options.Scale = 1.0,
    source: options.SourceOption = None,
    changes: options.Set = None,
    change: Change = 0.05,
    types: Types = 2.0,
    confident: Confident = 1.5,
    between: Between = 0.3,
    trainings: Trainings = 0.1,
    accuracy: Accuracy = 0.9,
    per_patient: PerPatient = 1.0,
    target: Target = 0.8,
    as_json: options.Json = False,
) -> None:
    """Print how likely each of the five verdicts is, and how many images, cohorts or networks would make it so.

    Nothing is run. The study's design is taken as declared; the effects and spreads are yours to state, and the printed
    chances hold only as far as they do.

    Example:

        advassay power studies/demo.yaml --type-ratio 3
    """
    from advassay.analysis.conclusions.study_power import Assumed, study_power
    from advassay.study.plan.image_counts import planned_design

    asked = StudyOptions(study, store, data, options.Device.auto, None, scale, source, changes, None, quiet=True)
    read = asked.read()
    with asked.site(read, needs_device=False) as here:
        declared = planned_design(read, here)
    assumed = Assumed(
        change_per_doubling=change, ratio_of_types=types, ratio_of_confidence=confident, between_cohorts=between,
        between_trainings=trainings,
    )  # fmt: skip
    found = study_power(
        _design(declared, read.analysis.image_types, accuracy, per_patient, read.attack),
        assumed,
        read.analysis,
        target,
    )
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
        return
    fewest = min(declared.images.values())
    amplitudes, cohorts = len(declared.doses), len(declared.images)
    print(f"Arm {declared.arm}, {amplitudes} amplitudes, {cohorts} cohorts, at least {fewest} images each")
    _print(found, target)


def _design(
    declared: PlannedDesign, image_types: tuple[str, str], accuracy: float, per_patient: float, attack: AttackSpec
) -> Design:
    from advassay.analysis.conclusions.evidence import kind_of
    from advassay.analysis.conclusions.study_power import Design

    kinds = [kind_of(kind) for kind in declared.image_types.values()]
    first, second = (kinds.count(kind) for kind in image_types)
    images = max(1, round(min(declared.images.values()) * accuracy))
    cohorts = (first, second) if first + second == len(kinds) else (len(kinds) - second, second)
    return Design(
        cohorts,
        images,
        declared.doses,
        declared.sizes,
        declared.seeds,
        per_patient,
        transfer=bool(attack.transfer),
        features=bool(attack.features),
    )


_UNITS = {"cohorts": "", "cohorts of each type": " of each type", "networks of each size": " networks a size"}


def _print(found: list[Power], target: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from advassay.analysis.conclusions.question import question_of

    table = Table(box=None, pad_edge=False)
    for name in ("question", "chance", f"images for {target:.0%}", f"cohorts for {target:.0%}", "if"):
        table.add_column(name)
    for one in found:
        unit = _UNITS[question_of(one.number).power.grows_by]
        table.add_row(
            f"{one.number} {one.title}",
            f"{one.power:.0%}",
            _number(one.images),
            _number(one.cohorts, unit),
            one.assumed,
        )
    Console(highlight=False, markup=False).print(table)


def _number(value: int | None, unit: str = "") -> str:
    return "out of reach" if value is None else f"{value}{unit}"
