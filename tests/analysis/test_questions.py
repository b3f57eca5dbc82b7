"""Every verdict can fall either way, and none is the opposite of a known truth."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from scipy import stats as sps

from advassay.analysis import Conclusion, minimal_epsilon
from advassay.analysis.conclusions import conclusions, judge
from advassay.analysis.conclusions.amplitude import judge_amplitude
from advassay.analysis.conclusions.conclusion import verdict_of, what_it_takes
from advassay.analysis.conclusions.confidence import judge_confidence
from advassay.analysis.conclusions.effect_sizes import Effect, Value, mean_by_patient, overall, values_of
from advassay.analysis.conclusions.evidence import Evidence, finished, kind_of
from advassay.analysis.conclusions.image_type import judge_image_type, log_epsilon50
from advassay.analysis.conclusions.iterations import judge_iterations
from advassay.analysis.conclusions.training_size import judge_training_size
from advassay.analysis.dose_response.epsilon50 import epsilon50_of
from advassay.analysis.dose_response.thresholds import Thresholds, thresholds
from advassay.analysis.outcome_arrays import OutcomeArrays, load_outcomes
from advassay.checked_files import write_document
from advassay.errors import SpecError
from advassay.records import open_records
from advassay.records.image_removal import remove_images
from advassay.spec.analysis_plan import AnalysisPlan
from advassay.spec.attack_spec import Arm
from advassay.spec.study_spec import Study
from advassay.store_documents import Controls, Doubling
from advassay.store_layout import HEADER, Store
from advassay.study import load_study
from advassay.study.run.preregistration import freeze_analysis_plan
from benchmarks.verdict_scenarios import GRID, MIDDLE, CohortTruth, Shape, network, study, thresholds_of, with_control
from tests.simulate import COHORTS, make_store

NEVER = Shape("normal", 0.1)
WIDE = Arm(epsilons=(0.005, 0.01, 0.02, 0.04, 0.1, 0.2), step_sizes=("epsilon/4",), steps=8)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def cohorts(rng: np.random.Generator, names: str, image_type: str = "X-ray", **truth: object) -> list[OutcomeArrays]:
    """One network a name; locations differ a little from cohort to cohort unless given."""
    made = [
        replace(CohortTruth(name, image_type, location=MIDDLE + 0.2 * rng.standard_normal()), **truth)  # type: ignore[arg-type]
        for name in names.split()
    ]
    return [network(rng, cohort) for cohort in made]


# Question 1 -------------------------------------------------------------------------------------------------------


def test_success_that_rises_supports_amplitude(rng: np.random.Generator) -> None:
    found = judge_amplitude(study(cohorts(rng, "a b c")))
    assert found.verdict == "supported", found.reason
    assert found.low is not None
    assert 0 < found.low <= found.estimate  # type: ignore[operator]
    assert found.breadth == "over 3 cohorts"


def test_a_steep_curve_counts_although_its_images_are_separated(rng: np.random.Generator) -> None:
    found = judge_amplitude(study(cohorts(rng, "a b c", shape=Shape("normal"), location=MIDDLE + 0.3, images=40)))
    steep = cohorts(rng, "d e f", images=40, location=float(np.log(0.0017)))
    assert found.verdict == judge_amplitude(study(steep)).verdict == "supported"


def test_a_fall_in_every_cohort_contradicts_and_is_named_a_failure_of_the_attack(rng: np.random.Generator) -> None:
    found = judge_amplitude(study(cohorts(rng, "a b c d e f g h", images=14, falls=-0.08)))
    assert found.verdict == "contradicted"
    assert "failure of the attack" in found.headline
    assert all(row["monotone_rate_to"] >= row["rate_to"] for row in found.details)


def with_rates(
    rng: np.random.Generator, pack: OutcomeArrays, rates: tuple[float, ...], alike: float = 0.0
) -> OutcomeArrays:
    """The network with these success rates at its amplitudes; `alike`: share of images that fall at all or none."""
    n = len(pack.image_ids)
    same, own = rng.random(n), rng.random((len(rates), n))
    now = np.where(rng.random(n) < alike, same, own) < np.array(rates)[:, None]
    last = np.repeat(now[:, None], pack.steps + 1, axis=1) & pack.attackable[:, None]
    last[:, 0] = False
    return replace(pack, last=last, any=np.maximum.accumulate(last, axis=1))


def of_rates(rng: np.random.Generator, *rates: float, images: int = 400, k: int = 4, alike: float = 0.0) -> Conclusion:
    grid = tuple(0.0005 * 2.0**i for i in range(len(rates)))
    packs = cohorts(rng, " ".join("abcdefgh"[:k]), images=images, grid=grid)
    return judge_amplitude(study([with_rates(rng, pack, rates, alike) for pack in packs]))


def test_flat_success_contradicts_only_where_it_is_shown_to_be_flat(rng: np.random.Generator) -> None:
    found = of_rates(rng, *[0.5] * 5, images=2000, alike=0.995)
    assert (found.verdict, {row["direction"] for row in found.details}) == ("contradicted", {"flat"})
    assert judge_amplitude(study(cohorts(rng, "a b", images=20, falls=0.0))).verdict == "undecided"


def test_a_hump_is_no_sameness_and_is_told(rng: np.random.Generator) -> None:
    found = of_rates(rng, 0.05, 0.5, 0.95, 0.95, 0.5, 0.05)
    assert (found.verdict, "two amplitudes differ by" in found.headline) == ("undecided", True)
    assert {row["direction"] for row in found.details} == {"undecided"}
    assert "Success is lost again as ε grows in a (from" in found.remarks[0]
    assert of_rates(rng, 0.9, 0.4, 0.1, 0.1, 0.4, 0.9, images=1000, k=1).verdict == "undecided"


def test_success_near_the_ceiling_or_the_floor_is_not_called_the_same(rng: np.random.Generator) -> None:
    high = of_rates(rng, *[0.97] * 5, images=2000, alike=0.999)
    assert (high.verdict, "no room for a change" in high.headline) == ("undecided", True)
    low = of_rates(rng, *[0.03] * 5, images=2000, alike=0.999)
    assert (low.verdict, "near neither 0 nor 100%" in low.needed) == ("undecided", True)


def test_one_point_a_doubling_over_nine_doublings_is_a_difference(rng: np.random.Generator) -> None:
    found = of_rates(rng, *[0.45 + 0.01 * i for i in range(10)], images=4000, alike=0.99)
    assert found.verdict == "supported"
    few = of_rates(rng, *[0.45 + 0.01 * i for i in range(10)], images=60, k=6)
    assert few.verdict != "contradicted"


def test_a_cohort_at_its_ceiling_neither_votes_nor_turns_the_verdict(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "a b c") + cohorts(rng, "easy", location=MIDDLE - 8)
    found = judge_amplitude(study(packs))
    assert (found.verdict, found.n) == ("supported", 3)
    assert [row["direction"] for row in found.details][-1] == "at ceiling"


def test_cohorts_all_at_the_ceiling_leave_it_open_and_ask_for_smaller_amplitudes(rng: np.random.Generator) -> None:
    found = judge_amplitude(study(cohorts(rng, "a b", location=MIDDLE - 8)))
    assert found.verdict == "undecided"
    assert "Smaller amplitudes" in found.needed


def test_cohorts_are_compared_at_the_amplitudes_they_share(rng: np.random.Generator) -> None:
    packs = [
        *cohorts(rng, "a", grid=(0.001, 0.0025, 0.005, 0.01)),
        *cohorts(rng, "b", grid=(0.0005, 0.001, 0.0025, 0.01, 0.02)),
    ]
    evidence = study(packs)
    assert evidence.shared_doses.tolist() == [0.001, 0.0025, 0.01]
    assert {row["amplitudes"] for row in judge_amplitude(evidence).details} == {3}
    apart = study([*cohorts(rng, "a", grid=(0.001, 0.002)), *cohorts(rng, "b", grid=(0.003, 0.004))])
    found = judge_amplitude(apart)
    assert found.verdict == "undecided"
    assert "share 0 amplitudes" in found.reason


def test_a_cohort_with_another_grid_is_left_out_aloud_and_does_not_choose_for_all(rng: np.random.Generator) -> None:
    six = cohorts(rng, "a b c d e f", images=150)
    alone, odd = judge_amplitude(study(six)), cohorts(rng, "odd", images=20, grid=(0.01, 0.02))
    evidence = study(six + odd)
    assert judge_amplitude(evidence).estimate == alone.estimate
    assert any("odd is left out of questions 1 and 3" in note for note in evidence.notes)
    assert judge_iterations(study(six + cohorts(rng, "odd", grid=(0.015,)))).estimate is not None
    assert any("odd" in remark for one in judge(evidence) for remark in one.remarks)


def test_an_amplitude_recorded_for_a_few_images_so_far_is_left_out_aloud(rng: np.random.Generator) -> None:
    [pack] = cohorts(rng, "a", images=200)
    present, attackable = pack.present.copy(), pack.attackable.copy()
    present[-1, 8:] = attackable[-1, 8:] = False
    evidence = study([replace(pack, present=present, attackable=attackable)])
    found = judge_amplitude(evidence)
    assert (found.images > 150, found.details[0]["amplitudes"]) == (True, len(pack.epsilons) - 1)
    assert evidence.notes == ("Not judged in a: ε = 0.02, recorded for a few images so far.",)
    present[-1, :150] = True
    assert len(finished(replace(pack, present=present)).epsilons) == len(pack.epsilons) - 1
    present[-1, :190] = True
    assert len(finished(replace(pack, present=present)).epsilons) == len(pack.epsilons)


# Question 2 -------------------------------------------------------------------------------------------------------


def both(rng: np.random.Generator, ratio: float, **truth: object) -> list[OutcomeArrays]:
    low, high = MIDDLE - np.log(ratio) / 2, MIDDLE + np.log(ratio) / 2
    x, h = (
        [replace(CohortTruth(f"{k}{i}", kind, location=at + 0.1 * i), **truth) for i in range(4)]  # type: ignore[arg-type]
        for k, kind, at in (("X", "X-ray", low), ("H", "histology", high))
    )
    return [network(rng, c) for c in x + h]


@pytest.mark.parametrize("shape", [Shape("normal"), Shape("skewed"), NEVER], ids=["normal", "skewed", "never"])
@pytest.mark.parametrize(("ratio", "verdict"), [(4.0, "supported"), (0.25, "contradicted")])
def test_the_image_type_that_needs_more_amplitude_is_found(
    rng: np.random.Generator, ratio: float, verdict: str, shape: Shape
) -> None:
    found = judge_image_type(study(both(rng, ratio, shape=shape)))
    assert found.verdict == verdict, found.reason
    assert found.low is not None
    assert found.high is not None
    assert found.low <= ratio <= found.high


def test_equal_types_are_undecided(rng: np.random.Generator) -> None:
    assert judge_image_type(study(both(rng, 1.0))).verdict == "undecided"


def test_one_uninformative_cohort_does_not_turn_the_verdict_round(rng: np.random.Generator) -> None:
    packs = both(rng, 4.0) + cohorts(rng, "X9", location=MIDDLE - 9)
    found = judge_image_type(study(packs))
    assert found.verdict in ("supported", "undecided")
    assert "X9" in found.reason
    packs = both(rng, 0.25) + cohorts(rng, "X9", location=MIDDLE - 9)
    assert judge_image_type(study(packs)).verdict != "supported"


def test_a_type_wholly_below_the_grid_gives_a_bound_not_a_number(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "X0 X1 X2", location=MIDDLE - 5) + cohorts(rng, "H0 H1 H2", "histology", location=MIDDLE)
    found = judge_image_type(study(packs))
    assert found.verdict == "supported"
    assert found.high is None
    assert "at least" in found.headline


def test_bounds_of_one_type_are_widened_by_how_much_cohorts_differ(rng: np.random.Generator) -> None:
    """Both cohorts of a type beyond the grid: its mean may lie t(2)(√0.025) = 1.3 standard deviations short of that."""
    spread = [cohorts(rng, f"X{i}", images=400, location=MIDDLE + 0.5 * i)[0] for i in (-1, 0, 1)]
    beyond = cohorts(rng, "H0 H1", "histology", images=400, location=MIDDLE + 9)
    found = judge_image_type(study(spread + beyond))
    means = [epsilon50_of(thresholds(p)).log for p in spread]
    t = sps.t.ppf([0.975, 0.025**0.5], 2)
    expected = np.log(0.02) - t[0] * np.std(means, ddof=1) / np.sqrt(3) + t[1] * np.std(means, ddof=1) - np.mean(means)
    assert found.low == pytest.approx(np.exp(expected), rel=0.02)
    assert found.high is None


def test_two_small_cohorts_near_their_largest_amplitude_bound_nothing_beyond_it(rng: np.random.Generator) -> None:
    """3 of 8 images fall at the largest ε: that ε50 lies above it is not shown."""
    category = np.array([3, 3, 3, 4, 4, 4, 4, 4])
    found = epsilon50_of(Thresholds(np.array([0.001, 0.002, 0.004, 0.008]), category, np.arange(8), np.ones(8, bool)))
    assert (found.side, found.known) == ("above", (np.log(0.004), "at least"))


def test_cohorts_of_other_types_that_share_images_are_named(rng: np.random.Generator) -> None:
    base = CohortTruth("X0", location=MIDDLE)
    logs = thresholds_of(rng, base)
    same = [
        network(rng, replace(base, name=name, image_type=kind, archive="one"), base=logs)
        for name, kind in (("X0", "X-ray"), ("H0", "histology"))
    ]
    found = judge_image_type(study(same + cohorts(rng, "X1") + cohorts(rng, "H1", "histology")))
    assert any("share images (X0 and H0)" in told for told in found.remarks)
    assert judge_amplitude(study(same)).n == 1


def test_cohorts_with_a_few_images_in_common_are_two(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "a b", images=100)
    for shared, count in ((5, 2), (6, 1)):
        ids = np.r_[packs[0].image_ids[:shared], packs[1].image_ids[shared:]]
        assert judge_amplitude(study([packs[0], replace(packs[1], image_ids=ids)])).n == count


def test_a_cohort_of_one_patient_is_left_out_by_name_in_every_question(rng: np.random.Generator) -> None:
    usual = both(rng, 4.0)
    lone = cohorts(rng, "lone", images=100, largest_patient=90)
    for question in (judge_amplitude, judge_image_type, judge_iterations, judge_confidence):
        found = question(study(usual + lone))
        assert found.n == 8
        assert any("Left out: lone" in told for told in found.remarks)


def test_values_beyond_the_grid_stay_bounds_when_they_are_joined_or_averaged() -> None:
    def value(name: str, at: float, bound: str = "value") -> Value:
        return Value((name,), "X-ray", at, 0.01 if bound == "value" else np.nan, 20, 50, bound)  # type: ignore[arg-type]

    def over(*values: Value) -> Value:
        [found] = values_of([values], lambda one: one)  # type: ignore[arg-type, return-value]
        return found

    inside_and_above = over(value("a", 0.0), value("a", 0.1), value("a", 2.0, "at least"))
    assert (inside_and_above.bound, inside_and_above.value) == ("at least", pytest.approx(0.7))
    assert inside_and_above.parts == ((0.0, "value"), (0.1, "value"), (2.0, "at least"))
    either = over(value("a", -2.0, "at most"), value("a", 2.0, "at least"))
    assert (either.bound, either.interval(0.95)) == ("open", (-np.inf, np.inf))
    seeds = [value("a", x) for x in (0.0, 1.0, -1.0)]
    beyond = [value("b", 2.0, "at least")] * 3
    with_beyond, alone = (
        values_of(main, lambda one: one)[0]  # type: ignore[arg-type, return-value]
        for main in ([seeds, beyond], [seeds])
    )
    assert with_beyond.variance == alone.variance == pytest.approx(0.01 + 1 / 3)


@pytest.mark.parametrize(("k", "known"), [(5, False), (6, True)])
def test_bounds_alone_tell_of_the_median_from_six_cohorts_on(k: int, known: bool) -> None:
    """2⁻⁶ < 0.025 < 2⁻⁵: the sign test turned round."""
    bounds = [Value((f"{i}",), "X-ray", 1.0 + i, np.nan, 20, 50, "at least") for i in range(k)]
    found = overall(bounds, 0.95)
    assert found.known == known
    assert (found.low, found.high) == ((1.0, np.inf) if known else (-np.inf, np.inf))


@pytest.mark.parametrize("sizes", [(1,) * 40, (4,) * 10, (12, 1, 1, 1, 1, 1, 1, 1, 1)])
def test_the_variance_of_a_mean_is_that_of_patients(sizes: tuple[int, ...]) -> None:
    """Σ sums² / (1 − share) / n², so G / (G − 1) for equal patients; degrees of freedom by Kish's number."""
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(len(sizes)), sizes)
    values = rng.standard_normal(len(patients)) + rng.standard_normal(len(sizes))[patients]
    mean, variance, effective = mean_by_patient(values, patients, 1e-9)
    n = len(values)
    by_hand = sum((values[patients == g] - mean).sum() ** 2 / (1 - m / n) for g, m in enumerate(sizes)) / n**2
    assert variance == pytest.approx(by_hand)
    assert effective == pytest.approx(n**2 / sum(m**2 for m in sizes))
    assert np.isnan(mean_by_patient(values, np.zeros(n, int), 1.0)[1])


