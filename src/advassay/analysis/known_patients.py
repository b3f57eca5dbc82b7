"""Counts of patients as they may be shown: none where no patient is known.

Inside the analysis an image without a patient is a cluster of its own. A reader must not take these for patients.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from advassay.store_documents import Preparation


def with_known_patients(frame: pl.DataFrame, preparations: Mapping[str, Preparation]) -> pl.DataFrame:
    """`frame` with null in `patients` (and in `cluster`, the column that names them) on rows of cohorts of which no
    patient is known; as it is without the columns cohort and patients or cluster. `preparations`: cohort → its
    document.

    >>> frame = pl.DataFrame({"cohort": ["A"], "n": [3], "patients": [3]})
    >>> with_known_patients(frame, {})["patients"].to_list()
    [3]
    """
    columns = [name for name in ("patients", "cluster") if name in frame.columns]
    unknown = [name for name, prepared in preparations.items() if not prepared.patients_known]
    if "cohort" not in frame.columns or not unknown:
        return frame
    hidden = pl.col("cohort").is_in(unknown)
    return frame.with_columns(pl.when(hidden).then(None).otherwise(pl.col(name)).alias(name) for name in columns)
