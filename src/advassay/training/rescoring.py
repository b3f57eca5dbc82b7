"""The scores of a stored network on a cohort that was described or split anew since it was trained."""

from __future__ import annotations

from pathlib import Path

from advassay.checked_files import write_document
from advassay.documents import TrainingDocument
from advassay.layout import MODEL, TRAINING
from advassay.training.checkpoint import checkpoint_metadata, load_classifier
from advassay.training.data import TrainingCohort
from advassay.training.pipeline import score


def rescored(document: TrainingDocument, cohort: TrainingCohort, folder: Path, device: str = "cpu") -> TrainingDocument:
    """The document with scores of the cohort as it is now; written to `folder` where anything had changed.

    A network's identity holds its training images, not who is in the validation part, which class is positive or what
    classes are called: those may change while the network stays. Nothing is trained.
    Raises TrainingError for weights that cannot be read.
    """
    prepared = cohort.preparation
    positive = document.positive or checkpoint_metadata(folder / MODEL).positive
    scored = (document.cohort, document.cohort_identity, document.class_names, positive)
    if scored == (prepared.cohort, prepared.identity, prepared.class_names, prepared.positive):
        return document
    classifier = load_classifier(folder / MODEL, device)
    tuning = cohort.ids("tuning")
    renewed = document.model_copy(
        update={
            "cohort": prepared.cohort,
            "cohort_identity": prepared.identity,
            "class_names": prepared.class_names,
            "positive": prepared.positive,
            "full": document.train_size == len(cohort.ids("training")),
            "validation": score(classifier, cohort, cohort.ids("validation"), device),
            "tuning": score(classifier, cohort, tuning, device) if tuning else None,
        }
    )
    write_document(folder / TRAINING, renewed, indent=1)
    return renewed