def test_cohorts_that_share_images_count_once(rng: np.random.Generator) -> None:
    base = CohortTruth("X0", location=MIDDLE)
    logs = thresholds_of(rng, base)
    same = [network(rng, replace(base, name=name, archive="one"), base=logs) for name in ("X0", "X1")]
    packs = same + cohorts(rng, "X2") + cohorts(rng, "H0 H1", "histology", location=MIDDLE + 1)
    found = judge_image_type(study(packs))
    assert found.n == 4
    assert "2 independent X-ray" in found.reason


def test_too_few_cohorts_are_described_not_judged(rng: np.random.Generator) -> None:
    found = judge_image_type(study(cohorts(rng, "X0") + cohorts(rng, "H0", "histology", location=MIDDLE + 2)))
    assert found.verdict == "undecided"
    assert "that says nothing about other cohorts" in found.remarks[-1]


def test_image_types_are_the_plans(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "a b c", "fundus") + cohorts(rng, "d e f", "OCT", location=MIDDLE + 1.5)
    found = judge_image_type(study(packs, AnalysisPlan(image_types=("fundus", "OCT"))))
    assert found.verdict == "supported"
    assert found.statement == "OCT images need more amplitude than fundus images."


# Question 3 -------------------------------------------------------------------------------------------------------


