"""Was a prepared cohort made with this pseudonym key? Answered by what is there: no fingerprint of a key is stored."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import polars as pl

from advassay.cohorts.prepared import read_manifest
from advassay.errors import CohortError
from advassay.identity import pseudonym
from advassay.sources.private import read_private


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
            f"--key-file: the key whose pseudonyms cohort {name} holds is needed, got another (without --key-file it "
            "follows from the study's name).",
            "Give the key file the cohort was prepared with, or prepare into another --store.",
        )
