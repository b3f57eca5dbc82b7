"""`advassay evaluate`: how much must an image change before this model errs?"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from advassay.cli import options
from advassay.cli.error_handling import cli_errors, say
from advassay.cli.model_options import (
    Channels,
    Classes,
    Mean,
    Size,
    Std,
    Trust,
    ValueRange,
    class_names,
    numbers,
    value_range_of,
)
from advassay.cli.options import tune_for
from advassay.cli.progress_bars import progress

if TYPE_CHECKING:
    from advassay.workflows.evaluation_result import Estimate, EvaluationResult
    from advassay.workflows.requirement_gate import Outcome


COLUMNS = {
    "format_version": "1",
    "store": "folder of the store",
    "report": "path of the page",
    "model": "what records call the model",
    "answer": "the first sentences, as printed and as the page begins with",
    "weak_attack": "whether the attack missed planted adversarials: low success rates then do not show robustness",
    "epsilon50": "amplitude at which half of the images that the model gets right are misclassified: value, low, high "
    "as fractions of [0, 1] (null where the data do not determine them), n images, text in grey levels of 255, level",
    "accuracy": "share of the attacked images that the model gets right before the attack, likewise",
    "rows": "one for each arm, step size and amplitude: cohort, arm, step_size, epsilon, epsilon_255, n, events, rate, "
    "low, high, method",
    "planted": "the active test: images, found, one_step, noise, left_out and how it was made; null: not run",
    "requirements": "of each --require: text, met, compared (the end of the interval that was compared), found",
    "notes": "what a reader of the numbers should know, in sentences",
}
"""Key → meaning."""


class PresetOption(StrEnum):
    """What is attacked with."""

    quick = "quick"
    standard = "standard"
    full = "full"


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Checkpoint of `advassay train`, Hugging Face folder, TorchScript, .pt2, ONNX or Keras file, "
        "timm:NAME@FILE, xrv:NAME@FILE, or FILE.py:FUNCTION with --trust. Proved on the images before the first step.",
        show_default=False,
    ),
]
Images = Annotated[
    Path,
    typer.Argument(
        metavar="IMAGES",
        help="Folder with a subfolder per class (without subfolders: no labels), a table (.csv, .tsv, .parquet) with "
        "columns image, label and patient_id, an .npz with images and labels, or the folder of a prepared cohort.",
        show_default=False,
    ),
]
Store = Annotated[
    Path, typer.Option("--store", metavar="FOLDER", help="Folder that everything is written to, reused to continue.")
]
Preset = Annotated[
    PresetOption,
    typer.Option(
        "--preset",
        help="quick: a minute on a small model, 32 images; standard: finds the amplitudes first, two losses, all "
        "controls; full: also the worst-case suite and the reference study's arms.",
    ),
]
PatientPattern = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--patient-pattern",
        metavar="REGEX",
        help='Regular expression on file names whose first group is the patient, e.g. "^(person[0-9]+)_".',
    ),
]
LabelColumn = Annotated[str, typer.Option("--label-column", metavar="NAME", help="Of a table: the class.")]
ImageColumn = Annotated[str, typer.Option("--image-column", metavar="NAME", help="Of a table: the image's path.")]
PatientColumn = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--patient-column", metavar="NAME", help="Of a table: the patient; patient_id if not given."),
]
Positive = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--positive", metavar="CLASS", help="The class whose detection is sensitivity."),
]
ImageType = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--image-type", metavar="TEXT", help="What the images are, e.g. X-ray or histology."),
]
Require = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--require",
        metavar="TEXT",
        help="What must be shown, e.g. 'robust_accuracy@2/255 >= 0.5': the lower end of the interval is compared (the "
        "upper one for <=). Also attack_success_rate@EPSILON, accuracy, epsilon50. Repeatable; exit code 8 if not met.",
    ),
]
Sarif = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--sarif", metavar="FILE", help="Write the requirements and what was found as SARIF 2.1.0."),
]
Junit = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--junit", metavar="FILE", help="Write them as JUnit XML."),
]
Findings = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--finding",
        metavar="NAME",
        help="Of a multi-label model: the output that is decided. A,B,C or all: each is attacked by itself, in a store "
        "of its own below --store, and robust accuracy of all together is printed.",
    ),
]
Limit = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--limit", min=1, metavar="N", help="Attack at most so many images."),
]


@cli_errors
def evaluate(
    model: Model,
    images: Images,
    store: Store = Path("runs/evaluation"),
    preset: Preset = PresetOption.standard,
    mean: Mean = None,
    std: Std = None,
    value_range: ValueRange = None,
    classes: Classes = None,
    channels: Channels = None,
    finding: Findings = None,
    trust: Trust = False,
    size: Size = None,
    patient_pattern: PatientPattern = None,
    label_column: LabelColumn = "label",
    image_column: ImageColumn = "image",
    patient_column: PatientColumn = None,
    positive: Positive = None,
    image_type: ImageType = None,
    require: Require = None,
    sarif: Sarif = None,
    junit: Junit = None,
    limit: Limit = None,
    device: options.DeviceOption = options.Device.auto,
    threads: options.Threads = None,
    key_file: options.KeyFile = None,
    as_json: options.Json = False,
    quiet: options.QuietOption = False,
    verbose: options.VerboseOption = False,
) -> None:
    """Attack a model of any maker on your images and print how much an image must change before it errs.

    The images become a prepared cohort of the store, the model its network; attacks, controls, planted adversarials,
    tables and the page follow as for a study. Before it begins it says what it will cost. Stopped at any point, the
    same command continues. Prints the answer, then where the report is. Images without labels are judged against the
    model's own decisions.
    With several findings --json prints {format_version, findings: NAME → the same, rows: of finding_robustness.csv}.
    Exit code 8: a requirement of --require is not shown to hold; all other codes as for every verb.

    Example:

        advassay evaluate model.safetensors images --store runs/mine --preset quick --require 'accuracy >= 0.8'
    """
    from advassay.errors import SpecError
    from advassay.study.environment import choose_device
    from advassay.workflows.model_evaluation import evaluate as evaluate_model
    from advassay.workflows.requirement_gate import UNMET, parse_requirement, write_junit, write_sarif

    required = [parse_requirement(text) for text in require or ()]
    if (sarif or junit) and not required:
        raise SpecError("--sarif, --junit: they hold requirements, got none.", "Add --require TEXT.")
    tune_for(choose_device(device.value), verbose=verbose)
    asked: dict[str, Any] = dict(
        store=store, preset=preset.value, mean=numbers("--mean", mean), std=numbers("--std", std),
        value_range=value_range_of(value_range), channels=channels, class_names=class_names(classes), trust=trust,
        size_px=size, patient_pattern=patient_pattern, label_column=label_column, image_column=image_column,
        patient_column=patient_column, positive=positive, image_type=image_type, limit=limit, device=device.value,
        threads=threads, key_file=key_file, announce=say,
    )  # fmt: skip
    if (findings := several_findings(finding)) is not None:
        if required:
            raise SpecError("--require: a requirement is of one finding, got several findings.", "Evaluate each alone.")
        _evaluate_findings(model, images, findings, asked, as_json=as_json, quiet=quiet)
        return
    with progress(quiet or as_json) as shown:
        result = evaluate_model(model, images, finding=finding, require=require or (), progress=shown, **asked)
        page = result.report(progress=shown)
    outcomes = [requirement.check(result) for requirement in required]
    if sarif is not None:
        from advassay import __version__

        write_sarif(sarif, outcomes, result.answer.model, __version__)
    if junit is not None:
        write_junit(junit, outcomes, result.answer.model)
    if as_json:
        print(json.dumps(_as_data(result, outcomes, page), ensure_ascii=False, indent=1))
    else:
        for note in result.notes:
            say(f"Note: {note}")
        for sentence in (*result.answer.sentences, *(outcome.sentence for outcome in outcomes)):
            print(sentence)
        print(page)
    if not all(outcome.met for outcome in outcomes):
        raise typer.Exit(UNMET)


def several_findings(text: str | None) -> str | list[str] | None:
    """What --finding names where it names more than one: "all", or a list; None for one finding or none.

    >>> several_findings("all"), several_findings("Edema, Effusion"), several_findings("Edema")
    ('all', ['Edema', 'Effusion'], None)
    """
    if text is None or text == "all":
        return text
    names = [name.strip() for name in text.split(",") if name.strip()]
    return names if len(names) > 1 else None


def _evaluate_findings(
    model: str, images: Path, findings: str | list[str], asked: dict[str, Any], *, as_json: bool, quiet: bool
) -> None:
    """Evaluate each finding, and print what is left of each and of all together."""
    from advassay.workflows.findings_evaluation import evaluate_findings

    with progress(quiet or as_json) as shown:
        found = evaluate_findings(model, images, findings=findings, progress=shown, **asked)
        pages = {name: result.report(progress=shown) for name, result in found.results.items()}
    if as_json:
        data = {name: _as_data(result, [], pages[name]) for name, result in found.results.items()}
        rows = found.table.to_dicts()
        print(json.dumps({"format_version": 1, "findings": data, "rows": rows}, ensure_ascii=False, indent=1))
        return
    for name, result in found.results.items():
        print(f"{name}: {result.answer.sentences[0]}")
        print(pages[name])
    for sentence in found.sentences:
        print(sentence)


def _as_data(result: EvaluationResult, outcomes: list[Outcome], page: Path) -> dict[str, Any]:
    """What --json prints."""
    answer = result.answer
    return {
        "format_version": 1,
        "store": str(result.store),
        "report": str(page),
        "model": answer.model,
        "answer": list(answer.sentences),
        "weak_attack": answer.weak,
        "epsilon50": _plain(result.epsilon50),
        "accuracy": _plain(result.accuracy),
        "rows": result.to_polars().to_dicts(),
        "planted": answer.evaluation.planted.model_dump() if answer.evaluation and answer.evaluation.planted else None,
        "requirements": [
            {"text": one.requirement.text, "met": one.met, "compared": one.compared, "found": _plain(one.found)}
            for one in outcomes
        ],
        "notes": list(result.notes),
    }


def _plain(found: Estimate) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("value", "low", "high", "n", "text", "level")}
