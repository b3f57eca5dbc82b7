"""Draws before decoding: of an archive's headers those images are drawn that a cohort has room for, and only they are
decoded.

It needs an id of each image that is known beforehand and follows its content (DICOM: the SOP Instance UID). What this
file decides is which rows are worth decoding; who is in is decided afterwards from what they proved to be, by the same
steps as in any other cohort.
"""

from __future__ import annotations

from copy import deepcopy

import polars as pl

from advassay.cohorts.balance import DRAW_ID, draw_down
from advassay.cohorts.decoding import Decoding
from advassay.cohorts.flow import Flow
from advassay.sources import OpenSource
from advassay.specs import CohortSpec

STEP = "drawn by headers"


def draws_by_header(opened: OpenSource, spec: CohortSpec) -> bool:
    """Whether the cohort leaves images out by draws, and the source can name them before they are decoded."""
    draws = spec.balance or spec.equal_classes or spec.per_class is not None or spec.images_per_patient == "one"
    return opened.draw_column is not None and bool(draws)


def drawn(rows: pl.DataFrame, spec: CohortSpec, seed: int, decoding: Decoding, flow: Flow) -> pl.DataFrame:
    """The rows that are worth decoding, decoded, with `draw_id`; the others are counted as not drawn.

    `rows`: the source's columns, label, class_name. Images are drawn as `draw_down` does, those drawn are decoded, and
    while some prove unreadable, the same as another, or without their region, the next of their class and stratum take
    their places. A row without an id is decoded first and drawn by its pixels; rows that share an id (copies of one
    image, or an export gone wrong) are decoded together.
    """
    images = _as_images(rows, spec, decoding)
    while True:
        alive = _alive(images, spec, decoding)
        trial = deepcopy(flow)
        trial.left_out("decoding", ["by their pixels"] * (images.height - alive.height))
        chosen = draw_down(alive, spec, seed, trial)
        wanted = images.filter(pl.col(DRAW_ID).is_in(chosen[DRAW_ID].unique().implode()))
        if wanted["row"].is_in(decoding.rows.implode()).all():
            break
        decoding.read(wanted)
    not_drawn = trial.rows_out.filter(~pl.col("row").is_in(decoding.rows.implode()))
    named = rows.with_columns(images[DRAW_ID])
    reasons = named.select("row").join(not_drawn, on="row", how="left", maintain_order="left")
    return flow.keep(STEP, named, reasons["left_out"])


def _as_images(rows: pl.DataFrame, spec: CohortSpec, decoding: Decoding) -> pl.DataFrame:
    """`rows` with what draws look at: draw_id, patient_id (a row without patient is its own), and a name."""
    column = str(decoding.opened.draw_column)
    decoding.read(rows.filter(pl.col(column).is_null()))
    pixels = decoding.index.manifest.select("row", "image_id")
    rows = rows.drop("image_id", strict=False).join(pixels, on="row", how="left", maintain_order="left")
    own = pl.format("row {}", "row")
    patient = pl.col(spec.patient_id or "original_patient").cast(pl.String)
    return rows.with_columns(
        pl.coalesce(column, "image_id", own).alias(DRAW_ID), pl.coalesce(patient, own).alias("patient_id")
    )


def _alive(rows: pl.DataFrame, spec: CohortSpec, decoding: Decoding) -> pl.DataFrame:
    """Rows that are not known to be unusable, with the patients as far as they are known."""
    usable = decoding.images(rows, Flow(rows.height))["row"]
    lost = decoding.rows.filter(~decoding.rows.is_in(usable.implode()))
    alive = rows.filter(~pl.col("row").is_in(lost.implode()))
    patients = decoding.patients(rows).rename({"original_patient": "patient_id"})
    alive = alive.join(patients, on="patient_id", how="left", maintain_order="left")
    return alive.with_columns(pl.coalesce("known", "patient_id").alias("patient_id")).drop("known")