def counts_alone(packs: list[OutcomeArrays], at_2k: int) -> list[OutcomeArrays]:
    """The same runs with a control from before changes were kept by image: of 400 images × ε 200 fell at K."""
    point = {"images": 400, "at_k": 200, "at_2k": at_2k, "gained": 0, "lost": 0, "any_k": 200, "any_2k": at_2k}
    control = Doubling(steps=10, step_size="epsilon/4", arm="A", by_epsilon={"0.005": point})
    controls = Controls(images=400, epsilon_zero_changed=0, noise={}, cross_check={}, stronger="", doubling=control)
    return [replace(p, header=p.header.model_copy(update={"controls": controls})) for p in packs]


def planned(packs: list[OutcomeArrays], plan: AnalysisPlan | None = None) -> Conclusion:
    return judge_iterations(study(packs, plan, prespecified=True))


def test_level_success_is_supported_and_rising_success_contradicted(rng: np.random.Generator) -> None:
    assert judge_iterations(study(cohorts(rng, "a b c d e f", images=200))).verdict == "supported"
    found = judge_iterations(study(cohorts(rng, "a b c d", images=200, late=0.8)))
    assert found.verdict == "contradicted"
    assert "No plateau is reached" in found.headline


def test_a_store_without_a_plan_is_judged_by_the_counts_of_its_old_control(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "a b c d e f", images=200)
    assert judge_iterations(study(counts_alone(packs, 203))).verdict == "supported"
    for at_2k in (240, 20):
        found = judge_iterations(study(counts_alone(packs, at_2k)))
        assert found.verdict == "undecided"
        assert "twice as many iterations changed" in found.headline
    assert planned(counts_alone(packs, 200)).verdict == "undecided"  # no interval without the images


