"""A model and its images → a store with attacks on it, and the answer: `advassay evaluate`, `advassay.evaluate`.

Nothing here attacks or counts. The model and the images become a study of one cohort whose arms are a preset's; that
study is stored as study.yaml and goes through the stages that every study goes through.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advassay.checked_files import read_model, write_document
from advassay.errors import AdvassayWarning, SpecError, StoreError
from advassay.identity import ID_LENGTH, canonical_float, content_hash
from advassay.progress import Progress, timed_task
from advassay.spec.study_spec import Study
from advassay.store_documents import Evaluation, PlantedTest
from advassay.study.config.name_checks import check_arms
from advassay.study.environment import Device, RunEnvironment, make_environment
from advassay.study.jobs import ATTACK
from advassay.study.range_search import searches
from advassay.study.run.attacked_network import given_network
from advassay.study.run.execution_config import WorkloadSize
from advassay.study.run.external_model import attack_prepared_cohort, external_jobs
from advassay.study.run.prepare_stage import prepare_cohort
from advassay.study.run.range_finding import find_ranges
from advassay.study.run_request import RunRequest, run_request
from advassay.study.store_locks import store_lock
from advassay.study.study_storage import store_study
from advassay.workflows.evaluated_images import opened_images
from advassay.workflows.evaluated_model import (
    EvaluatedModel,
    ModelOptions,
    Normalisation,
    check_classes,
    open_model,
    prove_on_cohort,
)
from advassay.workflows.evaluation_result import EvaluationResult
from advassay.workflows.evaluation_study import (
    cohort_fields,
    evaluation_study,
    join_amplitudes,
    numbered_classes,
    positive_class_of,
    prepared_side,
)
from advassay.workflows.image_source import EvaluatedImages, ImageOptions
from advassay.workflows.model_decisions import labelled_by_model
from advassay.workflows.presets import DECIDING, GREY_LEVELS, SHOWN_EPSILON, Preset, left_out, preset_named
from advassay.workflows.requirement_gate import Requirement, parse_requirement

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort
    from advassay.records import RunHeader

EVALUATION_HEALED = "`advassay evaluate` with the same MODEL, IMAGES and --store writes it anew."
BEYOND = 2.0
"""Amplitudes of whole grey levels up to so many times the largest found one are attacked too."""
MEASURED_BATCH = 8
"""Images of the gradients that tell how fast this machine is."""

Announce = Callable[[str], None]


@dataclass(frozen=True)
class EvaluationCost:
    """What an evaluation takes, known before it begins."""

    preset: str
    images: int
    gradient_steps: int
    """Gradients of one image: of the attacks, their controls, range-finding and planted adversarials, at most."""
    seconds: float
    """At the speed of a few gradients of the unmodified model on this machine."""

    def __str__(self) -> str:
        return (
            f"{self.preset}: {self.images:,} images, at most {self.gradient_steps:,} gradient steps with all controls, "
            f"about {_duration(self.seconds)} on this machine; then the report."
        )


def evaluate(
    model: Any,
    images: Any,
    labels: Any = None,
    *,
    store: str | os.PathLike[str],
    preset: str = "standard",
    patients: Any = None,
    mean: Normalisation | None = None,
    std: Normalisation | None = None,
    value_range: tuple[float, float] | None = None,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    finding: str | int | None = None,
    trust: bool = False,
    size_px: int | None = None,
    patient_pattern: str | None = None,
    label_column: str = "label",
    image_column: str = "image",
    patient_column: str | None = None,
    positive: str | None = None,
    image_type: str | None = None,
    limit: int | None = None,
    require: str | Sequence[str] = (),
    device: Device = "auto",
    threads: int | None = None,
    key_file: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> EvaluationResult:
    """How much must an image change before this model errs? Attacks it in a store, and gives the numbers.

    `model`: any torch module, a function of images made of torch operations, a Classifier, or a model file.
    `images`: a folder with a subfolder per class, a table (CSV, TSV, Parquet) with columns image, label, patient_id, an
    .npz with images and labels, the folder of a prepared cohort; or an array or tensor, floats (image, channel, height,
    width) in [0, 1] or 8- or 16-bit. `labels`: of arrays, one class index or name an image; where images have no
    labels, the model's own decisions stand for them. `patients`: of arrays, one an image.
    `store`: a folder; the same call continues there and computes only what is missing.
    `preset`: quick | standard | full (see workflows/presets.py); `limit`: attack at most so many images.
    `mean`, `std` (of images in [0, 1]), `value_range` (what black and white become for the model: (0, 255)),
    `channels`, `class_names` (in the order of the logits), `finding` (the output of a multi-label model): as for
    load_model. `positive`: the class whose detection is sensitivity. `size_px`: side of the square images that the
    model takes; by default what it says, or the images' own. `require`: as --require, e.g. "robust_accuracy@2/255 >=
    0.5": its amplitudes are attacked too. `key_file`: secret key of the patients' pseudonyms. `announce` is told the
    cost before it begins.

    Returns an EvaluationResult: .epsilon50, .robust_accuracy("2/255"), .to_polars(), .plot(), .report(path), .notes.
    Raises SpecError, SourceError, CohortError, InputError, ClassifierError or StoreError, saying what to change.

    >>> import tempfile, torch
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    >>> images, folder = torch.rand(8, 1, 8, 8), tempfile.mkdtemp()
    >>> result = evaluate(network, images, network(images).argmax(1), store=folder + "/mine", preset="quick")
    >>> result.robust_accuracy("16/255").n
    8
    """
    chosen = preset_named(preset)
    if limit is not None and limit < 1:
        raise SpecError(f"limit: expected 1 image or more, got {limit}.", "Leave it out for the preset's number.")
    required = [parse_requirement(text) for text in ([require] if isinstance(require, str) else require)]
    site = make_environment(
        Path(store),
        device=device,
        threads=threads,
        key_file=None if key_file is None else Path(key_file),
        progress=progress,
    )
    names = None if class_names is None else tuple(class_names)
    asked = ModelOptions(mean, std, value_range, channels, names, finding, trust, size_px)
    opened = open_model(model, asked, site.device)
    options = ImageOptions(opened.class_names, patient_pattern, label_column, image_column, patient_column)
    with (
        store_lock(site.store),
        opened_images(images, labels, options, patients=patients, store=site.store.root) as given,
    ):
        _check_store(site, opened)
        study, document, cohort = _prepared(opened, given, chosen, preset, site, size_px, positive, image_type, limit)
        study = _within_the_grid(study, cohort, opened, chosen, required, site, preset, announce)
        headers = attack_prepared_cohort(
            study, cohort.preparation.cohort, site, opened, architecture=opened.architecture, sha256=opened.sha256,
            proof=opened.proof,
        )  # fmt: skip
        planted = _planted(study, cohort, opened, chosen, document.planted, site)
        write_document(site.store.evaluation, document.model_copy(update={"planted": planted}))
    return EvaluationResult(site.store.root, notes=_notes(document, cohort, headers))


# ---- the study ------------------------------------------------------------------------------------------------------


def _prepared(
    model: EvaluatedModel,
    given: EvaluatedImages,
    preset: Preset,
    preset_name: str,
    site: RunEnvironment,
    size_px: int | None,
    positive: str | None,
    image_type: str | None,
    limit: int | None,
) -> tuple[Study, Evaluation, PreparedCohort]:
    """The study as it is stored, the evaluation's document, and the prepared cohort."""
    from advassay.cohorts import open_cohort

    side = prepared_side(model, given)
    fields = cohort_fields(model, given, image_type)
    names = model.class_names or tuple(given.classes) or numbered_classes(model, given, side)
    wanted = (
        nullcontext(given)
        if given.labelled
        else labelled_by_model(given, model.decisions, names, fields, side, site.store.root)
    )
    with wanted as images:
        chosen, positive_by = positive_class_of(tuple(images.classes), positive, model.positive)
        study = evaluation_study(model, images, preset, side, fields, chosen, limit)
        check_arms(study.attack)
        store_study(site.store, study)
        with warnings.catch_warnings():
            if not images.names_patients:  # a table may name patients, this one does not
                warnings.filterwarnings("ignore", "pseudonyms are keyed", AdvassayWarning)
            prepare_cohort(study, images.name, replace(site, data=images.data))
    cohort = open_cohort(site.store.cohort(given.name))
    check_classes(model, cohort)
    absent = left_out(preset, len(cohort.preparation.class_names)).values()
    notes = (*model.notes, *given.notes, *prove_on_cohort(model, cohort, site.store), *absent)
    document = Evaluation(
        preset=preset_name,
        architecture=model.architecture,
        classifier=model.sha256[:ID_LENGTH],
        weights_sha256=model.sha256,
        labels="given" if given.labelled else "model",
        positive_by=positive_by,
        notes=notes,
        planted=_kept_evaluation(site).planted if site.store.evaluation.exists() else None,
    )
    write_document(site.store.evaluation, document)
    return study, document, cohort


