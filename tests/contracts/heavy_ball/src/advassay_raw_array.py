"""One .npy file of images as a kind of source, beside a CSV table with a row for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from advassay.errors import SourceError
from advassay.identity import content_hash
from advassay.sources.base import LEFT_OUT, OpenSource, Pixels, Result
from advassay.sources.source_opener import SourceKind, SourceRequest
from advassay.sources.table_files import read_table, require_column
from advassay.spec.rule_spec import DataPath
from advassay.spec.source_spec import SourceSpec


class RawArraySource(SourceSpec):
    """Images of one array; columns: those of the table."""

    kind: Literal["raw-array"]
    path: DataPath
    """A .npy file of uint8 or uint16, (image, height, width)."""
    table: DataPath
    """CSV or Parquet with a row for each image, in the same order."""


class RawArray(OpenSource):
    """The images stay in the file and are read one by one."""

    def __init__(self, name: str, rows: pl.DataFrame, patient: str, path: Path) -> None:
        super().__init__(name, rows, pl.DataFrame(schema=LEFT_OUT), patient, path)
        self._images = np.load(path, mmap_mode="r", allow_pickle=False)

    def map(self, rows: Sequence[int], work: Callable[[Pixels], Result]) -> Iterator[tuple[int, Result]]:
        for row in rows:
            yield row, work(np.array(self._images[row]))


class RawArrayKind(SourceKind[RawArraySource]):
    name = "raw-array"
    spec = RawArraySource

    def open(self, source: RawArraySource, request: SourceRequest) -> RawArray:
        path, table = request.locate(source.path), read_table(request.locate(source.table, "table"))
        require_column(table.columns, source.patient_id, f"sources.{request.name}.patient_id")
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        if shape[0] != table.height:
            raise SourceError(f"sources.{request.name}: expected {shape[0]} rows, got {table.height}.", "Add the rest.")
        rows = table.select(
            pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
            pl.lit(None, pl.String).alias("path"),
            pl.col(source.patient_id).cast(pl.String).alias("original_patient"),
            pl.lit(source.image_type, pl.String).alias("image_type"),
            pl.all(),
        )
        return RawArray(request.name, rows, source.patient_id, path)

    def fingerprint(self, source: RawArraySource, request: SourceRequest) -> str:
        facts = request.locate(source.path).stat()
        return content_hash([facts.st_size, facts.st_mtime_ns, request.locate(source.table, "table").read_text()])


RAW_ARRAY = RawArrayKind()
