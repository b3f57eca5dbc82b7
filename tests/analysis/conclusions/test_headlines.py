"""What every headline says, over a grid of results: the verdict, its sign, and an interval that tells nothing."""

from __future__ import annotations

import re
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
import pytest

from advassay.analysis.conclusions.conclusion import conclude, verdict_of
from advassay.analysis.conclusions.effect_sizes import Effect, Value
from advassay.analysis.interval_text import NOT_DETERMINED
from advassay.spec.analysis_plan import AnalysisPlan

# The package exports a function of the same name as some of these modules.
amplitude, image_type, iterations, confidence, training_size = (
    import_module(f"advassay.analysis.conclusions.{name}")
    for name in ("amplitude", "image_type", "iterations", "confidence", "training_size")
)
PLAN, OPEN = AnalysisPlan(), float("inf")
RATIO = float(np.log(1.25))
COUNTED = {"X-ray": 3, "histology": 2}
SIZES = [40, 80, 160]
ENDS = (-OPEN, -10.0, -2.0, -0.5, -0.15, -0.05, 0.05, 0.15, 0.5, 2.0, 10.0, OPEN)
INTERVALS = [(low, high) for low, high in product(ENDS, ENDS) if low < high and (low, high) != (-OPEN, OPEN)]
"""In ln of a ratio."""


def effect(low: float, high: float, k: int = 4) -> Effect:
    middle = (max(low, -11.0) + min(high, 11.0)) / 2
    return Effect(middle, low, high, None, k, 400, freedom=k - 1.0)


def of_ratio(number: int, one: Effect) -> tuple[str, str]:
    """(verdict, headline)."""
    if number == 2:
        verdict = verdict_of(one)
        return verdict, image_type._headline(one, verdict, PLAN, COUNTED)
    if number == 4:
        verdict = verdict_of(one, RATIO)
        return verdict, confidence._headline(one, verdict, PLAN, "X-TB")
    verdict = verdict_of(one, RATIO, absence_supports=True)
    return verdict, training_size._headline(one, verdict, SIZES, PLAN)


def of_points(one: Effect, flat: Any = None) -> tuple[str, str]:
    verdict = amplitude.amplitude_verdict(one, flat)
    value = Value(("X-TB",), "X-ray", 0.0, 0.1, 3.0, 100)
    return verdict, amplitude._headline(one, verdict, [value], PLAN.margins.amplitude, flat)


@pytest.mark.parametrize("number", [2, 4, 5])
def test_a_headline_about_a_ratio_says_its_verdict_and_no_number_that_tells_nothing(number: int) -> None:
    seen = set()
    for low, high in INTERVALS:
        verdict, said = of_ratio(number, effect(low, high))
        seen.add(verdict)
        assert said.startswith("Not decided") == (verdict == "undecided"), said
        assert not re.search(r"e[-+]\d|inf|nan|∞|\[0, ", said), said
        wide = high - low > np.log(1000)
        if wide and low < 0 < high and np.isfinite([low, high]).all():
            assert NOT_DETERMINED in said
        else:
            assert NOT_DETERMINED not in said
        one_sided = wide and NOT_DETERMINED not in said
        assert ("at least" in said or "at most" in said) == one_sided, said
    assert seen == {"supported", "contradicted", "undecided"}


@pytest.mark.parametrize("number", [2, 4])
def test_less_is_said_where_less_is_shown_and_only_there(number: int) -> None:
    for low, high in INTERVALS:
        verdict, said = of_ratio(number, effect(low, high))
        assert ("need less amplitude than" in said) == (high < 0), said
        assert ("need" in said and "more and less are both compatible" not in said) or verdict == "undecided"
        assert ("makes no difference" in said) == (verdict == "contradicted" and high > 0), said


def test_a_dependence_within_the_margin_is_not_called_none() -> None:
    verdict, said = of_ratio(5, effect(0.05, 0.15))
    assert (verdict, said.startswith("A small dependence is shown, within the margin")) == ("supported", True)
    verdict, said = of_ratio(5, effect(-0.15, 0.15))
    assert (verdict, said.startswith("No dependence that counts")) == ("supported", True)
    verdict, said = of_ratio(5, effect(0.05, 0.5))
    assert (verdict, "A dependence is shown, but it may be too small to count" in said) == ("undecided", True)


def test_a_headline_about_amplitude_says_which_way_success_goes() -> None:
    for low, high in [(low / 4, high / 4) for low, high in INTERVALS if np.isfinite([low, high]).all()]:
        verdict, said = of_points(effect(low, high))
        assert ("succeed more often" in said) == (verdict == "supported") == (low > 0), said
        assert ("succeed less often" in said) == ("failure of the attack" in said) == (high < 0), said
        assert said.startswith("Not decided") == (verdict == "undecided") == (low < 0 < high), said
        assert (NOT_DETERMINED in said) == (high - low >= 2 and low < 0 < high), said
        assert "−−" not in said


@pytest.mark.parametrize(
    ("room", "shown", "difference", "says"),
    [
        (True, True, (-0.01, 0.01), "contradicted: The strength of the attack makes no difference that counts"),
        (True, False, (0.5, 0.9), r"undecided: .* two amplitudes differ by 70.0 percentage points \[50.0, 90.0\]"),
        (True, False, (-0.9, -0.5), r"undecided: .* two amplitudes differ by 70.0 percentage points \[50.0, 90.0\]"),
        (False, False, (-0.01, 0.01), "undecided: .* there is no room for a change"),
    ],
)
def test_a_level_slope_is_called_no_difference_only_where_success_is_the_same_everywhere(
    room: bool, shown: bool, difference: tuple[float, float], says: str
) -> None:
    verdict, said = of_points(effect(-0.001, 0.001), amplitude.Flatness(5.0, True, effect(*difference), room, shown))
    assert re.match(says, f"{verdict}: {said}"), said