def test_a_planned_store_without_the_control_never_supports_a_plateau(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "a b c d e f", images=200)
    assert planned(packs).verdict == "undecided"
    assert any("Without a control" in text for text in judge_iterations(study(packs)).remarks)


def test_the_control_decides_in_both_directions_and_is_what_is_printed(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "a b c d e f", images=200)
    found = planned([with_control(rng, p, gain=0.004) for p in packs])
    assert found.verdict == "supported", found.reason
    assert "and with twice the iterations" in found.headline
    rising = planned([with_control(rng, p, gain=0.2) for p in packs])
    assert (rising.verdict, rising.low is not None and rising.low > 0.02) == ("contradicted", True)
    assert "No plateau is reached: with twice the iterations the success rate rises by" in rising.headline
    assert "twice as many" in rising.estimand
    falling = planned([with_control(rng, p, loss=0.3) for p in packs])
    assert (falling.verdict, falling.high is not None and falling.high < -0.02) == ("contradicted", True)
    assert "failure of the attack" in falling.headline


def test_success_that_is_lost_over_the_second_half_is_no_plateau(rng: np.random.Generator) -> None:
    packs = []
    for pack in cohorts(rng, "a b c d e f", images=400):
        last = pack.last.copy()
        last[:, -1] &= rng.random(last[:, -1].shape) < 0.9
        packs.append(with_control(rng, replace(pack, last=last)))
    found = planned(packs)
    assert found.verdict == "contradicted"
    assert "falls by" in found.headline


