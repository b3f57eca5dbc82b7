"""Images decoded once for a selection, and only those that a cohort has room for, sampled by header."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import polars as pl

from advassay.cohorts.balance import DRAW_ID, subsample
from advassay.cohorts.conditions import column_of
from advassay.cohorts.duplicates import drop_duplicates, link_patients
from advassay.cohorts.image_preparation import PixelRule
from advassay.cohorts.regions.apply_regions import with_regions
from advassay.cohorts.regions.region_finders import Detection
from advassay.cohorts.regions.review_lists import ReviewLists
from advassay.cohorts.render_images import Spool, make_png
from advassay.cohorts.selection_counts import SelectionCounts
from advassay.progress import Progress
from advassay.sources import Index, OpenSource, index
from advassay.sources.image_index import concat_indexes
from advassay.spec.cohort_spec import CohortSpec


class DecodeCache:
    """Decodes rows of an open source when they are first asked for, and remembers what they showed."""

    def __init__(
        self,
        opened: OpenSource,
        spec: CohortSpec,
        key: bytes,
        lists: ReviewLists,
        progress: Progress,
        spooled: tuple[Spool, PixelRule] | None = None,
    ) -> None:
        """spooled: where the prepared image of each decoded one is put, and how it is made (of any depth)."""
        for column in spec.carry:
            column_of(opened.rows, column, "carry")
        self.opened, self._spec, self._key = opened, spec, key
        self._lists, self._progress = lists, progress
        self._keep = spooled[0].put if spooled else None
        self._make = partial(make_png, rule=spooled[1]) if spooled else None
        self._parts: list[Index] = []
        self._regions: dict[int, Detection] = {}

    @property
    def rows(self) -> pl.Series:
        """Rows decoded so far, UInt32."""
        parts = [frame["row"] for part in self._parts for frame in (part.manifest, part.left_out)]
        return pl.concat([pl.Series("row", [], dtype=pl.UInt32), *parts])

    @property
    def index(self) -> Index:
        """What became of the rows decoded so far; there must have been a `read`."""
        return concat_indexes(self._parts)

    def read(self, candidates: pl.DataFrame) -> None:
        """Decode those of `candidates` (column row) that have not been decoded yet."""
        spec = self._spec
        named = {*spec.where, *spec.balance, *(column for rules in spec.classes.values() for column in rules)}
        new = candidates.filter(~pl.col("row").is_in(self.rows.implode()))
        if self._parts and new.is_empty():
            return
        part = index(
            self.opened,
            new["row"].to_list(),
            key=self._key,
            patient_column=spec.patient_id,
            named=named,
            asked=spec.carry,
            progress=self._progress,
            make=self._make,
            keep=self._keep,
        )
        self._parts.append(part)

    def images(self, candidates: pl.DataFrame, flow: SelectionCounts) -> pl.DataFrame:
        """Every readable image once, with label, class_name, patient_id and, where the cohort shows one, its region.

        Of `candidates` (row, label, class_name, …) those that have been decoded count. Beside the index's columns the
        images have the private ones that choosing needs; those go no further.
        """
        images = drop_duplicates(self._joined(candidates), flow)
        if self._spec.region is None or images.is_empty():
            return images
        return with_regions(self.opened, images, self._spec.region, self._lists, flow, self._progress, self._regions)

    def patients(self, candidates: pl.DataFrame) -> pl.DataFrame:
        """original_patient, known: the patient each original id of the decoded `candidates` belongs to, once those who
        share an image are one."""
        linked = link_patients(self._joined(candidates), SelectionCounts(candidates.height)).filter("has_patient")
        return linked.select("original_patient", known="patient_id").unique("original_patient")

    def _joined(self, candidates: pl.DataFrame) -> pl.DataFrame:
        """Index, the labels the rules gave, and in private what later steps look at."""
        manifest = self.index.manifest.drop("label", "class_name", strict=False)
        needed = dict.fromkeys([*self._spec.balance, "split", DRAW_ID])
        private = [name for name in needed if name in candidates.columns and name not in manifest.columns]
        original = pl.col(self._spec.patient_id or "original_patient").cast(pl.String).alias("original_patient")
        labels = candidates.select(
            "row", "label", "class_name", original, *(name for name in private if name not in ("label", "class_name"))
        )
        return manifest.join(labels, on="row", how="inner", validate="1:1", maintain_order="left")


STEP = "drawn by headers"


def samples_by_header(opened: OpenSource, spec: CohortSpec) -> bool:
    """Whether the cohort leaves images out by draws, and the source can name them before they are decoded."""
    draws = spec.balance or spec.equal_classes or spec.per_class is not None or spec.images_per_patient == "one"
    return opened.draw_column is not None and bool(draws)


def sample_by_header(
    rows: pl.DataFrame, spec: CohortSpec, seed: int, decoding: DecodeCache, flow: SelectionCounts
) -> pl.DataFrame:
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
        chosen = subsample(alive, spec, seed, trial)
        wanted = images.filter(pl.col(DRAW_ID).is_in(chosen[DRAW_ID].unique().implode()))
        if wanted["row"].is_in(decoding.rows.implode()).all():
            break
        decoding.read(wanted)
    not_drawn = trial.rows_out.filter(~pl.col("row").is_in(decoding.rows.implode()))
    named = rows.with_columns(images[DRAW_ID])
    reasons = named.select("row").join(not_drawn, on="row", how="left", maintain_order="left")
    return flow.keep(STEP, named, reasons["left_out"])


def _as_images(rows: pl.DataFrame, spec: CohortSpec, decoding: DecodeCache) -> pl.DataFrame:
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


def _alive(rows: pl.DataFrame, spec: CohortSpec, decoding: DecodeCache) -> pl.DataFrame:
    """Rows that are not known to be unusable, with the patients as far as they are known."""
    usable = decoding.images(rows, SelectionCounts(rows.height))["row"]
    lost = decoding.rows.filter(~decoding.rows.is_in(usable.implode()))
    alive = rows.filter(~pl.col("row").is_in(lost.implode()))
    patients = decoding.patients(rows).rename({"original_patient": "patient_id"})
    alive = alive.join(patients, on="patient_id", how="left", maintain_order="left")
    return alive.with_columns(pl.coalesce("known", "patient_id").alias("patient_id")).drop("known")
