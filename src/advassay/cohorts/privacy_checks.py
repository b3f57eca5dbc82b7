"""Checks before a cohort is used: which pseudonym key it was made with, and that no identifier was carried."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import polars as pl

from advassay.cohorts.prepared_cohort import read_manifest
from advassay.errors import CohortError
from advassay.identity import pseudonym
from advassay.sources import OpenSource
from advassay.sources.pseudonyms import read_private
from advassay.sources.table_files import is_id
from advassay.store_documents import Deidentification


def check_key(name: str, folder: Path, private: Path, key: bytes) -> None:
    """Raise CohortError where the pseudonyms of the cohort in `folder` were made with another key.

    Pseudonyms are made again from the original ids in the private table and compared. Where that table is gone (a
    store moved to another machine) and every image has a patient, nothing can be compared and nothing is said.
    """
    manifest = read_manifest(folder).select("image_id", "patient_id", "has_patient")
    originals = read_private(private).filter(pl.col("left_out").is_null()).select("image_id", "original_patient")
    alone = manifest.filter(~pl.col("has_patient")).select("patient_id", pl.concat_str(pl.lit("image "), "image_id"))
    known = manifest.filter("has_patient").join(originals.drop_nulls(), on="image_id")
    pairs = chain(alone.iter_rows(), known.select("patient_id", "original_patient").iter_rows())
    compared = [made == pseudonym(key, original) for made, original in pairs]
    if compared and not any(compared):  # some may differ: linked patients share a pseudonym
        raise CohortError(
            f"--key-file: expected the key whose pseudonyms cohort {name} holds, got another (without --key-file it "
            "follows from the study's name).",
            "Give the key file the cohort was prepared with, or prepare into another --store.",
        )


_SHORTEST = 4
"""Characters of an id from which on it is looked for inside longer texts; shorter ones only as whole values."""


def check_deidentified(manifest: pl.DataFrame, images: pl.DataFrame, opened: OpenSource) -> Deidentification | None:
    """What identifying tags the source's files hold; None for a source that knows no such tags.

    manifest: as it will be written; images: image_id and the source's row. Every text of the manifest is compared with
    the original ids of its own image. Raises CohortError where one is found: the cohort is not written.
    """
    if opened.identifying is None:
        return None
    ids = [name for name in opened.rows.columns if is_id(name) or name in ("original_patient", "accession_number")]
    originals = opened.rows.select("row", *(pl.col(name).cast(pl.String).name.prefix("id ") for name in ids))
    texts = [name for name, kind in manifest.schema.items() if kind == pl.String]
    both = manifest.select("image_id", *(pl.col(name).name.prefix("text ") for name in texts))
    both = both.join(images.select("image_id", "row"), on="image_id").join(originals, on="row")
    found = sorted({name for name in texts for original in ids if _repeats(both, f"text {name}", f"id {original}")})
    if found:
        raise CohortError(
            f"carry: columns without original ids, got {', '.join(found)}.", "Leave them out of rules and of carry."
        )
    return Deidentification(files=opened.files.height, met=opened.identifying, columns_checked=tuple(sorted(texts)))


def _repeats(both: pl.DataFrame, text: str, original: str) -> bool:
    long = pl.col(original).str.len_chars() >= _SHORTEST
    inside = long & pl.col(text).str.contains(pl.col(original), literal=True)
    return bool(both.select(((pl.col(text) == pl.col(original)) | inside).fill_null(False).any()).item())
