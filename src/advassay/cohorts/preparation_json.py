"""preparation.json: what was prepared, from what, who is out and why, and the cohort's identity; is it up to date?

What was asked for, and of which data, is how `prepare` knows that a cohort is already there, or out of date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from advassay.checked_files import read_model
from advassay.cohorts.cohort_warnings import patients_per_class
from advassay.cohorts.image_preparation import PixelRule
from advassay.cohorts.regions.apply_regions import BOX
from advassay.cohorts.regions.review_lists import lists_state
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.cohorts.split import ROLES
from advassay.identity import content_hash
from advassay.sources.source_opener import fingerprint_source, kind_of_source
from advassay.spec.cohort_spec import DESCRIPTIVE, CohortSpec
from advassay.spec.source_spec import Source, SourceSpec
from advassay.store_documents import Deidentification, Preparation
from advassay.store_layout import PREPARATION

# ---- is it there, and of the same data? ------------------------------------------------------------------------------

HEALED = "`advassay prepare` with the same study and --store prepares the cohort anew."
"""What to do where a file of a prepared cohort is damaged."""
RECIPE = 1
"""Raised when the same request would give other images or another split: prepared cohorts are then made anew."""


def request_hash(spec: CohortSpec, source: SourceSpec, size_px: int, seed: int) -> str:
    """Hash of everything in the study file that decides who is in a cohort and how it is prepared."""
    asked = without_folders(spec).model_dump(mode="json", by_alias=True, exclude=DESCRIPTIVE)
    return content_hash([RECIPE, asked, source.model_dump(mode="json", exclude={"image_type"}), size_px, seed])


def without_folders(spec: CohortSpec) -> CohortSpec:
    """The cohort as its store may show it: of absolute paths only the last name."""
    return spec if spec.region is None else spec.model_copy(update={"region": spec.region.without_folders()})


def state_of(spec: CohortSpec, source: SourceSpec, data: Path | None) -> str | None:
    """Fingerprint of what a cohort is made from: its source, and the lists of a region; None where not at hand."""
    state = source_state(spec.source, source, data)
    if spec.region is None or state is None or not (spec.region.accept or spec.region.reject):
        return state
    lists = lists_state(spec.region, data)
    return None if lists is None else content_hash([state, lists])


def source_state(name: str, source: SourceSpec, data: Path | None) -> str | None:
    """Fingerprint of a source as it is now, or None where it is not at hand (a store moved to another machine).

    Each kind of source says what it is made of (`sources/kinds/`).
    """
    return fingerprint_source(name, source, data)


def is_current(found: Preparation, request: str, state: str | None) -> bool:
    """Whether a prepared cohort answers this request on the source as it is now (or as far as one can see it)."""
    return found.request == request and (state is None or state == found.source_state)


def document_in(folder: Path) -> Preparation | None:
    """The preparation.json of `folder`, or None where nothing is (completely) prepared. Raises DamagedError."""
    try:
        return read_model(folder / PREPARATION, Preparation, HEALED)
    except FileNotFoundError:
        return None


def is_prepared(
    folder: Path, spec: CohortSpec, source: SourceSpec, *, size_px: int, seed: int, data: Path | None = None
) -> bool:
    """Whether `prepare` would keep what `folder` holds. Without `data`, changes of the source are not looked for."""
    if (found := document_in(folder)) is None:
        return False
    return is_current(found, request_hash(spec, source, size_px, seed), state_of(spec, source, data))


# ---- the document ----------------------------------------------------------------------------------------------------


def make_document(
    name: str,
    spec: CohortSpec,
    source: Source,
    manifest: pl.DataFrame,
    rule: PixelRule,
    flow: SelectionCounts,
    request: str,
    state: str | None,
    deidentification: Deidentification | None = None,
) -> Preparation:
    return Preparation(
        **({"image_type": _image_type(manifest)} | described(name, spec)),
        identity=_identity(manifest, rule),
        request=request,
        source_state=state,
        class_names=tuple(spec.classes),
        counts={role: _class_counts(manifest, role, spec) for role in ROLES},
        copies=_copies(manifest, spec),
        patients={role: manifest.filter(pl.col("role") == role)["patient_id"].n_unique() for role in ROLES},
        patients_per_class=_patients_per_class(manifest, spec),
        image_size_px=rule.size_px,
        channels=rule.channels,
        bits=rule.bits,
        scaling=rule.scaling,
        resize=rule.resize,
        split=spec.split,
        cluster=spec.patient_id or source.patient_id,
        without_patient=manifest.filter(~pl.col("has_patient") & pl.col("parent_image_id").is_null()).height,
        patients_known=bool(manifest["has_patient"].any()),
        candidates=flow.candidates,
        flow=tuple(flow.steps),
        left_out=flow.reasons(),
        warnings=tuple(flow.warnings),
        deidentification=deidentification,
        dicom_reading=kind_of_source(source).reading,
    )


def described(name: str, spec: CohortSpec) -> dict[str, Any]:
    described: dict[str, Any] = {
        "cohort": name,
        "title": spec.title or name,
        "positive": spec.positive or next(iter(spec.classes)),
        "spec": without_folders(spec).model_dump(mode="json", by_alias=True),
        "published": spec.published and spec.published.model_dump(),
    }
    return described | ({"image_type": spec.image_type} if spec.image_type else {})


def _image_type(manifest: pl.DataFrame) -> str:
    """What the source says: one type, several joined by " + ", or "unspecified"."""
    return " + ".join(sorted(manifest["image_type"].drop_nulls().unique())) or "unspecified"


def _class_counts(manifest: pl.DataFrame, role: str, spec: CohortSpec) -> dict[str, int]:
    counts = dict(manifest.filter(pl.col("role") == role)["class_name"].value_counts().iter_rows())
    return {name: counts.get(name, 0) for name in spec.classes}


def _patients_per_class(manifest: pl.DataFrame, spec: CohortSpec) -> dict[str, dict[str, int]]:
    known = manifest.filter("has_patient")
    return patients_per_class(known, tuple(spec.classes)) if known.height else {}


def _copies(manifest: pl.DataFrame, spec: CohortSpec) -> dict[str, dict[str, int]]:
    copies = manifest.filter(pl.col("parent_image_id").is_not_null())
    return {role: _class_counts(copies, role, spec) for role in ROLES} if copies.height else {}


def _identity(manifest: pl.DataFrame, rule: PixelRule) -> str:
    """Of content only: which pixels, with which label, in which role, prepared how. No path, patient or pseudonym.

    With regions also where each one is; a copy's image_id already says how it is made.
    """
    rows = sorted(manifest.select("image_id", "label", "role").iter_rows())
    content: dict[str, Any] = {"images": [list(row) for row in rows], "pixels": rule._asdict()}
    if "region_left" in manifest.columns:
        boxes = sorted(manifest.select("image_id", *BOX).iter_rows())
        content["regions"] = [list(row) for row in boxes]
    return content_hash(content)
