"""`attack --model`: the default arms of a study on a model of any maker and a folder per class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from advassay.errors import SpecError, TrainingError
from advassay.records import RunHeader
from advassay.study.environment import RunEnvironment
from advassay.study.run.external_model import (
    ExternalModel,
    attack_external_model,
    attack_loaded_model,
)
from advassay.workflows.evaluated_images import opened_images
from advassay.workflows.evaluated_model import ModelOptions, check_classes, open_model, prove_on_cohort
from advassay.workflows.evaluation_study import cohort_fields, positive_class_of, prepared_side
from advassay.workflows.image_source import ImageOptions, named_classes

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort
    from advassay.model_document import ModelProof


def attack_model(
    model: str,
    images: Path,
    site: RunEnvironment,
    options: ModelOptions,
    *,
    overrides: Sequence[str] = (),
    announce: Callable[[str], None] | None = None,
) -> list[RunHeader]:
    """Attack `model`, a path or a text as `evaluate` takes it, on every image of `images`, a folder per class.

    A checkpoint of `train` says itself how images are prepared. Any other model is proved on the prepared images
    before the first step; its classes are its own names, or those of the folders, sorted. `overrides` change the
    attack, e.g. "attack.images=40"; `announce` is told the proof. Returns the runs' headers. Raises TrainingError,
    ClassifierError, CohortError or SpecError.
    """
    from advassay.training import checkpoint_metadata

    try:
        checkpoint_metadata(Path(model))
    except TrainingError:
        pass
    else:
        given = [
            *options.given,
            *(["class_names"] if options.class_names else []),
            *(["size"] if options.size_px else []),
        ]
        if given:
            raise SpecError(
                f"{', '.join(given)}: the checkpoint says how it takes images, got both.", "Leave the options out."
            )
        return attack_external_model(Path(model), images, site, overrides=overrides)
    opened = open_model(model, options, site.device)
    folders = sorted(e.name for e in images.iterdir() if e.is_dir() and e.name[0] != ".") if images.is_dir() else []
    names = opened.class_names or named_classes(folders, ImageOptions(), f"the subfolders of {images.name}")
    with opened_images(images, None, ImageOptions(names), store=site.store.root) as found:
        side, fields = prepared_side(opened, found), cohort_fields(opened, found, None)
    positive, by = positive_class_of(names, None, opened.positive)
    if by == "last" and announce is not None:
        announce(f"Positive class, whose detection is sensitivity: {positive}, the last one; the names do not say it.")
    described = ExternalModel(
        architecture=opened.architecture,
        identity=opened.sha256,
        class_names=names,
        positive=positive,
        image_size_px=side,
        channels=fields.get("channels"),
        resize=opened.resize,
        scaling=opened.scaling,
        image_type=opened.image_type or "images",
    )

    def prove(cohort: PreparedCohort) -> ModelProof | None:
        check_classes(opened, cohort)
        for sentence in prove_on_cohort(opened, cohort, site.store):
            if announce is not None:
                announce(sentence)
        return opened.proof

    return attack_loaded_model(described, images, site, opened, prove, sha256=opened.sha256, overrides=overrides)
