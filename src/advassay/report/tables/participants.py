"""Who is in each cohort: age, sex and view by split, as TRIPOD+AI asks for each data set (items 20b and 20c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from advassay.checked_files import read_frame
from advassay.records.store_reader import Records
from advassay.report.tables.cohort_tables import preparations
from advassay.report.tables.column_labels import columns
from advassay.report.tables.table import TABLES, Printed, Table
from advassay.report.text.number_format import count
from advassay.store_documents import Preparation
from advassay.store_layout import MANIFEST, Store

if TYPE_CHECKING:
    pass

ROLES = ("training", "tuning", "validation")
HEALED = "`advassay prepare` with the same study and --store prepares the cohort anew."
SCHEMA = {
    "cohort": pl.String, "split": pl.String, "images": pl.Int64, "patients": pl.Int64, "counted": pl.String,
    "age_median": pl.Float64, "age_q25": pl.Float64, "age_q75": pl.Float64, "age_low": pl.Float64,
    "age_high": pl.Float64, "age_missing": pl.Int64, "age": pl.String, "sex": pl.String, "view": pl.String,
}  # fmt: skip
MOST_KINDS = 4
"""Kinds of a column that are named; further ones are added up."""


def participants(records: Records) -> pl.DataFrame:
    """One row per prepared cohort and split, where its manifest has a column age, sex or view.

    Columns: cohort, split, images, patients (null where none is known), counted (what age and sex are counted in:
    patients, each by the first of its images, or images), age_median, age_q25, age_q75, age_low, age_high, age_missing,
    and as text age, sex and view (of images). Null where the manifest has no such column.
    """
    rows = [row for preparation in preparations(records) for row in _of_cohort(records, preparation)]
    return pl.DataFrame(rows, schema=SCHEMA)


def _of_cohort(records: Records, preparation: Preparation) -> list[dict[str, Any]]:
    path = Store(records.root).cohort(preparation.cohort) / MANIFEST
    if not path.exists():  # a store that was handed on without its cohorts
        return []
    manifest = read_frame(path, HEALED)
    if not {"age", "sex", "view"} & set(manifest.columns) or "role" not in manifest.columns:
        return []
    own = manifest.filter(pl.col("parent_image_id").is_null()) if "parent_image_id" in manifest.columns else manifest
    return [
        {"cohort": preparation.cohort, "split": role} | _of_split(part, preparation.patients_known)
        for role in ROLES
        if len(part := own.filter(pl.col("role") == role))
    ]


def _of_split(images: pl.DataFrame, patients_known: bool) -> dict[str, Any]:
    people = images.unique("patient_id", keep="first", maintain_order=True) if patients_known else images
    row: dict[str, Any] = {
        "images": len(images), "patients": len(people) if patients_known else None,
        "counted": "patients" if patients_known else "images",
    }  # fmt: skip
    if "age" in people.columns:
        row |= _ages(people["age"].cast(pl.Float64, strict=False))
    if "sex" in people.columns:
        row["sex"] = kinds(people["sex"])
    if "view" in images.columns:
        row["view"] = kinds(images["view"])
    return row


def _ages(given: pl.Series) -> dict[str, Any]:
    known = given.drop_nulls()
    missing = len(given) - len(known)
    if known.is_empty():
        return {"age_missing": missing, "age": f"unknown of all {count(missing)}"}
    names = ("age_q25", "age_median", "age_q75")
    found = dict(zip(names, (known.quantile(q, "linear") for q in (0.25, 0.5, 0.75)), strict=True))
    found |= {"age_low": known.quantile(0.0), "age_high": known.quantile(1.0)}
    q25, median, q75, low, high = (f"{found[name]:.3g}" for name in (*names, "age_low", "age_high"))
    text = f"{median} ({q25}–{q75}), {low}–{high}" + (f", unknown of {count(missing)}" if missing else "")
    return found | {"age_missing": missing, "age": text}


def kinds(given: pl.Series) -> str:
    """How often each value occurs, the most frequent first.

    >>> kinds(pl.Series(["F", "M", "F", None]))
    'F 2 (50 %), M 1 (25 %), unknown 1 (25 %)'
    """
    every = given.cast(pl.String).fill_null("unknown").value_counts(sort=True, name="n").rows()
    ranked = sorted(every, key=lambda pair: (-pair[1], str(pair[0])))
    shown, rest = ranked[:MOST_KINDS], sum(n for _, n in ranked[MOST_KINDS:])
    told = [*shown, ("others", rest)] if rest else shown
    return ", ".join(f"{kind} {count(n)} ({100 * n / len(given):.0f} %)" for kind, n in told)


TABLES.register(
    Table(
        "participants",
        about="age, sex and view of each cohort and split, where the source has them",
        build=lambda findings: participants(findings.records),
        printed=(
            Printed(
                columns(
                    "cohort* split images patients age sex view",
                    age="age: median (quartiles), range", sex="sex", view="view, images",
                ),
                "Who is in each cohort and split, as TRIPOD+AI (2024) asks. Age and sex are of patients, each by the "
                "first of its images; where no patient is known they are of images. Cohorts whose source has none of "
                "these columns are left out.",
                "cohorts", 15, group="cohort", companion=True,
            ),
        ),
    )
)  # fmt: skip
