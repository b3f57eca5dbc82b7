"""What was asked for and of which data: how `prepare` knows that a cohort is already there, or out of date."""

from __future__ import annotations

from pathlib import Path

from advassay.checked_files import read_model
from advassay.cohorts.regions.review_lists import lists_state
from advassay.identity import content_hash
from advassay.sources.source_opener import fingerprint_source
from advassay.spec.cohort_spec import DESCRIPTIVE, CohortSpec
from advassay.spec.source_spec import SourceSpec
from advassay.store_documents import Preparation
from advassay.store_layout import PREPARATION

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