def test_a_control_too_small_to_decide_leaves_the_plateau_open(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "a b c d e f", images=200)
    one = planned([with_control(rng, p, images=3) for p in packs])
    assert (one.verdict, "compatible with that" in one.headline) == ("undecided", True)
    assert "images like these" in one.needed or "cohorts like these" in one.needed
    lacking = planned([with_control(rng, packs[0]), *packs[1:]])
    assert (lacking.verdict, "b, c, d, e, f" in lacking.headline) == ("undecided", True)


def test_a_gain_in_one_of_six_cohorts_is_not_hidden_by_the_sum(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "a b c d e f", images=200)
    mixed = [with_control(rng, packs[0], gain=0.25, images=60), *(with_control(rng, p) for p in packs[1:])]
    assert planned(mixed).verdict == "undecided"


def test_the_control_is_read_as_the_plan_reads_success(rng: np.random.Generator) -> None:
    packs = [with_control(rng, p, any_gain=0.25) for p in cohorts(rng, "a b c d e f", images=200)]
    assert planned(packs).verdict == "supported"
    assert planned(packs, AnalysisPlan(success="any")).verdict == "contradicted"


def test_images_that_are_removed_from_the_store_leave_its_control(tmp_path: Path, rng: np.random.Generator) -> None:
    store = Store(make_store(tmp_path / "s", COHORTS[:1], {"A": WIDE}, gallery=False))
    [opened] = [run for run in open_records(store.root).runs if run.header.primary]
    pack = load_outcomes(opened)
    controls = with_control(rng, pack, gain=0.2).header.controls
    write_document(store.run(opened.header.run_id) / HEADER, opened.header.model_copy(update={"controls": controls}))
    before = conclusions(open_records(store.root))[2].details[0]["doubling_images"]
    gone = [str(image) for image in pack.image_ids[pack.attackable.all(axis=0)][:3]]
    remove_images(store.run(opened.header.run_id), gone, "Removed.")
    text = (store.run(opened.header.run_id) / HEADER).read_text()
    assert not any(image in text for image in gone)
    assert conclusions(open_records(store.root))[2].details[0]["doubling_images"] == before - 3


def test_a_second_main_network_needs_its_control_and_a_network_of_the_series_does_not(rng: np.random.Generator) -> None:
    first, second = (network(rng, CohortTruth("a", images=600), seed=i, primary=not i) for i in (0, 1))
    second = replace(second, header=second.header.model_copy(update={"full": True}))
    controlled = with_control(rng, first)
    assert planned([controlled, second]).verdict == "supported"
    assert planned([controlled, with_control(rng, second)]).verdict == "supported"
    moved = planned([controlled, with_control(rng, second, gain=0.3)])
    assert (moved.verdict, "with twice the iterations" in moved.headline) == ("undecided", True)
    bare = with_control(rng, second).header.controls.model_copy(update={"doubling": None})  # type: ignore[union-attr]
    without = replace(second, header=second.header.model_copy(update={"controls": bare}))
    assert "in a." in planned([controlled, without]).headline


# Question 4 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(2.0, "supported"), (0.5, "contradicted"), (1.0, "contradicted")], ids=str
)
def test_the_ratio_of_confident_images_is_found(rng: np.random.Generator, ratio: float, verdict: str) -> None:
    packs = cohorts(rng, "a b c d", images=600, confidence_shift=float(np.log(ratio)))
    found = judge_confidence(study(packs))
    assert found.verdict == verdict, found.reason
    assert found.low is not None
    assert found.high is not None
    assert found.low <= ratio <= found.high


@pytest.mark.parametrize(("never", "ratio"), [(0.2, 1.250), (0.4, 1.968)])
def test_confident_images_that_never_fall_are_compared_by_their_own_curve(
    rng: np.random.Generator, never: float, ratio: float
) -> None:
    """The truth is exp(0.7 · Φ⁻¹(0.5 / (1 − never))); one shift of a common curve says 1.05."""
    found = judge_confidence(study(cohorts(rng, "a b c d", images=600, confident_never=never)))
    assert found.verdict in ("supported", "undecided")
    assert found.low is not None
    assert found.high is not None
    assert found.low <= ratio <= found.high


