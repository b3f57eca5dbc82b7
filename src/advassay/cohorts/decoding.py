"""What the pixels of a source's images show: readable or not, twice there, with the region. No row is indexed twice."""

from __future__ import annotations

from functools import partial

import polars as pl

from advassay.cohorts.balance import DRAW_ID
from advassay.cohorts.conditions import column_of
from advassay.cohorts.duplicates import drop_duplicates, link_patients
from advassay.cohorts.flow import Flow
from advassay.cohorts.pixels import PixelRule
from advassay.cohorts.regions.found import Found
from advassay.cohorts.regions.lists import Lists
from advassay.cohorts.regions.step import with_regions
from advassay.cohorts.spool import Spool, make_png
from advassay.progress import Progress
from advassay.sources import Index, OpenSource, index
from advassay.sources.indexing import together
from advassay.specs import CohortSpec


class Decoding:
    """Decodes rows of an open source when they are first asked for, and remembers what they showed."""

    def __init__(
        self,
        opened: OpenSource,
        spec: CohortSpec,
        key: bytes,
        lists: Lists,
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
        self._regions: dict[int, Found] = {}

    @property
    def rows(self) -> pl.Series:
        """Rows decoded so far, UInt32."""
        parts = [frame["row"] for part in self._parts for frame in (part.manifest, part.left_out)]
        return pl.concat([pl.Series("row", [], dtype=pl.UInt32), *parts])

    @property
    def index(self) -> Index:
        """What became of the rows decoded so far; there must have been a `read`."""
        return together(self._parts)

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

    def images(self, candidates: pl.DataFrame, flow: Flow) -> pl.DataFrame:
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
        linked = link_patients(self._joined(candidates), Flow(candidates.height)).filter("has_patient")
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
