"""What must not leave the machine: pseudonym keys, original ids and paths, columns that tell who someone is."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

import polars as pl

from advassay.errors import AdvassayWarning, SourceError
from advassay.identity import pseudonym
from advassay.layout import writing
from advassay.sources.tables import is_id

PRIVATE = {"image_id": pl.String, "source": pl.String, "path": pl.String, "original_patient": pl.String}
"""Schema of sources.parquet."""

_SHORTEST_KEY = 16
_DIRECT_IDENTIFIERS = frozenset(
    (
        *("name", "patient_name", "patientname", "first_name", "last_name", "surname"),
        *("mrn", "accession_number", "accessionnumber", "ssn", "address", "phone", "email"),
        *("birth_date", "birthdate", "patientbirthdate", "date_of_birth", "dob"),
    )
)
_FILE_NAME = r"(?i)\.(png|jpe?g|tiff?|dcm|svs|ndpi|bmp|npy)$"


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
        raise SourceError(f"--key-file: a readable file is needed, got {key_file} ({error.strerror}).", fix) from error
    if len(key) < _SHORTEST_KEY:
        raise SourceError(f"--key-file: at least {_SHORTEST_KEY} bytes are needed, got {len(key)}.", fix)
    return key


def append_private(path: Path, rows: pl.DataFrame) -> None:
    """Add `rows` (schema PRIVATE) to the private table at `path`, each row once. Only its owner may read the file."""
    known = pl.read_parquet(path) if path.exists() else pl.DataFrame(schema=PRIVATE)
    together = pl.concat([known, rows.select(*PRIVATE)]).unique(maintain_order=True)
    with writing(path) as beside, open(beside, "xb", opener=_closed_to_others) as file:
        together.write_parquet(file)


def _closed_to_others(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # from the first moment, not by a later chmod


def carried_columns(rows: pl.DataFrame, patient_columns: set[str]) -> list[str]:
    """Columns that may leave with the manifest: no patient id, direct identifier (name, birth date, …) or file name."""
    return [name for name in rows.columns if name not in patient_columns and not _tells_who(rows[name])]


def with_pseudonyms(frame: pl.DataFrame, key: bytes) -> pl.DataFrame:
    """`frame` with every id column (slide, series, group: they often contain the patient's) as keyed hashes."""
    return frame.with_columns(
        pl.col(name).cast(pl.String).map_elements(lambda value: pseudonym(key, value), return_dtype=pl.String)
        for name in frame.columns
        if is_id(name)
    )


def _tells_who(column: pl.Series) -> bool:
    if column.name.strip().lower().replace(" ", "_") in _DIRECT_IDENTIFIERS:
        return True
    return column.dtype == pl.String and bool(column.str.contains(_FILE_NAME).any())