def test_confident_images_most_of_which_never_fall_give_a_bound(rng: np.random.Generator) -> None:
    """The ratio is infinite. One cohort is shown to need more; of four bounds no mean can be made, six suffice."""
    [alone] = cohorts(rng, "a", images=600, confident_never=0.65)
    found = judge_confidence(study([alone]))
    assert (found.verdict, found.high) == ("supported", None)
    assert found.details[0]["bound"] == "at least"
    four = judge_confidence(study(cohorts(rng, "a b c d", images=600, confident_never=0.65)))
    assert (four.verdict, four.n) == ("undecided", 4)
    assert "Known only as a bound" in four.reason
    six = judge_confidence(study(cohorts(rng, "a b c d e f", images=600, confident_never=0.65)))
    assert (six.verdict, six.high) == ("supported", None)
    assert "at least" in six.headline


@pytest.mark.parametrize("spread", [0.4, 2.0])
def test_confident_images_of_another_steepness_are_not_said_to_differ(rng: np.random.Generator, spread: float) -> None:
    found = judge_confidence(study(cohorts(rng, "a b c d", images=600, confident_spread=spread)))
    assert found.verdict in ("contradicted", "undecided")
    assert any("differ in more than a shift" in told for told in found.remarks)


def test_cohorts_at_their_ceiling_say_nothing_about_confidence(rng: np.random.Generator) -> None:
    """Their images fall at the smallest ε on either side: no value, no degree of freedom, and it is said."""
    one = cohorts(rng, "one", images=300, confidence_shift=0.7)
    ceiling = cohorts(rng, "c1 c2 c3", location=MIDDLE - 9)
    found = judge_confidence(study(one + ceiling))
    assert (found.n, found.breadth) == (1, "in cohort one")
    assert "both lie beyond the same end: c1, c2, c3" in found.reason


def test_cohorts_that_disagree_about_confidence_widen_the_interval(rng: np.random.Generator) -> None:
    shifts = (0.7, -0.7, 0.6, -0.6)
    packs = [network(rng, CohortTruth(f"X{i}", images=400, confidence_shift=s)) for i, s in enumerate(shifts)]
    found = judge_confidence(study(packs))
    assert found.verdict == "undecided"
    assert found.i2 is not None
    assert found.i2 > 0.8


def test_a_cohort_without_confident_images_says_so(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "a b", images=100)
    few = replace(packs[0], clean_confidence=np.full(100, 0.6))
    found = judge_confidence(study([few, packs[1]]))
    assert "a" in found.reason.split("side of the threshold: ")[1]
    assert found.details[0]["ratio"] is None


# Question 5 -------------------------------------------------------------------------------------------------------


def series(
    rng: np.random.Generator, ratio: float, seeds: int = 3, sizes: tuple[int, ...] = (100, 200, 400), **truth: object
) -> Evidence:
    cohort = replace(CohortTruth("H-BR", "histology", images=400), **truth)  # type: ignore[arg-type]
    base, span = thresholds_of(rng, cohort), np.log2(sizes[-1] / sizes[0])
    return study(
        [
            network(
                rng, cohort, size=size, seed=seed, primary=(size, seed) == (sizes[-1], 0), base=base,
                shift=float(np.log(ratio) * (np.log2(size / sizes[0]) / span - 0.5) + 0.03 * rng.standard_normal()),
            )
            for size in sizes
            for seed in range(seeds)
        ]
    )  # fmt: skip


STEEP = Shape("normal", spread=0.1)


def test_a_grid_too_coarse_to_see_a_dependence_does_not_show_that_there_is_none(rng: np.random.Generator) -> None:
    middle = float(np.log(0.02 * 0.1)) / 2
    found = judge_training_size(series(rng, 1.6, location=middle, shape=STEEP, grid=(0.02, 0.1, 0.2)))
    assert found.verdict == "undecided", found.reason
    assert "ε50 may lie anywhere between the two" in found.remarks[0]
    assert found.needed.startswith("Amplitudes between those")
    fine = judge_training_size(
        series(rng, 1.6, location=middle, shape=STEEP, grid=(0.02, 0.035, 0.045, 0.056, 0.1, 0.2))
    )
    assert fine.verdict == "contradicted", fine.reason


def test_the_range_of_sizes_is_one_cohorts_own(rng: np.random.Generator) -> None:
    small = series(rng, 1.03, sizes=(100, 120, 150), name="A").networks
    large = series(rng, 1.03, sizes=(5000, 6000, 9000), name="B").networks
    found = judge_training_size(study([*small, *large]))
    assert "with 9000 training images instead of 5000" in found.headline
    assert "(0.8 doublings, in B)" in found.reason
    assert found.high is not None
    assert found.high < 1.2


