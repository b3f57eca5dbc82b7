"""The same pixels twice: one copy stays; copies with contradictory labels all go; their patients become one."""

from __future__ import annotations

import polars as pl

from advassay.cohorts.selection_counts import SelectionCounts
from advassay.sources.table_files import is_id


def drop_duplicates(images: pl.DataFrame, flow: SelectionCounts) -> pl.DataFrame:
    """One row per image_id. `images` has image_id, label, patient_id, has_patient, original_patient.

    Which copy stays depends on content (a known patient first, then the carried values), never on row order
    or on the pseudonym key. Patients who share an image are one cluster from here on: a split that parted
    them would put one person on both sides.
    """
    images = link_patients(images, flow)
    labels = images.select(pl.col("label").n_unique().over("image_id")).to_series()
    contradictory = pl.DataFrame({"bad": labels > 1}).select(
        pl.when(pl.col("bad")).then(pl.lit("same pixels in different classes"))
    )
    images = flow.keep("contradictory labels", images, contradictory.to_series())
    images = images.sort(_preference(images), nulls_last=True)
    repeats = images.select(
        pl.when(pl.col("image_id").is_duplicated() & ~pl.col("image_id").is_first_distinct()).then(
            pl.lit("same pixels as an image of this class")
        )
    )
    return flow.keep("duplicates", images, repeats.to_series())


def _preference(images: pl.DataFrame) -> list[pl.Expr]:
    own = ("image_id", "row", "patient_id", "has_patient", "original_patient")
    carried = [name for name in sorted(images.columns) if name not in own and not is_id(name)]  # ids are keyed
    plain = [pl.col(name) for name in carried if not images.schema[name].is_nested()]
    return [pl.col("image_id"), ~pl.col("has_patient"), pl.col("original_patient"), *plain, pl.col("row")]


def link_patients(images: pl.DataFrame, flow: SelectionCounts) -> pl.DataFrame:
    """`images` with one patient_id for all patients who share an image_id; how many there are is a warning."""
    shared = images.filter("has_patient").group_by("image_id").agg(pl.col("patient_id").unique())
    shared = shared.filter(pl.col("patient_id").list.len() > 1)
    if shared.is_empty():
        return images
    leader: dict[str, str] = {}

    def find(patient: str) -> str:
        while leader.get(patient, patient) != patient:
            patient = leader[patient]
        return patient

    for group in shared["patient_id"].to_list():
        roots = sorted({find(patient) for patient in group})
        leader.update(dict.fromkeys(roots, roots[0]))
    renamed = {patient: find(patient) for patient in leader}
    flow.warnings.append(
        f"{len(renamed)} patients share identical images with another patient: "
        f"treated as {len(set(renamed.values()))} clusters."
    )
    return images.with_columns(pl.col("patient_id").replace(renamed))