def _check_store(site: RunEnvironment, model: EvaluatedModel) -> None:
    """Raise StoreError where the store holds the evaluation of another model."""
    if not site.store.evaluation.exists():
        return
    held = _kept_evaluation(site)
    if held.weights_sha256 != model.sha256:
        raise StoreError(
            f"store: {site.store.root} holds the evaluation of another model, or of the same weights used otherwise "
            f"({held.architecture}, {held.weights_sha256[:8]}), got {model.architecture}, {model.sha256[:8]}.",
            "Use another --store; `advassay compare` puts two stores side by side.",
        )


def _kept_evaluation(site: RunEnvironment) -> Evaluation:
    return read_model(site.store.evaluation, Evaluation, EVALUATION_HEALED)


# ---- amplitudes and cost --------------------------------------------------------------------------------------------


def _within_the_grid(
    study: Study,
    cohort: PreparedCohort,
    model: EvaluatedModel,
    preset: Preset,
    required: Sequence[Requirement],
    site: RunEnvironment,
    preset_name: str,
    announce: Announce | None,
) -> Study:
    """The study with its amplitudes, found where the preset leaves them open; its cost is told before that."""
    if announce is not None:
        announce(str(cost_of(study, cohort, model, preset, site, preset_name)))
    own = [name for name, arm in preset.arms.items() if "epsilons" not in arm and name in study.attack.arms]
    asked = [requirement.epsilon for requirement in required if requirement.epsilon is not None]
    grid = list(preset.epsilons or ())
    if study.attack.auto_arms:
        work = WorkloadSize(*_requests(study, cohort, model))
        network = given_network(model, model.architecture, model.sha256)
        found = find_ranges(study, cohort, network, lambda kind: work, site)
        grid = list(found.attack.arm(DECIDING).epsilons)
        grey = [e for e in GREY_LEVELS if grid[0] <= e <= BEYOND * grid[-1]]
        asked += [*grey, SHOWN_EPSILON]
    joined = join_amplitudes(grid, asked)
    study = study.with_epsilons({name: join_amplitudes(joined, preset.besides.get(name, ())) for name in own})
    store_study(site.store, study)
    return study