def test_networks_of_a_series_are_compared_at_their_common_amplitudes_on_their_common_images(
    rng: np.random.Generator,
) -> None:
    plain = series(rng, 1.0)
    main = next(pack for pack in plain.networks if pack.header.primary)
    wider = network(rng, replace(CohortTruth("H-BR", "histology", images=400), grid=(*GRID, 0.04)), size=400)
    found = judge_training_size(study([wider, *(pack for pack in plain.networks if pack is not main)]))
    assert {row["amplitudes"] for row in found.details} == {len(GRID)}
    assert any("compared at the 6 amplitudes" in remark for remark in found.remarks)
    odd = network(rng, replace(CohortTruth("H-BR", "histology", images=400), grid=(0.01, 0.03)), size=400)
    found = judge_training_size(study([odd, *(pack for pack in plain.networks if pack is not main)]))
    assert (found.n, found.remarks[-1]) == (8, "1 network of H-BR left out: attacked at other amplitudes.")
    present = main.present.copy()
    present[:, 300:] = False
    fewer = replace(main, present=present, attackable=main.attackable & present)
    found = judge_training_size(study([fewer, *(pack for pack in plain.networks if pack is not main)]))
    assert max(row["n"] for row in found.details) <= 300


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, "supported"), (1.8, "contradicted"), (1 / 1.8, "contradicted")])
def test_a_dependence_on_training_size_is_told_from_none(rng: np.random.Generator, ratio: float, verdict: str) -> None:
    found = judge_training_size(series(rng, ratio))
    assert found.verdict == verdict, found.reason


def test_an_interval_that_excludes_one_within_the_margin_is_a_small_dependence(rng: np.random.Generator) -> None:
    found = judge_training_size(series(rng, 1.1, seeds=6, sizes=(100, 200, 400, 800)))
    assert found.verdict == "supported"
    assert found.low is not None
    assert found.low > 1
    assert found.headline.startswith("A small dependence is shown, within the margin")


@pytest.mark.parametrize(("seeds", "sizes"), [(1, (100, 200, 400)), (3, (100, 200))])
def test_without_repeats_or_with_two_sizes_nothing_is_said(
    rng: np.random.Generator, seeds: int, sizes: tuple[int, ...]
) -> None:
    assert judge_training_size(series(rng, 3.0, seeds, sizes)).verdict == "undecided"


# All five ---------------------------------------------------------------------------------------------------------


def test_one_cohort_gets_a_verdict_about_itself(rng: np.random.Generator) -> None:
    found = judge(study(cohorts(rng, "mine", images=300, confidence_shift=0.7)))
    assert [c.verdict for c in found] == ["supported", "undecided", "supported", "supported", "undecided"]
    assert found[0].breadth == "in cohort mine"


def test_the_variance_between_trainings_enters_where_a_cohort_has_several_networks(rng: np.random.Generator) -> None:
    cohort = CohortTruth("a", images=2000)
    base = thresholds_of(rng, cohort)
    once = [network(rng, cohort, base=base)]
    again = [
        replace(n, header=n.header.model_copy(update={"primary": seed == 0, "full": True}))
        for seed, shift in enumerate((0.0, 0.5, -0.4))
        for n in [network(rng, cohort, base=base, shift=shift, seed=seed)]
    ]
    evidence = study(again)
    [value] = values_of(evidence.main, partial(log_epsilon50, evidence=evidence))
    [single] = values_of(study(once).main, partial(log_epsilon50, evidence=study(once)))
    assert (value.seeds, single.seeds) == (3, 1)
    assert value.variance > 10 * single.variance
    assert value.freedom < 5


def test_every_conclusion_has_one_form(tmp_path: Path) -> None:
    found = conclusions(open_records(make_store(tmp_path / "s", COHORTS, gallery=False)))
    assert [c.number for c in found] == [1, 2, 3, 4, 5]
    for one in found:
        assert one.headline
        assert one.reason
        assert one.published
        assert one.arm == "A"
        assert one.prespecified is None
        assert (one.needed != "") <= (one.verdict == "undecided")
        assert not any(dash in f"{one.headline} {one.reason} {one.effect}" for dash in ("nan", "inf"))


def test_the_plan_names_the_arm_and_nothing_looks_at_the_attacked_images(tmp_path: Path) -> None:
    records = open_records(make_store(tmp_path / "s", COHORTS, gallery=False))
    chosen = conclusions(records, plan=AnalysisPlan(arm="C"))
    assert {c.arm for c in chosen} == {"C"}
    with pytest.raises(SpecError, match=r"analysis\.arm: Z decides, and .*; recorded: A, B, C"):
        conclusions(records, plan=AnalysisPlan(arm="Z"))
    with pytest.raises(SpecError, match=r"analysis\.step_size"):
        conclusions(records, plan=AnalysisPlan(step_size=0.5))


def test_amplitudes_added_after_the_plan_was_fixed_decide_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", COHORTS[:2], {"A": WIDE}, gallery=False)
    narrow = yaml.safe_load((store / "study.yaml").read_text())
    narrow["attack"]["arms"]["A"]["epsilons"] = list(WIDE.epsilons[:4])
    (store / "records").rename(store / "hidden")
    freeze_analysis_plan(Study.model_validate(narrow), Store(store))
    (store / "hidden").rename(store / "records")
    found = conclusions(open_records(store))
    assert (found[0].details[0]["amplitudes"], found[0].prespecified) == (4, True)
    assert all("Added after the plan was fixed, shown and not judged: ε = 0.1, 0.2." in one.remarks for one in found)
    shown = minimal_epsilon(open_records(store)).filter(pl.col("cohort") == COHORTS[0].name)["upto"]
    assert set(shown.drop_nulls()) >= {0.1, 0.2}


