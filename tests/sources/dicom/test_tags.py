"""What people write into tags becomes one of a few values, or unknown: never a wrong number, never free text."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advassay.sources.dicom import tag_normalisation


@settings(deadline=None)
@given(
    years=st.integers(1, 120),
    form=st.sampled_from(["{:03d}Y", "{}", "{}Y", "{:03d}y", " {:03d}Y ", "{} Y", "{} years"]),
)
def test_every_usual_form_of_an_age_in_years_is_read(years: int, form: str) -> None:
    assert tag_normalisation.age_in_years(form.format(years)) == years


@settings(deadline=None)
@given(number=st.integers(1, 999), unit=st.sampled_from("DWM"))
def test_days_weeks_and_months_are_parts_of_years(number: int, unit: str) -> None:
    each = {"D": 1 / 365.2425, "W": 7 / 365.2425, "M": 1 / 12}[unit]
    assert tag_normalisation.age_in_years(f"{number:03d}{unit}") == pytest.approx(number * each, abs=1e-4)


@settings(deadline=None)
@given(st.text(max_size=12))
def test_an_age_is_a_number_above_0_up_to_120_or_unknown(text: str) -> None:
    age = tag_normalisation.age_in_years(text)
    assert age is None or 0 < age <= tag_normalisation.OLDEST


@pytest.mark.parametrize(
    "text", [None, "", "   ", "000Y", "0", "999Y", "121", "-45", "XXXY", "Y45", "4 5", "45.5Y", "٤٥"]
)
def test_what_is_no_age_is_unknown_and_never_0(text: str | None) -> None:
    assert tag_normalisation.age_in_years(text) is None


@settings(deadline=None)
@given(birth=st.dates(min_value=date(1980, 1, 1)), seen=st.dates())
def test_the_age_between_two_dates_is_in_completed_years(birth: date, seen: date) -> None:
    age = tag_normalisation.age_at(f"{birth:%Y%m%d}", f"{seen:%Y%m%d}")
    if age is not None and age >= 1:
        assert birth.replace(year=birth.year + int(age), day=min(birth.day, 28)) <= seen
        assert (seen.year - birth.year) - 1 <= age <= (seen.year - birth.year)
    if seen <= birth or seen.year not in tag_normalisation.YEARS:
        assert age is None


@pytest.mark.parametrize("birth", ["", None, "19000101", "00000000", "20191301", "1961"])
def test_a_date_of_birth_that_is_a_placeholder_gives_no_age(birth: str | None) -> None:
    assert tag_normalisation.age_at(birth, "20190615") is None


VIEWS = {
    **{"PA": "PA", "pa ": "PA", "Postero-Anterior": "PA", "AP": "AP", "AP PORTABLE": "AP", "LL": "lateral"},
    **{"LEFT LATERAL": "lateral", "LLO": "oblique", "RLD": "decubitus", "SWIMMERS": "other", "PA LAT": "other"},
    **{"": None, None: None},
}


@pytest.mark.parametrize(("text", "view"), VIEWS.items())
def test_views_have_one_spelling(text: str | None, view: str | None) -> None:
    assert tag_normalisation.view_of(text) == view


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_free_text_passes(text: str) -> None:
    assert tag_normalisation.view_of(text) in {*tag_normalisation.VIEWS, None}
    assert tag_normalisation.body_part_of(text) in {*tag_normalisation.BODY_PARTS, None}
    assert tag_normalisation.modality_of(text) in {*tag_normalisation.MODALITIES, "other", None}
    assert tag_normalisation.sex_of(text) in {"F", "M", "O", None}
    assert tag_normalisation.laterality_of(text) in {"L", "R", "B", "U", None}
