"""Every verdict can fall either way: simulated stores with a known truth, and the verdict that it deserves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advassay import layout
from advassay.analysis import Conclusion, conclusions
from advassay.analysis.claims.directions import opposed
from advassay.analysis.claims.training_size import Network, fit_line, training_size
from advassay.analysis.differences import Difference
from advassay.analysis.plateau import fewest_images, plateau
from advassay.attack_spec import Arm
from advassay.records import open_records
from tests.simulate import Cohort, make_store, population, write_run

GRID = Arm(epsilons=(0.01, 0.02, 0.05, 0.1, 0.2), step_sizes=(0.01,), steps=12)
FINE = Arm(epsilons=(0.0005, 0.001, 0.0025, 0.005), step_sizes=("epsilon/4",), steps=12, loss="margin")
RISING = Cohort("rising", "X-ray", epsilon50=0.04, slope=1.0, patients=60, images_per_patient=2, tau=1.0)
HISTOLOGY = replace(RISING, image_type="histology")

Judge = Callable[..., Conclusion]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    def judged(number: int, *cohorts: Cohort, arms: dict[str, Arm] | None = None, **dose: float) -> Conclusion:
        store = make_store(tmp_path / "store", cohorts, arms or {"A": GRID}, gallery=False, arm_dose=dose)
        return conclusions(open_records(store))[number - 1]

    return judged


def named(cohort: Cohort, *names: str, **changes: object) -> list[Cohort]:
    return [replace(cohort, name=name, **changes) for name in names]  # type: ignore[arg-type]


def test_amplitude_is_supported_where_most_cohorts_rise(judge: Judge) -> None:
    found = judge(1, *named(RISING, "a", "b"), *named(RISING, "falling", slope=-1.0))
    assert found.verdict == "supported", found.reason
    assert [row["direction"] for row in found.details] == ["rising", "rising", "falling"]
    assert (found.estimate, found.low, found.high) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


@pytest.mark.parametrize(("number", "own"), [(1, "a is rising"), (3, "a is rising"), (4, "Mean difference −")])
def test_one_cohort_is_no_study_whatever_it_shows(judge: Judge, number: int, own: str) -> None:
    found = judge(number, *named(RISING, "a", patients=300, slope=1.5, confidence_shift=0.8))
    assert (found.verdict, found.breadth) == ("undecided", "")
    assert found.reason.startswith("one cohort")
    assert own in found.reason


def test_a_verdict_says_in_how_many_cohorts_it_holds(judge: Judge) -> None:
    assert judge(1, *named(RISING, "a", "b"), *named(RISING, "c", slope=-1.0)).told == "supported in 2 of 3 cohorts"


def test_one_cohort_that_can_show_a_drop_gives_no_verdict_for_two(judge: Judge) -> None:
    found = judge(4, *named(RISING, "a", patients=300, confidence_shift=0.8), *named(RISING, "b", epsilon50=1e-6))
    assert found.verdict == "undecided"
    assert found.reason.startswith("one cohort")


def test_amplitude_is_contradicted_where_most_cohorts_fall_or_are_flat(judge: Judge) -> None:
    flat = named(RISING, "flat", slope=0.0, patients=800, rise=0.0)
    found = judge(1, *named(RISING, "falling", slope=-1.0), *flat, *named(RISING, "a"))
    assert found.verdict == "contradicted", found.reason
    assert {row["cohort"]: row["direction"] for row in found.details}["flat"] == "flat"


def test_amplitude_is_undecided_with_few_images(judge: Judge) -> None:
    found = judge(1, *named(RISING, "a", "b", slope=0.1, patients=6))
    assert found.verdict == "undecided", found.reason


def test_a_curve_that_nobody_moves_on_is_flat_only_with_enough_images(judge: Judge) -> None:
    still = {"slope": 0.0, "rise": 0.0, "images_per_patient": 1}
    found = judge(1, *named(RISING, "few", patients=20, **still), *named(RISING, "many", patients=200, **still))
    assert [row["direction"] for row in found.details] == ["undecided", "flat"]


def test_at_the_ceiling_amplitude_is_undecided_and_says_so(judge: Judge) -> None:
    found = judge(1, *named(RISING, "a", "b", epsilon50=1e-5))
    assert found.verdict == "undecided"
    assert found.reason.startswith("ceiling")


def test_at_the_ceiling_the_arm_with_smaller_amplitudes_speaks(judge: Judge) -> None:
    steep = named(RISING, "a", "b", epsilon50=0.0015, slope=1.5)
    found = judge(1, *steep, arms={"A": GRID, "C": FINE}, A=3.0)
    assert found.verdict == "supported", found.reason
    assert [row["arm"] for row in found.details] == ["C", "C"]


def test_with_two_cohorts_of_each_type_image_type_is_undecided_but_described(judge: Judge) -> None:
    found = judge(2, *named(RISING, "a", "b", slope=1.5), *named(HISTOLOGY, "c", "d", slope=0.5))
    assert found.verdict == "undecided"
    assert found.reason.startswith("too few cohorts")
    assert found.high is not None
    assert found.high < 0


@pytest.mark.parametrize(("histology", "verdict"), [(0.4, "supported"), (1.0, "undecided"), (1.8, "contradicted")])
def test_with_four_cohorts_of_each_type_the_slopes_decide(judge: Judge, histology: float, verdict: str) -> None:
    found = judge(2, *named(RISING, *"abcd"), *named(HISTOLOGY, *"efgh", slope=histology))
    assert found.verdict == verdict, found.reason
    assert found.n == 8


def test_image_types_are_compared_within_one_arm_that_shows_both(judge: Judge) -> None:
    low = named(RISING, *"abcd", epsilon50=0.0015, slope=1.5, patients=200)
    high = named(HISTOLOGY, *"efgh", slope=0.8, epsilon50=0.05)
    mixed = judge(2, *low, *high, arms={"A": GRID, "C": FINE}, A=0.0, C=2.5)
    assert {row["arm"] for row in mixed.details if "arm" in row} == {"C"}
    assert "in arm C" in mixed.reason
    slopes = [row for row in mixed.details if row.get("slope_per_doubling") is not None]
    assert mixed.n == len(slopes)


def test_a_cohort_in_which_almost_all_have_fallen_has_no_slope_and_gives_way_to_the_finer_arm(judge: Judge) -> None:
    nearly = named(RISING, "a", "b", epsilon50=0.0015, slope=1.5, patients=36, images_per_patient=1)
    found = judge(1, *nearly, arms={"A": GRID, "C": FINE}, A=0.0)
    assert [row["arm"] for row in found.details] == ["C", "C"]
    assert found.verdict == "supported", found.reason
    assert found.alternatives[-1].startswith("a, b: judged by another arm")


def test_one_image_that_stands_at_one_amplitude_gives_no_slope(judge: Judge) -> None:
    nearly = replace(RISING, name="a", epsilon50=0.0042, slope=1.5, patients=36, images_per_patient=1)
    [row] = judge(1, nearly).details
    assert 0.9 <= row["rate_from"] < 0.98
    assert (row["direction"], row["slope_per_doubling"], row["p_holm"]) == ("ceiling", None, None)


def test_names_of_one_image_type_count_as_it_and_others_are_named(judge: Judge) -> None:
    xray = [
        replace(c, image_type=t) for c, t in zip(named(RISING, *"abc"), ("CXR", "chest x-ray", "Xray"), strict=True)
    ]
    slides = [replace(c, image_type=t) for c, t in zip(named(RISING, "d", "e"), ("Pathology", "fundus"), strict=True)]
    found = judge(2, *xray, *slides)
    assert [row["compared_as"] for row in found.details] == ["X-ray"] * 3 + ["histology", "neither"] + [
        "comparison"
    ] * 2
    assert found.n == 4
    assert "not compared: e (fundus)" in found.reason


def test_image_types_are_compared_in_epsilon50_and_relative_to_contrast_too(judge: Judge) -> None:
    found = judge(2, *named(RISING, *"abcd", patients=200), *named(HISTOLOGY, *"efgh", epsilon50=0.08, patients=200))
    ratio, relative = (row for row in found.details if row["compared_as"] == "comparison")
    assert ratio["ratio_low"] < 0.08 / 0.04 < ratio["ratio_high"]
    assert relative["ratio"] == pytest.approx(ratio["ratio"], rel=0.05)  # simulated contrasts are alike
    assert f"ratio of ε50, histology / X-ray {ratio['ratio']:.2f}" in found.reason


def test_the_ratio_of_epsilon50_has_an_interval_over_images_where_cohorts_are_few(judge: Judge) -> None:
    found = judge(2, *named(RISING, "a", "b", patients=200), replace(HISTOLOGY, name="e", epsilon50=0.08, patients=200))
    ratio = next(row for row in found.details if row["compared_as"] == "comparison")
    rows = {row["cohort"]: row for row in found.details}
    assert ratio["interval"].startswith("over images, of these cohorts alone")
    assert ratio["ratio_low"] < 0.08 / 0.04 < ratio["ratio_high"]
    widths = {c: np.log(rows[c]["epsilon50_fit_high"] / rows[c]["epsilon50_fit_low"]) for c in "abe"}
    expected = np.sqrt(widths["e"] ** 2 + (widths["a"] ** 2 + widths["b"] ** 2) / 4)
    assert np.log(ratio["ratio_high"] / ratio["ratio_low"]) == pytest.approx(expected)


def test_an_extrapolated_epsilon50_is_compared_with_nothing(judge: Judge) -> None:
    beyond = replace(HISTOLOGY, name="e", epsilon50=0.6, patients=200)
    found = judge(2, *named(RISING, "a", "b", patients=200), beyond)
    row = next(row for row in found.details if row["cohort"] == "e")
    assert row["slope_per_doubling"] is not None
    assert not row["within_grid"]
    assert "ratio" not in next(row for row in found.details if row["compared_as"] == "comparison")


def test_a_slope_that_the_paired_comparison_contradicts_is_not_called(judge: Judge) -> None:
    [row] = judge(1, replace(RISING, name="a")).details
    assert (row["direction"], row["cross_check"]) == ("rising", "rises")
    opposite = Difference(-0.2, -0.3, -0.1)
    assert opposed("rising", opposite)
    assert not opposed("falling", opposite)


def test_undecided_cohorts_give_bounds_not_an_interval(judge: Judge) -> None:
    assert [judge(n, *named(RISING, "a")).bounds for n in (1, 3, 4)] == ["undecided", "undecided", "interval"]


def test_cohorts_that_share_images_count_once(judge: Judge) -> None:
    found = judge(2, *named(RISING, *"abcd", archive="one"), *named(HISTOLOGY, *"efgh", slope=0.4))
    assert found.verdict == "undecided"
    assert found.n == 5


MANY = replace(RISING, patients=400, images_per_patient=1, icc=0.0)


def test_iterations_are_supported_where_success_rises_and_levels_off(judge: Judge) -> None:
    found = judge(3, *named(MANY, "a", "b", tau=1.0))
    assert found.verdict == "supported", found.reason
    last = [row for row in found.details if row["success"] == "last"]
    assert all(row["plateau"] == "reached" and 3 <= row["plateau_step"] <= 9 for row in last)


@pytest.mark.parametrize("changes", [{"tau": 12.0, "rise": 4.0, "patients": 900}, {"rise": 0.0}])
def test_iterations_are_contradicted_where_success_still_rises_or_never_did(judge: Judge, changes: dict) -> None:
    found = judge(3, *named(MANY, "a", "b", epsilon50=0.02, **changes))
    assert found.verdict == "contradicted", found.reason


def test_iterations_are_undecided_where_the_plateau_cannot_be_shown(judge: Judge) -> None:
    found = judge(3, *named(RISING, "a", "b"))
    assert found.verdict == "undecided"
    assert {row["plateau"] for row in found.details} == {"too few images"}
    assert "133 attackable images" in found.reason


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("margin", [0.01, 0.02, 0.1])
def test_with_the_fewest_images_a_plateau_shows_and_with_one_less_it_does_not(level: float, margin: float) -> None:
    least = fewest_images(level, margin)
    still = np.zeros((9, least), bool)
    assert plateau(still, np.arange(least), level, margin).state == "reached"
    assert plateau(still[:, 1:], np.arange(least - 1), level, margin).state == "too few images"


def test_a_plateau_begins_where_the_remaining_rise_is_below_the_margin() -> None:
    falls_at = np.r_[np.repeat([1, 2, 3, 4], 100), np.full(600, 99)]
    fallen = falls_at[None, :] <= np.arange(21)[:, None]
    found = plateau(fallen, np.arange(1000))
    assert (found.state, found.step) == ("reached", 4)
    late = np.where(falls_at == 4, 20, falls_at)
    assert plateau(late[None, :] <= np.arange(21)[:, None], np.arange(1000)).state == "not reached"
    assert plateau(fallen[:, ::25], np.arange(40)).state == "too few images"


def test_confidence_is_supported_where_success_drops(judge: Judge) -> None:
    found = judge(4, *named(MANY, "a", "b", confidence_shift=1.5))
    assert found.verdict == "supported", found.reason


def test_confidence_is_contradicted_where_no_drop_is_left(judge: Judge) -> None:
    found = judge(4, *named(MANY, *"abcd", patients=1500, epsilon50=0.1, slope=1.2))
    assert found.verdict == "contradicted", found.reason


def test_the_confidence_at_which_success_breaks_is_estimated_with_an_interval(judge: Judge) -> None:
    found = judge(4, *named(MANY, "a", confidence_shift=2.5, patients=1500))
    row = found.details[0]
    assert row["breakpoint_low"] <= 0.95 <= row["breakpoint_high"]
    assert row["rate_above_breakpoint"] < row["rate_below_breakpoint"]
    assert row["breakpoint_high"] - row["breakpoint_low"] < 0.1


def test_saturated_images_are_counted_and_the_drop_is_shown_without_them(judge: Judge) -> None:
    row = judge(4, *named(MANY, "a", confidence_shift=1.5, patients=1500)).details[0]
    assert row["suspect_images"] > 0
    assert row["difference_without_suspects"] < 0
    assert row["n_above"] > row["suspect_images"]


def test_confidence_is_undecided_with_few_images(judge: Judge) -> None:
    assert judge(4, *named(RISING, "a", patients=15)).verdict == "undecided"


@pytest.mark.parametrize(("epsilon50", "end"), [(1e-6, "ceiling"), (1e4, "floor")])
def test_where_nothing_can_be_seen_neither_confidence_nor_size_is_judged(
    judge: Judge, epsilon50: float, end: str
) -> None:
    hidden = replace(MANY, name="hidden", patients=900, epsilon50=epsilon50, confidence_shift=1.5)
    found = judge(4, hidden)
    assert (found.verdict, found.estimate, found.n) == ("undecided", None, 0)
    assert found.reason.startswith(end)
    series = conclusions_of_series(judge, epsilon50=epsilon50)
    assert (series.verdict, series.p, series.estimate) == ("undecided", None, None)
    assert series.reason.startswith(end)


def conclusions_of_series(judge: Judge, **changes: float) -> Conclusion:
    return judge(5, replace(SERIES, name="sized", **changes))


def test_at_the_main_arms_ceiling_confidence_is_judged_at_the_finer_arms_amplitudes(judge: Judge) -> None:
    steep = named(MANY, "a", "b", epsilon50=0.0015, slope=1.5, confidence_shift=1.5)
    found = judge(4, *steep, arms={"A": GRID, "C": FINE}, A=6.0)
    assert found.verdict == "supported", found.reason
    assert "arm C, ε = " in found.reason
    assert "In arm A (ε = 0.02) most cohorts stand at their ceiling" in found.reason


def test_a_drop_in_few_of_the_cohorts_is_no_drop_of_the_cohorts(judge: Judge) -> None:
    seen = named(MANY, "a", patients=1500, confidence_shift=1.5)
    found = judge(4, *seen, *named(MANY, *"bcd", patients=20, epsilon50=1e-6))
    assert found.verdict == "undecided"
    assert "Fewer than half" in found.reason


def test_without_spread_between_networks_there_is_no_test() -> None:
    used = [Network("a", size, seed, 0.02, 0.5, 0.9, 100) for size in (10, 20, 40) for seed in range(3)]
    assert fit_line(used).p_equivalence(0.02) is None


def test_a_drop_that_only_one_update_rule_shows_is_called_an_artefact(tmp_path: Path) -> None:
    store, margin = layout.Store(tmp_path), GRID.model_copy(update={"loss": "margin"})
    for cohort in named(MANY, *"abc", patients=1500, confidence_shift=1.5):
        images = population(cohort)
        write_run(store, cohort, images, "A", GRID)
        write_run(store, replace(cohort, confidence_shift=0.0), images, "C", margin, position=1, extra=-2.5)
    found = conclusions(open_records(tmp_path))[3]
    assert found.verdict == "supported"
    assert "arm C" in found.reason
    means = {row["arm"]: row["difference"] for row in found.details if row["cohort"] == "mean over 3 of 3 cohorts"}
    assert means["A"] == pytest.approx(found.estimate)
    assert f"arm C {means['C']:+.3f}" in found.reason
    assert "Arms A show the drop, arms C exclude it" in found.alternatives[0]


SERIES = replace(MANY, name="series", sizes=(40, 80, 160), seeds=(0, 1, 2), network_sd=0.06)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [({}, "supported"), ({"size_effect": 0.5}, "contradicted"), ({"network_sd": 0.6}, "undecided")],
)
def test_training_size_is_judged_over_networks(judge: Judge, changes: dict, verdict: str) -> None:
    found = judge(5, replace(SERIES, **changes))
    assert found.verdict == verdict, found.reason
    assert found.unit == "networks"
    assert found.n == 10


@pytest.mark.parametrize("changes", [{"seeds": (0,)}, {"sizes": (80, 160)}, {"sizes": ()}])
def test_too_few_networks_leave_training_size_undecided(judge: Judge, changes: dict) -> None:
    found = judge(5, replace(SERIES, **changes))
    assert found.verdict == "undecided"
    assert found.reason.startswith("not enough networks")


def test_where_most_networks_stand_at_the_ceiling_no_independence_is_claimed(monkeypatch) -> None:
    """Eight of nine at 1: the slope is within ±0.02 because nothing can move."""
    rates = {0.02: [1.0] * 8 + [0.973], 0.005: [0.5, 0.8, 0.7, 0.4, 0.9, 0.6, 0.3, 0.9, 0.5]}
    places = [(size, seed) for size in (10, 20, 40) for seed in range(3)]

    def found(*epsilons: float) -> Conclusion:
        made = [
            Network("a", *place, e, rate, 0.9, 73)
            for e in epsilons
            for place, rate in zip(places, rates[e], strict=True)
        ]
        monkeypatch.setitem(training_size.__globals__, "networks", lambda records: made)
        return training_size(None)  # type: ignore[arg-type]

    crowded = found(0.02)
    assert crowded.p is not None
    assert crowded.p < 0.05
    assert crowded.verdict == "undecided"
    assert "8 of 9 networks stand at the ceiling" in crowded.reason
    assert {row["epsilon"] for row in found(0.02, 0.005).details if row["row"] == "network"} == {0.005}


def test_every_arm_is_judged_at_its_own_amplitude_nearest_to_the_one_asked(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", (SERIES,), {"A": GRID, "C": FINE}, gallery=False)
    found = conclusions(open_records(store), epsilon=0.1)
    assert {row["arm"]: row["epsilon"] for row in found[3].details} == {"A": 0.1, "C": 0.005}
    assert {row["epsilon"] for row in found[2].details} == {0.1}
    assert {row["epsilon"] for row in found[4].details if row["row"] == "network"} == {
        0.05
    }  # 0.01, 0.05, 0.2 are shared


def test_conclusions_are_json_and_carry_the_published_value(judge: Judge) -> None:
    found = judge(1, *named(RISING, "a"))
    again = Conclusion.model_validate_json(found.model_dump_json())
    assert again == found
    assert "7 of 8" in found.published
