"""What must not leave the machine: the key of the pseudonyms, original ids and paths."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Collection
from pathlib import Path

import polars as pl

from advassay.checked_files import damaged, read_frame, write_frame_to
from advassay.errors import AdvassayWarning, SourceError
from advassay.store_layout import file_lock, writing

PRIVATE = {
    **{"image_id": pl.String, "source": pl.String, "path": pl.String, "original_patient": pl.String},
    **{"cohort": pl.String, "row": pl.UInt32, "left_out": pl.String},
}
"""Schema of sources.parquet. The last three are null for an image that is in; for one that a cohort left out: its name,
the number of the source's row (from 0; null where a file has none) and the reason."""

_SHORTEST_KEY = 16


def pseudonym_key(key_file: Path | None, study_name: str) -> bytes:
    """The key of this study's pseudonyms: the bytes of `key_file`, or one derived from the study's name.

    The derived key keeps pseudonyms stable but not secret (whoever knows the study's name and an original id can
    recompute its pseudonym), hence an AdvassayWarning. Raises SourceError for a missing file or one under 16 bytes.
    """
    if key_file is None:
        warnings.warn(
            f"pseudonyms are keyed by the study's name ({study_name!r}), which is no secret; give --key-file FILE "
            "where patient ids are real",
            AdvassayWarning,
            stacklevel=2,
        )
        return hashlib.sha256(f"advassay pseudonyms of study {study_name}".encode()).digest()
    fix = 'Make one: python -c "import secrets; print(secrets.token_hex(32))" > FILE'
    try:
        key = key_file.read_bytes().strip()
    except OSError as error:
        raise SourceError(f"--key-file: expected a readable file, got {key_file} ({error.strerror}).", fix) from error
    if len(key) < _SHORTEST_KEY:
        raise SourceError(f"--key-file: expected at least {_SHORTEST_KEY} bytes, got {len(key)}.", fix)
    return key


def append_private(path: Path, rows: pl.DataFrame, *, cohort: str | None = None) -> None:
    """Add `rows` (columns of PRIVATE; absent ones are null) to the private table at `path`, each row once.

    `cohort`: what an earlier preparation of this cohort left out is forgotten first. Only the file's owner may read it.
    """
    with file_lock(path.with_name(f".{path.stem}.lock"), remove=True):  # cohorts may be prepared side by side
        kept = read_private(path).filter(pl.col("left_out").is_null() | pl.col("cohort").ne_missing(cohort))
        together = pl.concat([kept, _whole(rows)]).unique(maintain_order=True)
        with writing(path) as beside, open(beside, "xb", opener=closed_to_others) as file:
            write_frame_to(file, together)


def read_private(path: Path) -> pl.DataFrame:
    """The private table at `path` (schema PRIVATE); empty where there is none. Raises DamagedError."""
    fix = (
        f"Delete it, and preparation.json of each cohort in {path.name.removesuffix('.sources.parquet')}/cohorts: "
        "`advassay prepare` with the same study, --store and --key-file writes both anew."
    )
    try:
        return _whole(read_frame(path, fix))
    except FileNotFoundError:
        return pl.DataFrame(schema=PRIVATE)
    except pl.exceptions.PolarsError:
        raise damaged(path, "its columns are not those of a table of sources", fix) from None


def forget_private(path: Path, image_ids: Collection[str]) -> int:
    """Remove the images' rows from the private table at `path`, and every other row of their patients.

    Returns the number of rows removed.
    """
    if not path.exists():
        return 0
    rows = read_private(path)
    named = pl.col("image_id").is_in(list(image_ids)).fill_null(False)
    people = rows.filter(named)["original_patient"].drop_nulls().unique()
    gone = rows.select(named | pl.col("original_patient").is_in(people.implode()).fill_null(False)).to_series()
    if gone.any():
        with writing(path) as beside, open(beside, "xb", opener=closed_to_others) as file:
            write_frame_to(file, rows.filter(~gone))
    return int(gone.sum())


def _whole(rows: pl.DataFrame) -> pl.DataFrame:
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in PRIVATE.items() if name not in rows.columns]
    return rows.with_columns(absent).select(*PRIVATE).cast(PRIVATE)  # type: ignore[arg-type]


def closed_to_others(path: str, flags: int) -> int:
    """Opener of a file that only its owner may read: from the first moment, not by a later chmod."""
    return os.open(path, flags, 0o600)


def headers_beside(private: Path) -> Path:
    """Folder beside the private table that keeps header facts of DICOM files between runs; as private as the table."""
    return private.with_suffix(".headers")