def test_another_level_or_amplitude_is_not_what_was_planned(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", COHORTS[:2], {"A": WIDE}, gallery=False)
    (store / "records").rename(store / "hidden")
    freeze_analysis_plan(load_study(store / "study.yaml"), Store(store))
    (store / "hidden").rename(store / "records")
    records = open_records(store)
    assert [one.prespecified for one in conclusions(records, 0.02, 0.95)] == [True] * 5
    assert [one.prespecified for one in conclusions(records, level=0.6)] == [False] * 5
    assert [one.prespecified for one in conclusions(records, 0.2)] == [True, True, False, True, True]


def test_holm_takes_back_only_what_rests_on_a_small_p(rng: np.random.Generator) -> None:
    found = judge(study(cohorts(rng, "a b c d", images=200)))
    assert all(one.p_holm is None or one.p_holm >= (one.p or 0) for one in found)
    level = found[2]
    known = {one.number: one.p for one in found if one.number in (1, 2, 4) and one.p is not None}
    assert found[2].p is not None
    assert {one.number for one in found if one.p_holm is not None} == set(known)
    assert min(known.values()) * len(known) == pytest.approx(min(one.p_holm for one in found if one.p_holm is not None))
    assert level.verdict == level.verdict_holm  # levelling off rests on the margin, not on the rejection of none


@pytest.mark.parametrize(
    ("low", "high", "margin", "verdict"),
    [(0.1, 0.3, 0.2, "supported"), (-0.3, -0.1, 0.5, "contradicted"), (-0.1, 0.1, 0.2, "contradicted"),
     (-0.1, 0.1, 0.05, "undecided"), (-0.1, np.inf, None, "undecided")],
)  # fmt: skip
def test_a_verdict_is_where_the_interval_lies(low: float, high: float, margin: float | None, verdict: str) -> None:
    assert verdict_of(Effect(0.0, low, high, None, 3, 10), margin) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.1, 0.1, "supported"), (0.05, 0.15, "supported"), (0.3, 0.5, "contradicted"), (0.1, 0.4, "undecided")],
)
def test_an_absence_is_supported_by_its_whole_interval_alone(low: float, high: float, verdict: str) -> None:
    assert verdict_of(Effect(0.0, low, high, None, 3, 10), 0.2, absence_supports=True) == verdict


def test_what_it_takes_is_met_by_as_many_images() -> None:
    """Half-widths fall with the root of the images: the number asked for makes the interval just miss 0."""
    effect = Effect(0.1, -0.1, 0.3, None, 1, 100)
    assert (
        what_it_takes("points", effect, 0.95)
        == "About 400 images like these (now 100) would decide, if the true effect is as estimated."
    )


def test_what_it_takes_counts_an_interval_within_the_margin_as_decided() -> None:
    """An estimate near 0 is decided by an interval within the margin, not by one that excludes 0."""
    near = Effect(0.001, -0.030, 0.032, None, 1, 60)
    assert "no realistic number" in what_it_takes("ratio", near, 0.95)
    assert what_it_takes("points", near, 0.95, margin=0.02) == (
        "About 160 images like these (now 60) would decide, if the true effect is as estimated."
    )
    between = Effect(0.019, -0.011, 0.049, None, 1, 60)
    assert "About 150 images" in what_it_takes("points", between, 0.95, margin=0.02)  # excludes 0 sooner


def test_what_it_takes_is_enough_for_a_verdict_within_the_margin(rng: np.random.Generator) -> None:
    few = of_rates(rng, *[0.5] * 5, images=150, k=1, alike=0.999)
    asked = re.search(r"About (\d+) images", few.needed)
    assert few.verdict == "undecided"
    assert asked, few.needed
    verdicts = [of_rates(rng, *[0.5] * 5, images=3 * int(asked[1]), k=1, alike=0.9999).verdict for _ in range(3)]
    assert verdicts.count("contradicted") >= 2


def test_kinds_of_images_go_by_many_names() -> None:
    assert {kind_of(name) for name in ("CXR", "Chest_X-ray", "radiography")} == {"X-ray"}


def test_conclusion_can_be_read_back_from_json(rng: np.random.Generator) -> None:
    for one in judge(study(cohorts(rng, "a b"))):
        assert Conclusion.model_validate_json(one.model_dump_json()) == one


def test_too_few_cohorts_are_described_at_the_level_of_the_plan(rng: np.random.Generator) -> None:
    packs = cohorts(rng, "X0") + cohorts(rng, "H0", "histology", location=MIDDLE + 2)

    def width(level: float) -> float:
        [said] = [
            r for r in judge_image_type(study(packs, AnalysisPlan(level=level))).remarks if "these cohorts alone" in r
        ]
        low, high = re.search(r"\[([\d.]+), ([\d.]+)\]", said).groups()  # type: ignore[union-attr]
        return float(np.log(float(high) / float(low)))

    assert width(0.8) / width(0.95) == pytest.approx(1.2816 / 1.96, rel=0.02)


def test_what_it_takes_follows_the_level() -> None:
    wide, narrow = (what_it_takes("points", Effect(0.1, 0.1 - h, 0.1 + h, None, 4, 100, freedom=3), level)
                    for h, level in ((0.3182, 0.95), (0.2353, 0.9)))  # fmt: skip
    assert (wide, narrow) == tuple(
        f"About {k} cohorts like these (now 4) would decide, if the true effect is as estimated." for k in (18, 13)
    )
