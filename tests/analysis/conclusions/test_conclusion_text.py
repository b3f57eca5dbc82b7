"""What a reader is told about a verdict, beside its headline."""

from __future__ import annotations

from typing import Any

import pytest

from advassay.analysis import Conclusion
from advassay.analysis.conclusions.conclusion_text import basis, correction, judged_in, statistics_lines


def conclusion(**changes: Any) -> Conclusion:
    given: dict[str, Any] = {
        "number": 1, "title": "Amplitude", "statement": "The success rate rises with ε.", "headline": "It rises.",
        "estimand": "change per doubling", "estimate": 0.18, "low": 0.12, "high": 0.25,
        "effect": "18.0 percentage points per doubling of ε [12.0, 25.0]", "prediction_low": 0.003,
        "prediction_high": 0.365, "i2": 0.8, "test": "slope", "p": 0.02, "p_holm": 0.1, "n": 4, "unit": "cohorts",
        "images": 308, "verdict": "supported", "verdict_holm": "undecided", "breadth": "over 4 cohorts",
        "reason": "The whole interval lies above 0.", "margin": 0.02, "arm": "C", "step_size": "epsilon/4",
        "reading": "success at the last iteration", "prespecified": True, "published": "It rises.",
    }  # fmt: skip
    return Conclusion(**(given | changes))


def test_the_basis_names_cohorts_images_and_what_a_new_cohort_would_show() -> None:
    assert basis(conclusion()) == (
        "Based on 4 cohorts with 308 images. In a new cohort of the same kind a change in percentage points between "
        "0.3 and 36.5 is expected."
    )


def test_a_prediction_of_a_ratio_is_written_as_one() -> None:
    text = basis(conclusion(number=4, prediction_low=0.25, prediction_high=4.0))
    assert text.endswith("a ratio between 0.25 and 4 is expected.")


def test_a_prediction_that_could_be_anything_is_not_printed_as_numbers() -> None:
    text = basis(conclusion(number=2, prediction_low=0.00036, prediction_high=9845.0))
    assert text.endswith("These are too few to say what a new cohort would show.")


def test_one_cohort_has_no_prediction_and_is_counted_in_the_singular() -> None:
    lone = conclusion(n=1, prediction_low=None, prediction_high=None)
    assert basis(lone) == "Based on 1 cohort with 308 images."


def test_nothing_is_said_to_be_based_on_no_images() -> None:
    assert basis(conclusion(images=0, n=0)) == ""


def test_a_verdict_that_holms_correction_takes_away_is_said_beside_it() -> None:
    assert correction(conclusion()).endswith("(Holm) the verdict is: undecided.")
    assert correction(conclusion(verdict_holm="supported")) == ""


def test_both_p_values_and_the_corrected_verdict_stand_in_the_statistics() -> None:
    lines = dict(statistics_lines(conclusion()))
    assert lines["p value"] == "0.02 for no effect; 0.1 corrected for several questions (Holm), verdict then: undecided"


def test_a_margin_is_written_in_the_unit_of_its_effect() -> None:
    assert dict(statistics_lines(conclusion()))["Smallest effect"] == (
        "changes wholly within ±2 percentage points, over all amplitudes and between any two, count as none, unless "
        "the interval excludes 0"
    )
    ratio = dict(statistics_lines(conclusion(number=5, margin=1.25)))
    assert ratio["Smallest effect"] == "an interval of the ratio wholly within 1/1.25 to 1.25 counts as no dependence"


def test_an_effect_without_an_estimate_has_no_interval_and_no_heterogeneity() -> None:
    lines = dict(statistics_lines(conclusion(estimate=None, effect="no estimate", p=None)))
    assert lines["Effect"] == "no estimate"
    assert {"Between cohorts", "p value"}.isdisjoint(lines)


@pytest.mark.parametrize(
    ("prespecified", "said"),
    [
        (True, "planned before the first attack"),
        (False, "planned or changed after attacks had begun, so not pre-specified"),
        (None, "not pre-specified: the store holds no analysis plan, and the defaults were used"),
    ],
)
def test_when_the_choices_were_made_is_said(prespecified: bool | None, said: str) -> None:
    text = judged_in(conclusion(prespecified=prespecified))
    assert text == f"attack arm C, step size ε/4; success at the last iteration; {said}"
