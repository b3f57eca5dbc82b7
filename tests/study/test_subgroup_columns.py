"""Which columns of a cohort become groups in the records, and how."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from tiny_study import cpu

import advassay as aa
from advassay.records import open_records
from advassay.spec.study_spec import Study
from advassay.study.run.runner import run
from advassay.study.run.subgroup_columns import subgroup_columns

MANIFEST = pl.DataFrame(
    {
        "image_id": [f"i{n}" for n in range(24)],
        "patient_id": [f"p{n}" for n in range(24)],
        "sex": ["f", "m", " "] * 8,
        "age": [float(10 + 3 * n) for n in range(24)],
        "projections": [1, 2] * 12,
        "dose": [0.1 * n for n in range(24)],
        "scanner": [f"serial {n}" for n in range(24)],
        "copy_of_patient": [f"p{n}" for n in range(24)],
        "patient_name": ["x", "y"] * 12,
        "slide_id": ["a", "b"] * 12,
        "visit": ["2020-01-02", "2020-01-03"] * 12,
    }
)


def made(name: str) -> list[str | None]:
    frame, refused = subgroup_columns(MANIFEST, [name])
    assert not refused
    assert frame["image_id"].equals(MANIFEST["image_id"])
    return frame[f"subgroup_{name}"].to_list()


def test_texts_are_groups_as_they_are_and_blanks_are_none() -> None:
    assert made("sex")[:3] == ["f", "m", None]


def test_ages_are_cut_into_the_same_bands_of_twenty_years_everywhere() -> None:
    bands = made("age")
    assert (bands[0], bands[4], bands[23]) == ("0 to < 20", "20 to < 40", "60 to < 80")


def test_few_numbers_are_groups_and_many_are_cut_into_bands() -> None:
    assert set(made("projections")) == {"1", "2"}
    assert sorted(set(made("dose")), key=str) == ["0 to < 0.5", "0.5 to < 1", "1 to < 1.5", "1.5 to < 2", "2 to < 2.5"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("copy_of_patient", "repeats an original patient id"),
        ("patient_name", "says who somebody is"),
        ("slide_id", "holds identifiers"),
        ("visit", "dates"),
        ("scanner", "more than 20 groups"),
        ("site", "not a column of the prepared cohort"),
    ],
)
def test_a_column_that_cannot_be_a_group_is_left_out_with_its_reason(name: str, why: str) -> None:
    frame, refused = subgroup_columns(MANIFEST, [name])
    assert frame.columns == ["image_id"]
    assert why in refused[name]


def test_groups_named_later_enter_a_finished_store_without_a_new_attack(copied: Path, tiny: Study) -> None:
    before = {h.run_id: h.cost.gradient_evaluations for h in open_records(copied).headers}
    plan = tiny.analysis.model_copy(update={"subgroups": ("sex", "age", "site")})
    run(tiny.model_copy(update={"analysis": plan}), cpu(copied))
    records = open_records(copied)
    assert {h.run_id: h.cost.gradient_evaluations for h in records.headers} == before
    chest = next(h for h in records.headers if h.cohort == "X-TB")
    images = records.run(chest.run_id).images
    assert {"subgroup_sex", "subgroup_age"} <= set(images.columns)
    assert "subgroup_site" not in images.columns
    assert images["subgroup_sex"].drop_nulls().n_unique() == 2
    assert any(note.startswith("Subgroup site is not in the records: not a column") for note in chest.notes)
    assert set(aa.subgroup_effects(records)["subgroup"]) == {"sex", "age"}
