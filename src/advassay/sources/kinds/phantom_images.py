"""Phantoms as a source: rows and truth from their table, pixels rendered on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl

from advassay.identity import image_id
from advassay.sources.base import LEFT_OUT, OpenSource, Pixels, Result
from advassay.sources.image_decoder import one_channel_if_grey
from advassay.sources.source_opener import SourceKind, SourceRequest
from advassay.sources.table_files import require_column
from advassay.spec.source_spec import SOURCE_KINDS, PhantomSource

_BATCH = 32
MANY = 256
"""Images to render, from which starting processes takes less time than it saves."""
MOST_WORKERS = 8
"""Processes at most: each loads its own libraries."""
KEPT_BYTES = 2**28
"""Rendered images that are kept: a cohort looks at each once to choose and once to store it."""


class Phantoms(OpenSource):
    """Images made by the program, rendered in small batches."""

    def __init__(self, name: str, source: PhantomSource, rows: pl.DataFrame) -> None:
        super().__init__(name, rows, pl.DataFrame(schema=LEFT_OUT), source.patient_id, None)
        self._source = source
        self._kept: dict[int, np.ndarray] = {}
        self._room = KEPT_BYTES

    def map(self, rows: Sequence[int], work: Callable[[Pixels], Result]) -> Iterator[tuple[int, Result]]:
        if not all(0 <= row < self.rows.height for row in rows):
            raise KeyError(next(row for row in rows if not 0 <= row < self.rows.height))
        batches = [list(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)]
        for batch, made in zip(batches, self._rendered(batches), strict=True):
            for row in batch:
                yield row, work(one_channel_if_grey(made[row] if row in made else self._kept[row]))

    def _rendered(self, batches: list[list[int]]) -> Iterator[dict[int, np.ndarray]]:
        """What each batch has that is not kept; many images in processes side by side."""
        import joblib

        lacking = {row for batch in batches for row in batch} - self._kept.keys()
        workers = min(joblib.cpu_count(), MOST_WORKERS) if len(lacking) >= MANY else 1
        abreast = 2 * workers  # a few at a time: what is rendered ahead waits in memory
        with joblib.Parallel(n_jobs=workers) as parallel:
            for start in range(0, len(batches), abreast):
                part = [[row for row in b if row not in self._kept] for b in batches[start : start + abreast]]
                for made in parallel(joblib.delayed(_made)(self._source, rows) for rows in part):
                    self._keep(made)
                    yield made

    def _keep(self, made: dict[int, np.ndarray]) -> None:
        for row, pixels in made.items():
            if row not in self._kept and pixels.nbytes <= self._room:
                self._kept[row] = pixels.copy()
                self._kept[row].flags.writeable = False
                self._room -= pixels.nbytes


def _made(source: PhantomSource, rows: list[int]) -> dict[int, np.ndarray]:
    from advassay.sources.phantoms import render

    return dict(zip(rows, render(source, np.asarray(rows, np.int64)), strict=True)) if rows else {}


def open_phantoms(name: str, source: PhantomSource) -> Phantoms:
    """Every phantom is a candidate; the truth is carried as columns."""
    from advassay.sources.phantoms import table

    truth = table(source).rename({"patient": "patient_id"}).drop("index")
    if "tissue" in truth.columns:
        truth = truth.with_columns(label="tissue")  # what tiles of real slides call it
    require_column(truth.columns, source.patient_id, f"sources.{name}.patient_id")
    image_type = pl.col("image_type") if source.image_type is None else pl.lit(source.image_type)
    own = [
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        pl.lit(None, pl.String).alias("path"),
        pl.col(source.patient_id).cast(pl.String).alias("original_patient"),
        image_type.alias("image_type"),
    ]
    return Phantoms(name, source, truth.select(*own, pl.exclude("image_type")))


class PhantomKind(SourceKind[PhantomSource]):
    """Images made by the program. The first one stands for all, so that no version of the program has to be kept."""

    name = "phantoms"
    spec = PhantomSource

    def open(self, source: PhantomSource, request: SourceRequest) -> Phantoms:
        return open_phantoms(request.name, source)

    def fingerprint(self, source: PhantomSource, request: SourceRequest) -> str:
        return image_id(_made(source, [0])[0])


PHANTOMS = SOURCE_KINDS.register(PhantomKind())