def cost_of(
    study: Study, cohort: PreparedCohort, model: EvaluatedModel, preset: Preset, site: RunEnvironment, name: str
) -> EvaluationCost:
    """Gradient steps that the study takes at most, and their time at the speed of the unmodified model."""
    from advassay.attacks.batch_tuning import attacked, images_per_second
    from advassay.attacks.float32_settings import full_float32
    from advassay.attacks.surrogate.build import build_surrogate

    jobs = _requests(study, cohort, model)
    steps = WorkloadSize(*jobs).steps
    steps += sum(search.gradient_steps * len(search.sample(cohort)) for search in searches(study))
    images = max(len(job.image_ids) for job in jobs)
    steps += min(preset.planted_images, images) * (preset.steps + 1)
    import torch

    example = cohort.images(jobs[0].image_ids[:1])
    batch = min(MEASURED_BATCH, images)
    with model.classifier.attack_mode(), full_float32():
        image = torch.from_numpy(example).to(model.classifier.mean.device)
        speed = images_per_second(attacked(build_surrogate(model.classifier, image, ())), image[0], batch)
    return EvaluationCost(name, images, steps, steps / speed)


def _requests(study: Study, cohort: PreparedCohort, model: EvaluatedModel) -> list[RunRequest]:
    """What the run of each arm is to hold."""
    jobs = external_jobs(study, cohort.preparation.cohort, model.sha256)
    return [run_request(job, cohort) for job in jobs if job.stage == ATTACK]


def _duration(seconds: float) -> str:
    """A time in words, rounded: it is an estimate.

    >>> _duration(0.4), _duration(75), _duration(5400)
    ('1 s', '75 s', '1.5 h')
    """
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


# ---- evidence -------------------------------------------------------------------------------------------------------


def _planted(
    study: Study,
    cohort: PreparedCohort,
    model: EvaluatedModel,
    preset: Preset,
    kept: PlantedTest | None,
    site: RunEnvironment,
) -> PlantedTest:
    """The active test of the deciding arm, at the attacked amplitude nearest to the first sentences'."""
    from advassay.attacks.suite.planted_adversarials import READOUTS, run_planted_test

    arm = study.attack.arm(DECIDING)
    epsilon = min(arm.epsilons, key=lambda e: abs(e - SHOWN_EPSILON))
    ids = cohort.attack_sample(arm.images)[: preset.planted_images]
    attack = arm.attack(epsilon, arm.step_sizes[0]).model_dump(mode="json")
    asked = content_hash([attack, READOUTS, cohort.preparation.identity, list(ids)])
    if kept is not None and kept.request == asked:
        return kept
    with timed_task(site.progress, f"planted adversarials of arm {DECIDING}"):
        found = run_planted_test(model(), cohort.images(ids), ids, arm, epsilon, name=DECIDING)
    return found.model_copy(update={"epsilon": canonical_float(epsilon), "request": asked})


def _notes(document: Evaluation, cohort: PreparedCohort, headers: Sequence[RunHeader]) -> tuple[str, ...]:
    """What the reader of a result should know: of the model, the images, and what the attack noticed."""
    told = [*document.notes, *cohort.preparation.warnings, *(note for header in headers for note in header.notes)]
    return tuple(dict.fromkeys(told))
