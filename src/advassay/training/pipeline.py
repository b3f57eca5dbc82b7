"""A cohort → model.safetensors and training.json, once: the same call again returns what is there."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from advassay.checked_files import read_model, write_document
from advassay.classifier import Classifier
from advassay.errors import AdvassayWarning, DamagedError, TrainingError
from advassay.identity import draw
from advassay.models.checkpoint import (
    CheckpointMetadata,
    as_classifier,
    checkpoint_metadata,
    load_classifier,
    versions,
    write_checkpoint,
)
from advassay.models.timm_networks import MEAN, STD, build_network, minimum_image_size, silence_head
from advassay.models.weight_files import file_sha256
from advassay.progress import Progress, Silent
from advassay.spec.study_spec import TrainingSpec
from advassay.store_documents import Scores, TrainingDocument
from advassay.store_layout import MODEL, TRAINING
from advassay.training.evaluation import predict, scores
from advassay.training.network_identity import classifier_identity, selection_ids
from advassay.training.resume_state import PROGRESS
from advassay.training.start_weights import StartWeights, load_start_weights, start_weights_path
from advassay.training.training_data import ImageCache, TrainingCohort, labels_of
from advassay.training.training_loop import Fitted, fit

TISSUE = {"histology", "cytology", "tissue"}
"""Image types without up and down: augmentation turns them by quarters."""


def is_tissue(image_type: str) -> bool:
    """Whether images of this type have no up and down; of a mixture ("a + b"), whether all have none.

    >>> is_tissue(" Histology "), is_tissue("histology + X-ray")
    (True, False)
    """
    return all(part.strip().casefold() in TISSUE for part in image_type.split("+"))


def train(
    cohort: TrainingCohort,
    spec: TrainingSpec,
    *,
    train_ids: Sequence[str],
    seed: int,
    updates: int,
    folder: Path,
    data: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> TrainingDocument:
    """Train one classifier of a cohort by `updates` optimiser updates and write it into `folder`.

    `train_ids`: images of the training part (all, or a member of a size series); `seed`: of this network, on top of
    spec.seed; `data`: the folder start weights are relative to. The tuning part chooses the checkpoint; validation
    images are read once, at the end, to score it. Where `folder` already holds this classifier (same identity, weights
    undamaged), its document is returned and nothing is done. The state is written there at intervals: a run that was
    killed or stopped goes on from it, to the same weights.

    Raises TrainingError: unknown architecture, images too small, ids of another role, a class without training images,
    start weights that do not fit, a folder that holds another classifier, a loss that is not finite.
    """
    identity = classifier_identity(cohort, spec, train_ids=train_ids, seed=seed, data=data, updates=updates)
    stored = _stored(folder, identity)
    if stored is not None:
        return stored
    started = time.perf_counter()
    notes = _notes(cohort, spec)
    _check(cohort, spec, train_ids)
    random = draw(spec.seed, "network", seed)
    classifier, start = _new_classifier(cohort, spec, data, random)
    kept = folder / PROGRESS
    fitted, tuning = _fit(
        cohort, spec, sorted(train_ids), classifier, updates, random, device, progress or Silent(), identity, kept
    )
    metadata = _metadata(cohort, spec, identity, len(train_ids), seed, fitted, data)
    write_checkpoint(folder / MODEL, classifier.module, metadata)
    document = TrainingDocument(
        classifier=identity,
        cohort=metadata.cohort,
        cohort_identity=metadata.cohort_identity,
        class_names=metadata.class_names,
        positive=metadata.positive,
        architecture=spec.architecture,
        channels=metadata.channels,
        image_size_px=metadata.image_size_px,
        mean=MEAN,
        std=STD,
        train_size=len(train_ids),
        full=len(train_ids) == len(cohort.ids("training")),
        seed=seed,
        updates=fitted.updates,
        selected_update=fitted.selected_update,
        precision=fitted.precision,
        spec=spec.model_dump(mode="json"),
        weights_sha256=file_sha256(folder / MODEL),
        start_weights_sha256=metadata.start_weights_sha256,
        start_weights_tensors=start.used if start else None,
        validation=score(classifier, cohort, cohort.ids("validation"), device),
        tuning=tuning,
        history=fitted.history,
        seconds=time.perf_counter() - started,
        versions=metadata.versions,
        warnings=(*notes, *fitted.notes),
    )
    write_document(folder / TRAINING, document, indent=1)  # last: its presence says the classifier is complete
    kept.unlink(missing_ok=True)
    return document


def _stored(folder: Path, identity: str) -> TrainingDocument | None:
    """The document of a complete classifier in `folder`; None where there is none, or, with a warning, where the
    document or the weights are damaged."""
    try:
        document = read_model(folder / TRAINING, TrainingDocument, "It is trained again.")
    except FileNotFoundError:
        return None
    except DamagedError as error:
        _tell_again(error.problem)
        return None
    if document.classifier != identity:
        raise TrainingError(
            f"folder: {folder} holds classifier {document.classifier}, asked for {identity}.",
            "Give each classifier a folder of its own (Store.classifier(identity)).",
        )
    model = folder / MODEL
    if model.is_file() and file_sha256(model) == document.weights_sha256:
        return document
    _tell_again(f"{model}: {'not as it was written' if model.is_file() else 'not there'}.")
    return None


def _tell_again(problem: str) -> None:
    warnings.warn(f"a network is trained again. {problem}", AdvassayWarning, stacklevel=4)


def _check(cohort: TrainingCohort, spec: TrainingSpec, train_ids: Sequence[str]) -> None:
    prepared = cohort.preparation
    smallest = minimum_image_size(spec.architecture)
    if prepared.image_size_px < smallest:
        raise TrainingError(
            f"image_size_px: {spec.architecture} needs at least {smallest} px, got {prepared.image_size_px}.",
            f"Prepare the cohort with image_size_px: {smallest} or more.",
        )
    counts = np.bincount(labels_of(cohort, train_ids), minlength=len(prepared.class_names))
    if (counts == 0).any():
        lacking = [name for name, count in zip(prepared.class_names, counts, strict=True) if count == 0]
        raise TrainingError(
            f"train_ids: every class needs a training image, {', '.join(lacking)} of {prepared.cohort} has none.",
            "Take more images or a larger member of the size series.",
        )
    if not cohort.ids("validation"):
        raise TrainingError(
            f"cohort {prepared.cohort}: needs validation images to be scored, has none.",
            "Prepare it with split: patient, image or declared.",
        )


def _notes(cohort: TrainingCohort, spec: TrainingSpec) -> list[str]:
    """What weakens the evidence, said as a warning and kept in the document."""
    notes = []
    if spec.select_on == "validation":
        notes.append(
            "select_on: validation: the checkpoint was chosen on the images it is scored on; scores are optimistic."
        )
    elif not selection_ids(cohort, spec):
        notes.append("The cohort has no tuning part: the last network is kept, not the best.")
    for note in notes:
        warnings.warn(note, AdvassayWarning, stacklevel=3)
    return notes


def _new_classifier(
    cohort: TrainingCohort, spec: TrainingSpec, data: Path | None, random: int
) -> tuple[Classifier, StartWeights | None]:
    prepared = cohort.preparation
    network = build_network(
        spec.architecture,
        channels=prepared.channels,
        classes=len(prepared.class_names),
        image_size_px=prepared.image_size_px,
        seed=draw(random, "initial") >> 1,
    )
    silence_head(network)
    path = start_weights_path(data, spec.weights)
    start = load_start_weights(network, path) if path else None
    return as_classifier(network, MEAN, STD, prepared.channels, prepared.class_names), start


def _fit(
    cohort: TrainingCohort,
    spec: TrainingSpec,
    train_ids: list[str],
    classifier: Classifier,
    updates: int,
    random: int,
    device: str,
    progress: Progress,
    identity: str,
    kept: Path,
) -> tuple[Fitted, Scores | None]:
    """The trained classifier and its scores on the tuning part."""
    prepared = cohort.preparation
    chosen_on = sorted(selection_ids(cohort, spec))
    task = f"train {prepared.cohort}, {len(train_ids)} images"
    progress.start(task, updates, "updates")
    try:
        fitted = fit(
            classifier,
            ImageCache(cohort, train_ids),
            ImageCache(cohort, chosen_on) if chosen_on else None,
            spec,
            updates=updates,
            seed=random,
            tissue=is_tissue(prepared.image_type),
            device=torch.device(device),
            progress=progress,
            task=task,
            identity=identity,
            kept=kept,
        )
    finally:
        progress.finish(task)
    tuning = cohort.ids("tuning")
    return fitted, score(classifier, cohort, tuning, device) if tuning else None


def score(classifier: Classifier, cohort: TrainingCohort, image_ids: list[str], device: str) -> Scores:
    """Scores on some images of the cohort: float32, images read in parts and not kept."""
    prepared = cohort.preparation
    where = torch.device(device)
    cache = ImageCache(cohort, image_ids, most_bytes=0)
    logits, labels = predict(classifier.to(where), cache, where)
    return scores(logits, labels, positive=prepared.class_names.index(prepared.positive))


def _metadata(
    cohort: TrainingCohort,
    spec: TrainingSpec,
    identity: str,
    train_size: int,
    seed: int,
    fitted: Fitted,
    data: Path | None,
) -> CheckpointMetadata:
    prepared = cohort.preparation
    weights = start_weights_path(data, spec.weights)
    return CheckpointMetadata(
        classifier=identity,
        architecture=spec.architecture,
        mean=MEAN,
        std=STD,
        train_size=train_size,
        seed=seed,
        updates=fitted.updates,
        start_weights_sha256=file_sha256(weights) if weights else None,
        cohort=prepared.cohort,
        cohort_identity=prepared.identity,
        versions=versions(),
        **{
            name: getattr(prepared, name)
            for name in (
                "class_names",
                "positive",
                "image_type",
                "channels",
                "image_size_px",
                "scaling",
                "resize",
                "bits",
            )
        },
    )


def rescore(document: TrainingDocument, cohort: TrainingCohort, folder: Path, device: str = "cpu") -> TrainingDocument:
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
