"""What beside the disease tells the classes apart is a warning with figures."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from advassay.cohorts.cohort_warnings import attribute_warnings, patient_warnings, patients_per_class
from advassay.spec.cohort_spec import CohortSpec

CLASSES = {"ill": {"label": "ill"}, "well": {"label": "well"}}
SPEC = CohortSpec.model_validate({"source": "s", "classes": CLASSES})


def images(n: int = 40, **columns: list[object]) -> pl.DataFrame:
    """`n` images, half of each class, in turn."""
    return pl.DataFrame({"class_name": ["ill", "well"] * (n // 2), **columns})


def with_patients(patients: list[str | None], classes: list[str], roles: list[str]) -> pl.DataFrame:
    own = [patient or f"own {i}" for i, patient in enumerate(patients)]
    known = [patient is not None for patient in patients]
    return pl.DataFrame({"class_name": classes, "role": roles, "patient_id": own, "has_patient": known})


def test_few_patients_are_told_per_side_and_class():
    frame = with_patients(
        [f"p{i}" for i in range(16)], ["ill", "well"] * 8, ["training"] * 12 + ["tuning"] * 2 + ["validation"] * 2
    )
    (warning,) = patient_warnings(frame, SPEC)
    assert "training 12 (ill 6, well 6); tuning 2 (ill 1, well 1); validation 2 (ill 1, well 1)" in warning
    assert patients_per_class(frame, ("ill", "well"))["validation"] == {"ill": 1, "well": 1}


def test_a_class_that_rests_on_one_patient_is_told_with_its_share():
    patients = ["a"] * 8 + [f"b{i}" for i in range(4)] + [f"c{i}" for i in range(12)]
    frame = with_patients(patients, ["ill"] * 12 + ["well"] * 12, ["training"] * 24)
    assert any("Class ill: 8 of its 12 images are of one patient" in told for told in patient_warnings(frame, SPEC))


def test_many_patients_need_no_warning():
    frame = with_patients([f"p{i}" for i in range(40)], ["ill", "well"] * 20, ["training"] * 20 + ["validation"] * 20)
    assert patient_warnings(frame, SPEC) == []


def test_unknown_patients_are_one_warning_and_no_count():
    frame = with_patients([None] * 8, ["ill", "well"] * 4, ["training"] * 8)
    (warning,) = patient_warnings(frame, SPEC)
    assert warning.startswith("Patients are not known: in effect the split is by image")
    assert patient_warnings(frame, SPEC.model_copy(update={"split": "none"})) == []


def test_a_class_without_known_patients_is_not_counted_as_having_none():
    frame = with_patients([f"p{i}" for i in range(6)] + [None] * 6, ["ill"] * 6 + ["well"] * 6, ["training"] * 12)
    told = patient_warnings(frame, SPEC)
    assert any(warning.startswith("Patients of class well are not known") for warning in told)
    assert not any("well 0" in warning for warning in told)


@pytest.mark.parametrize("name", ["site", "Hospital", "scanner", "ManufacturerModelName", "View Position", "source"])
def test_a_column_of_where_or_how_that_names_the_class_is_a_warning_with_figures(name):
    values = ["A" if i % 2 == 0 and i < 36 else "B" for i in range(40)]
    (warning,) = attribute_warnings(images(**{name: values}), SPEC)
    assert f"Column {name} tells the classes apart: it alone names the class of 95% of the images" in warning
    assert "ill: A 18, B 2; well: B 20" in warning


@pytest.mark.parametrize("name", ["label", "finding", "age", "class"])
def test_what_an_image_shows_is_no_confounder(name):
    assert attribute_warnings(images(**{name: ["A", "B"] * 20}), SPEC) == []


def test_a_site_in_equal_shares_or_in_the_rules_is_no_confounder():
    equal = images(site=["A", "A", "B", "B"] * 10)
    assert attribute_warnings(equal, SPEC) == []
    ruled = SPEC.model_copy(update={"balance": ("site",)})
    assert attribute_warnings(images(site=["A", "B"] * 20), ruled) == []


def test_chance_in_small_cohorts_is_not_told():
    assert attribute_warnings(images(20, site=["A", "B"] * 10), SPEC) == []
    rng = np.random.default_rng(0)
    for _ in range(50):
        frame = images(
            60, site=rng.choice(list("ABC"), 60).tolist(), height=rng.integers(90, 110, 60), width=[100] * 60
        )
        assert attribute_warnings(frame, SPEC) == []


def test_the_size_of_the_files_is_a_shortcut_too():
    frame = images(80, height=[100, 140] * 40, width=[120, 200] * 40)
    (warning,) = attribute_warnings(frame, SPEC)
    assert "names the class of 100% of the images" in warning
    assert "ill 120 × 100; well 200 × 140 pixels" in warning


def test_the_ending_of_the_files_is_a_shortcut_too():
    paths = [f"{i}.{'jpg' if i % 2 else 'png'}" for i in range(40)]
    (warning,) = attribute_warnings(images(path=paths), SPEC)
    assert "The files' ending tells the classes apart" in warning
    assert "ill: .png 20; well: .jpg 20" in warning


def test_places_of_tiles_in_slides_are_no_endings():
    paths = [f"slide.svs x={i} y={i}" for i in range(40)]
    assert attribute_warnings(images(path=paths), SPEC) == []
