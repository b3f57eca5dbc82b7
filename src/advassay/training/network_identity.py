"""What names a classifier: the content it is made from, known before it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advassay.errors import TrainingError
from advassay.identity import content_hash
from advassay.models.weight_files import file_sha256
from advassay.spec.study_spec import TrainingSpec
from advassay.training.start_weights import start_weights_path
from advassay.training.training_data import TrainingCohort, labels_of
from advassay.training.training_loop import updates_for

PROCEDURE = 1
"""Raised when the training procedure changes such that the same spec gives another network."""


def classifier_identity(
    cohort: TrainingCohort,
    spec: TrainingSpec,
    *,
    train_ids: Sequence[str],
    seed: int,
    data: Path | None,
    updates: int | None = None,
    start_weights_sha256: str | None = None,
) -> str:
    """Hash of everything that decides the network: 16 hex digits.

    Training and selection images with their labels (as sets: their order does not matter), how they were prepared,
    the spec, the seed, the number of updates (None: what the spec gives for the full training split) and the bytes of
    the start weights. Names of files and cohorts do not enter, nor do validation images unless they choose the
    checkpoint. `start_weights_sha256` stands for the file of start weights where a store was moved away from it.
    Raises TrainingError for training images of another role and for missing start weights.
    """
    refuse_leaks(cohort, train_ids)
    prepared = cohort.preparation
    start = start_weights_sha256 if start_weights_sha256 is not None else _start_weights(data, spec.weights)
    return content_hash(
        {
            "procedure": PROCEDURE,
            "training": _labelled(cohort, train_ids),
            "selection": _labelled(cohort, selection_ids(cohort, spec)),
            "classes": len(prepared.class_names),
            "image_type": prepared.image_type,
            "image_size_px": prepared.image_size_px,
            "channels": prepared.channels,
            "bits": prepared.bits,
            "scaling": prepared.scaling,
            "resize": prepared.resize,
            "spec": spec.model_dump(mode="json", exclude={"weights", "updates", "epochs"}),
            "updates": updates if updates is not None else updates_for(spec, len(cohort.ids("training"))),
            "seed": seed,
            "start_weights": start,
        }
    )


def _start_weights(data: Path | None, weights: str | None) -> str | None:
    path = start_weights_path(data, weights)
    return file_sha256(path) if path else None


def selection_ids(cohort: TrainingCohort, spec: TrainingSpec) -> list[str]:
    """The images that choose the checkpoint: the tuning part, or by name the validation images."""
    return cohort.ids(spec.select_on)


def refuse_leaks(cohort: TrainingCohort, train_ids: Sequence[str]) -> None:
    """Raise TrainingError unless `train_ids` are distinct images of the training part, some at least."""
    allowed = set(cohort.ids("training"))
    outside = [image_id for image_id in train_ids if image_id not in allowed]
    if outside or not train_ids or len(set(train_ids)) < len(train_ids):
        raise TrainingError(
            f"train_ids: expected distinct images of the cohort's training part, got {len(train_ids)} "
            f"({len(set(train_ids))} distinct), {len(outside)} of them of another role or unknown.",
            "Take them from the cohort's ids('training') or training_subset(size, seed).",
        )


def _labelled(cohort: TrainingCohort, image_ids: Sequence[str]) -> list[list[str | int]]:
    ordered = sorted(image_ids)
    return [[image_id, int(label)] for image_id, label in zip(ordered, labels_of(cohort, ordered), strict=True)]
