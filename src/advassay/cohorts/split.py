"""Training, tuning and validation: who is on which side. Patients stay whole unless `split: image` asks otherwise."""

from __future__ import annotations

import numpy as np
import polars as pl

from advassay.cohorts.flow import Flow
from advassay.errors import CohortError
from advassay.identity import draw_each
from advassay.sources.npz_source import SPLITS
from advassay.specs import CohortSpec

ROLES = ("training", "tuning", "validation")

DECLARED = {role: role for role in ROLES} | SPLITS | {"valid": SPLITS["val"]}
"""Values of a declared `split` column and what they mean (MedMNIST's: val selects the model, test scores it)."""


def assign_roles(images: pl.DataFrame, spec: CohortSpec, seed: int, flow: Flow) -> pl.DataFrame:
    """Add `role` (training | tuning | validation). `images`: image_id, label, patient_id; `split` where declared.

    The order in which patients are dealt is keyed by (seed, smallest image_id of the patient): neither row order
    nor the pseudonym key enters it. Raises CohortError where a class has no image on a side.
    """
    if spec.split == "none":
        return images.with_columns(pl.lit("validation").alias("role"))
    if spec.split == "declared":
        images = _declared(images, flow)
        if not (images["role"] == "tuning").any():
            images = _deal(images, "tuning", spec.tuning_fraction, "patient_id", seed)
    else:
        unit = "patient_id" if spec.split == "patient" else "image_id"
        images = images.with_columns(pl.lit("training").alias("role"))
        images = _deal(images, "validation", spec.validation_fraction, unit, seed)
        images = _deal(images, "tuning", spec.tuning_fraction, unit, seed)
    _check_sides(images, spec, flow)
    _warn_of_shared_patients(images, flow)
    return images


def take(counts: np.ndarray, share: float) -> np.ndarray:
    """Which units, dealt in the given order, make up `share` of every class: bool (unit,).

    `counts`: (unit, class) numbers per unit. A unit is taken where that brings the classes closer to their
    targets (least squares relative to each target). A class of two or more units gets at least one taken, and a class
    of a single unit none: it is needed on the other side.

    >>> take(np.array([[1, 0], [0, 1]] * 5), 0.2).tolist()
    [True, True, False, False, False, False, False, False, False, False]
    """
    taken = np.zeros(len(counts), dtype=bool)
    if share <= 0 or not len(counts):
        return taken
    divisible = (counts > 0).sum(axis=0) >= 2
    target = np.where(divisible, np.maximum(share * counts.sum(axis=0), 1.0), 0.0)
    start = int((np.cumsum(counts, axis=0) <= target).all(axis=1).argmin())
    taken[:start] = counts[:start].any(axis=1)  # so far everyone leads to the targets
    have = counts[:start].sum(axis=0, dtype=float)
    of_lacking = (counts[start:] > 0)[:, have < target].any(axis=1)  # whoever else only leads away from them
    for unit in np.flatnonzero(of_lacking) + start:
        if _distance(have + counts[unit], target) < _distance(have, target):
            taken[unit] = True
            have += counts[unit]
            if (have >= target).all():
                break
    while (lacking := np.flatnonzero(divisible & (have == 0))).size:
        candidates = np.flatnonzero(counts[:, lacking[0]] > 0)
        best = min(candidates, key=lambda unit: _distance(have + counts[unit], target))
        taken[best] = True
        have += counts[best]
    return taken


def _distance(have: np.ndarray, target: np.ndarray) -> float:
    return float((((have - target) / np.maximum(target, 1.0)) ** 2).sum())


def _deal(images: pl.DataFrame, role: str, share: float, unit: str, seed: int) -> pl.DataFrame:
    """Move `share` of the training units (patients) into `role`: of each class's images and of its units alike."""
    training = images.filter(pl.col("role") == "training")
    labels = sorted(training["label"].unique())
    per_class = [(pl.col("label") == label).sum().alias(str(label)) for label in labels]
    units = training.group_by(unit).agg(pl.col("image_id").min().alias("_first"), *per_class)
    keys = draw_each(seed, "split", ids=units["_first"])
    units = units.with_columns(pl.Series("_key", keys, dtype=pl.UInt64)).sort("_key", "_first")
    counts = units.select(str(label) for label in labels).to_numpy().astype(float)
    chosen = units.filter(pl.Series(take(np.hstack([counts, counts > 0]), share)))
    moved = pl.col(unit).is_in(chosen[unit].implode()) & (pl.col("role") == "training")
    return images.with_columns(pl.when(moved).then(pl.lit(role)).otherwise(pl.col("role")).alias("role"))


def _declared(images: pl.DataFrame, flow: Flow) -> pl.DataFrame:
    if "split" not in images.columns:
        raise CohortError("split: declared needs a column `split` in the source.", "Use split: patient, or add it.")
    stated = images["split"].cast(pl.String).str.to_lowercase()
    if {"validation", "test"} <= set(stated.drop_nulls()):
        raise CohortError(
            "split: declared column `split` holds both 'validation' and 'test': which of them scores is not clear.",
            "Name its values training | tuning | validation.",
        )
    images = images.with_columns(stated.replace_strict(DECLARED, default=None, return_dtype=pl.String).alias("role"))
    reasons = images.select(pl.when(pl.col("role").is_null()).then(pl.lit("no known value in column split")))
    return flow.keep("declared split", images, reasons.to_series())


def _check_sides(images: pl.DataFrame, spec: CohortSpec, flow: Flow) -> None:
    for role in ("training", "validation"):
        counts = images.filter(pl.col("role") == role)["class_name"].value_counts()
        have = dict(counts.iter_rows())
        if empty := [name for name in spec.classes if not have.get(name)]:
            raise CohortError(
                f"split: every class needs images on both sides; {role} has none of {empty} "
                f"(has {have or 'none'}; {flow.in_words()}).",
                "Use more images or patients, loosen the rules, or choose another split.",
            )
    tuned = set(images.filter(pl.col("role") == "tuning")["class_name"])
    if tuned and (empty := [name for name in spec.classes if name not in tuned]):
        flow.warnings.append(f"The tuning part has no image of {', '.join(empty)}: too few training patients.")


def _warn_of_shared_patients(images: pl.DataFrame, flow: Flow) -> None:
    patients = {role: set(images.filter(pl.col("role") == role)["patient_id"]) for role in ROLES}
    scored = "scores and success rates are optimistic or biased by recognised patients."
    chosen = "the checkpoint is chosen on recognised patients."
    for one, other, effect in (
        ("training", "validation", scored),
        ("tuning", "validation", scored),
        ("training", "tuning", chosen),
    ):
        if shared := len(patients[one] & patients[other]):
            flow.warnings.append(f"{shared} patients have images in {one} and in {other}: {effect}")
