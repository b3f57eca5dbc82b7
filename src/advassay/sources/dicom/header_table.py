"""The headers of a whole archive as one table: read in parallel, in order, and kept so that no file is read twice."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from advassay.identity import content_hash
from advassay.progress import Progress
from advassay.sources.dicom.discover_files import FileEntry
from advassay.sources.dicom.header_reader import HEADER, HEADER_VERSION
from advassay.sources.dicom.worker_pool import DicomWorkerPool
from advassay.sources.pseudonyms import closed_to_others
from advassay.store_layout import writing

CHUNK = 8192
"""Files whose headers are kept at a time: what a killed run loses at most."""
_FILE = {"path": pl.String, "bytes": pl.Int64, "changed_ns": pl.Int64}


def header_table(
    name: str, folder: Path, found: list[FileEntry], crew: DicomWorkerPool, kept: Path | None, progress: Progress
) -> pl.DataFrame:
    """One row per entry of `found`, in its order: row (UInt32), path, and the columns of HEADER.

    `kept`: a private folder that remembers headers by path, size and time of change; None = nothing is kept.
    """
    entries = pl.DataFrame(found, schema={"path": pl.String, "reason": pl.String, "detail": pl.String}, orient="row")
    entries = entries.with_row_index("row")
    memory = _Kept(kept, folder) if kept is not None else None
    to_open = entries.filter(pl.col("reason").is_null())["path"].to_list()
    facts = _read(name, folder, to_open, crew, memory, progress).drop("bytes", "changed_ns")
    closed = entries.filter(pl.col("reason").is_not_null())
    opened = entries.filter(pl.col("reason").is_null()).select("row", "path").with_columns(facts.drop("path"))
    return pl.concat([opened, closed], how="diagonal").sort("row")


def _read(
    name: str, folder: Path, paths: list[str], crew: DicomWorkerPool, memory: _Kept | None, progress: Progress
) -> pl.DataFrame:
    """Facts of `paths` in that order: what is remembered, and what is read now, chunk by chunk."""
    task, chunks = f"read headers of {name}", []
    files = _stated(folder, paths)
    remembered = memory.recall(files) if memory else pl.DataFrame(schema=_FILE | HEADER)
    fresh = files.join(remembered.select(*_FILE), on=list(_FILE), how="anti", maintain_order="left").unique(
        "path", maintain_order=True
    )
    progress.start(task, fresh.height, "files")
    for chunk in fresh.iter_slices(CHUNK):
        whole = [os.path.join(folder, path) for path in chunk["path"]]
        facts = []
        for header in crew.headers(whole):
            facts.append(header)
            progress.advance(task)
        chunks.append(pl.concat([chunk, pl.DataFrame(facts, schema=HEADER, strict=False)], how="horizontal"))
        if memory:
            memory.keep(chunks[-1])
    progress.finish(task)
    known = pl.concat([remembered, *chunks])
    return files.join(known, on=list(_FILE), how="left", maintain_order="left", nulls_equal=True)


def _stated(folder: Path, paths: list[str]) -> pl.DataFrame:
    """path, bytes, changed_ns of each file; -1 where it cannot be asked (the reader says why)."""
    facts = []
    for path in paths:
        try:
            stat = os.stat(os.path.join(folder, path))
            facts.append((path, stat.st_size, stat.st_mtime_ns))
        except (OSError, ValueError):
            facts.append((path, -1, -1))
    return pl.DataFrame(facts, schema=_FILE, orient="row")


class _Kept:
    """Headers read before, in Parquet parts that only their owner may read. They hold original ids."""

    def __init__(self, place: Path, folder: Path) -> None:
        self._place = place
        self._name = content_hash([HEADER_VERSION, os.path.realpath(folder)])

    def recall(self, files: pl.DataFrame) -> pl.DataFrame:
        """Kept rows for those of `files` that have not changed."""
        parts = [pl.read_parquet(part) for part in sorted(self._place.glob(f"{self._name}-*.parquet"))]
        kept = pl.concat(parts) if parts else pl.DataFrame(schema=_FILE | HEADER)
        return kept.unique("path", keep="last", maintain_order=True).join(files, on=list(_FILE), how="semi")

    def keep(self, rows: pl.DataFrame) -> None:
        """Add rows; files that could not be opened are asked again the next time."""
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = len(list(self._place.glob(f"{self._name}-*.parquet")))
        with (
            writing(self._place / f"{self._name}-{number:05d}.parquet") as beside,
            open(beside, "xb", opener=closed_to_others) as file,
        ):
            rows.filter(
                pl.col("bytes") >= 0, pl.col("reason").is_null() | (pl.col("reason") != "no permission")
            ).write_parquet(file)