@pytest.mark.parametrize("reading", ["last", "any"])
def test_the_estimand_of_conclusion_1_names_the_reading(reading: str) -> None:
    assert {"last": "the last iterate", "any": "any iterate"}[reading] == amplitude.ITERATE[reading]


LEVEL, RISING, OPEN_RISE = (-0.002, 0.01), (0.05, 0.15), (-0.02, 0.06)
UP, NONE, DOWN = (0.3, 0.5), (-0.01, 0.03), (-0.5, -0.3)


def plateau(
    one: tuple[float, float], every: tuple[float, float], whole: tuple[float, float], control: Any, *, new: bool
) -> str:
    found = iterations.Changes(effect(*one), effect(*every), effect(*whole), control)
    margin = PLAN.margins.iterations
    verdict = iterations.plateau_verdict(found, margin, new=new)
    on = iterations.decisive_change(found, verdict, margin)
    said = iterations._headline(verdict, found, on, margin, "X-TB", 0.02, new=new)
    needed = iterations._needed(found, on, PLAN, new=new)
    assert needed.endswith(".")
    return f"{verdict}: {said}"


def control(
    low: float, high: float, *, images: int = 100, lacking: tuple[str, ...] = (), counts_alone: bool = False
) -> Any:
    found = None if counts_alone or not images else effect(low, high)
    return iterations.Doubling(found, (low + high) / 2, images * 5, images, 4, lacking)


ALIKE, MORE_LATER, LESS_LATER = control(-0.01, 0.01), control(0.05, 0.1), control(-0.1, -0.05)


@pytest.mark.parametrize(
    ("one", "every", "whole", "doubling", "new", "said"),
    [
        (LEVEL, LEVEL, UP, ALIKE, True, "supported: Longer.*up to a plateau.*with twice the iterations changes by 0.0"),
        ((-0.02, 0.08), LEVEL, UP, ALIKE, True, "undecided: .*changes by 3.0 .*at ε = 0.02"),
        ((-0.03, 0.04), LEVEL, UP, ALIKE, True, "supported: Longer attacks succeed more often, up to a plateau"),
        (LEVEL, LEVEL, UP, None, False, "supported: Longer attacks succeed more often, up to a plateau"),
        (LEVEL, LEVEL, UP, None, True, "undecided: .*no control with twice as many iterations was run"),
        (LEVEL, LEVEL, UP, control(0, 0, images=0), True, "undecided: .*had no image to compare"),
        (LEVEL, LEVEL, UP, control(-0.01, 0.01, lacking=("X-TB",)), True, "undecided: .*was not run.* in X-TB"),
        (LEVEL, LEVEL, UP, control(0, 0, counts_alone=True), True, "undecided: .*no interval can be given"),
        (LEVEL, LEVEL, UP, control(0, 0, counts_alone=True), False, "supported: "),
        (
            LEVEL,
            LEVEL,
            UP,
            control(0.1, 0.1, counts_alone=True),
            False,
            "undecided: .*changed .*rate by 10.0",
        ),
        (LEVEL, LEVEL, UP, control(-0.01, 0.05), True, "undecided: .*changes below and above 2 points are both"),
        (LEVEL, LEVEL, UP, control(-0.05, 0.01), True, "undecided: .*changes below and above 2 points are both"),
        (LEVEL, LEVEL, UP, MORE_LATER, True, "contradicted: No plateau is reached: with twice .* rises by 7.5 .*more"),
        (LEVEL, LEVEL, UP, LESS_LATER, True, "contradicted: No plateau is reached: with twice .* falls by 7.5 .*lost"),
        (LEVEL, LEVEL, NONE, ALIKE, True, "undecided: .*a rise from the first iteration to the last is not"),
        (LEVEL, LEVEL, NONE, None, False, "undecided: .*a rise from the first iteration to the last is not shown"),
        (RISING, LEVEL, UP, ALIKE, True, "contradicted: No plateau is reached.*still rises by 10.0"),
        ((-0.1, 0.4), RISING, UP, ALIKE, True, r"contradicted: No plateau.* rises by 10.0 .*\[5.0, 15.0\]"),
        (DOWN, DOWN, DOWN, ALIKE, True, "contradicted: Longer attacks succeed less often.* falls by 40.0"),
        (DOWN, DOWN, UP, ALIKE, True, "contradicted: No plateau.* falls by 40.0.*failure of the attack"),
        (LEVEL, OPEN_RISE, UP, ALIKE, True, "undecided: .*changes below and above that are both compatible"),
    ],
)
def test_a_headline_about_iterations_gives_the_reason_of_its_verdict(
    one: tuple[float, float], every: tuple[float, float], whole: tuple[float, float], doubling: Any, new: bool,
    said: str,
) -> None:  # fmt: skip
    assert re.match(said, plateau(one, every, whole, doubling, new=new)), plateau(one, every, whole, doubling, new=new)


def test_the_effect_of_a_conclusion_is_written_as_its_headline_has_it() -> None:
    words = dict.fromkeys(("title", "statement", "estimand", "test", "reason", "published"), "")
    made = conclude(
        2, effect(-10.0, 10.0), "undecided", kind="ratio", unit="cohorts", rests_on="over 4 cohorts", needed="More.",
        **words
    )  # fmt: skip
    assert made.effect == "ratio not determined (interval wider than 1000-fold)"
    assert (made.low, made.high) == (pytest.approx(np.exp(-10)), pytest.approx(np.exp(10)))
    assert (made.breadth, made.needed) == ("", "More.")
