"""Table 1: the cohorts with counts and classification score, beside what the reference study published."""

from __future__ import annotations

from typing import Any

import polars as pl

from advassay.records.run_header import RunHeader
from advassay.records.store_reader import Records
from advassay.store_documents import Preparation, TrainingDocument

ROLES = ("training", "tuning", "validation")


def table1(records: Records) -> pl.DataFrame:
    """One row per cohort and class, the cohort's main network's scores repeated on each.

    Columns: cohort, title, image_type, class, training, tuning, validation (images of the class), total (of the
    cohort), patients (of the cohort; null where no patient is known), image_size_px, architecture, train_size,
    accuracy, auroc, sensitivity, specificity (validation split; null for a classifier that was not trained here),
    attacked (images of the main arm), published_images, published_score.
    """
    prepared = list(records.preparations)
    names = records.cohorts + [name for name in prepared if name not in records.cohorts]
    return pl.DataFrame([row for name in names for row in _rows(records, name)], schema=_SCHEMA)


_SCHEMA = {
    "cohort": pl.String,
    "title": pl.String,
    "image_type": pl.String,
    "class": pl.String,
    "training": pl.Int64,
    "tuning": pl.Int64,
    "validation": pl.Int64,
    "total": pl.Int64,
    "patients": pl.Int64,
    "image_size_px": pl.Int64,
    "architecture": pl.String,
    "train_size": pl.Int64,
    "accuracy": pl.Float64,
    "auroc": pl.Float64,
    "sensitivity": pl.Float64,
    "specificity": pl.Float64,
    "attacked": pl.Int64,
    "published_images": pl.Int64,
    "published_score": pl.Float64,
}


def _rows(records: Records, cohort: str) -> list[dict[str, Any]]:
    preparation = records.preparations.get(cohort)
    runs = [header for header in records.headers if header.cohort == cohort and header.primary]
    header = min(runs, key=lambda run: run.arm_position) if runs else None
    training = _main_training(records, cohort, header)
    shared = _about(preparation, header) | _scores(training)
    classes = preparation.class_names if preparation else header.class_names if header else ()
    counted = preparation.counts if preparation else {}
    per_class = [{role: counted.get(role, {}).get(name) for role in ROLES} for name in classes]
    return [
        {"cohort": cohort, "class": name} | shared | numbers for name, numbers in zip(classes, per_class, strict=True)
    ]


def _main_training(records: Records, cohort: str, header: RunHeader | None) -> TrainingDocument | None:
    """Of the attacked main network; of the latest full one where nothing was attacked yet."""
    if header is not None:
        return records.training(header.classifier)
    full = [document for document in records.trainings if document.cohort == cohort and document.full]
    return full[0] if full else None


def _about(preparation: Preparation | None, header: RunHeader | None) -> dict[str, Any]:
    attacked = {"attacked": header.images} if header else {}
    if preparation is None:
        assert header is not None
        return attacked | {
            "title": header.cohort_title, "image_type": header.image_type, "image_size_px": header.image_size_px,
            "architecture": header.architecture,
        }  # fmt: skip
    published = preparation.published or {}
    return attacked | {
        "title": preparation.title,
        "image_type": preparation.image_type,
        "total": sum(sum(of_role.values()) for of_role in preparation.counts.values()),
        "patients": sum(preparation.patients.values()) if preparation.patients_known else None,
        "image_size_px": preparation.image_size_px,
        "published_images": published.get("images"),
        "published_score": published.get("score"),
    }


def _scores(training: TrainingDocument | None) -> dict[str, Any]:
    if training is None:
        return {}
    scores = training.validation
    return {
        "architecture": training.architecture,
        "train_size": training.train_size,
        "accuracy": scores.accuracy,
        "auroc": scores.auroc,
        "sensitivity": scores.sensitivity,
        "specificity": scores.specificity,
    }
