"""Who is in each split: counted from the manifest, patients once, what is missing said."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from simulate import Cohort, make_store

from advassay.records import open_records
from advassay.report.tables.participants import kinds, participants
from advassay.store_layout import MANIFEST, Store

MANIFEST_ROWS = pl.DataFrame(
    {
        "image_id": [f"i{i}" for i in range(8)],
        "patient_id": ["a", "a", "b", "c", "d", "e", "f", "f"],
        "role": ["training"] * 5 + ["validation"] * 3,
        "parent_image_id": [None] * 7 + ["i6"],
        "age": ["30", "31", "50", None, "70", "20", "40", "40"],
        "sex": ["F", "F", "M", "M", None, "F", "M", "M"],
        "view": ["PA", "AP", "PA", "PA", "PA", "PA", "PA", "PA"],
    }
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cohorts = (Cohort("X-A", "X-ray", patients=12), Cohort("H-B", "histology", patients=12))
    made = make_store(tmp_path_factory.mktemp("who") / "store", cohorts, gallery=False)
    MANIFEST_ROWS.write_parquet(Store(made).cohort("X-A") / MANIFEST)
    MANIFEST_ROWS.drop("age", "sex", "view").write_parquet(Store(made).cohort("H-B") / MANIFEST)
    return made


def test_patients_count_once_by_their_first_image(store: Path) -> None:
    training = participants(open_records(store)).filter(split="training").row(0, named=True)
    assert (training["images"], training["patients"]) == (5, 4)
    assert (training["age_median"], training["age_low"], training["age_high"]) == (50, 30, 70)
    assert training["sex"] == "M 2 (50 %), F 1 (25 %), unknown 1 (25 %)"
    assert training["view"] == "PA 4 (80 %), AP 1 (20 %)"


def test_what_is_missing_is_said(store: Path) -> None:
    training = participants(open_records(store)).filter(split="training").row(0, named=True)
    assert training["age_missing"] == 1
    assert training["age"] == "50 (40–60), 30–70, unknown of 1"


def test_augmented_copies_are_no_further_images(store: Path) -> None:
    assert participants(open_records(store)).filter(split="validation")["images"].to_list() == [2]


def test_a_cohort_without_such_columns_is_left_out(store: Path) -> None:
    assert set(participants(open_records(store))["cohort"]) == {"X-A"}


def test_rare_kinds_are_added_up() -> None:
    assert kinds(pl.Series(list("aaaabbbccde"))).endswith("others 1 (9 %)")
