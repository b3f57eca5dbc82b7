"""Paired comparisons and sizes of sample, against SciPy and statsmodels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_confint

from advassay.analysis import Condition, design_effect, needed_for_difference, needed_for_width, paired_comparison
from advassay.analysis.differences import BOOTSTRAP, MCNEMAR, SIGN, benjamini_hochberg, paired_test
from advassay.errors import SpecError
from advassay.records import Records, open_records
from advassay.spec.attack_spec import Arm
from tests.simulate import Cohort, make_store

ALONE = Cohort("alone", "X-ray", epsilon50=0.04, patients=150, images_per_patient=1, icc=0.0)
TWICE = replace(ALONE, name="twice", patients=100, images_per_patient=3, icc=0.3)
FEW = replace(TWICE, name="few", patients=12)
ARM = Arm(epsilons=(0.02, 0.04), step_sizes=(0.01,), steps=6)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return open_records(make_store(tmp_path_factory.mktemp("p") / "s", (ALONE, TWICE, FEW), {"A": ARM}, gallery=False))


def test_two_amplitudes_are_compared_on_the_same_images(records: Records) -> None:
    found = paired_comparison(records, Condition(epsilon=0.02), Condition(epsilon=0.04))
    assert found["test"].to_list() == [MCNEMAR, BOOTSTRAP, SIGN]
    long = records.outcomes().filter(pl.col("step") == 6, pl.col("attackable")).collect()
    for row in found.iter_rows(named=True):
        of = long.filter(pl.col("cohort") == row["cohort"])
        wide = of.pivot("epsilon", index="image_id", values="fallen_last")
        a, b = wide["0.02"].to_numpy(), wide["0.04"].to_numpy()
        assert (row["only_first"], row["only_second"]) == ((a & ~b).sum(), (b & ~a).sum())
        assert row["difference"] == pytest.approx(b.mean() - a.mean())
        assert row["low"] < row["difference"] < row["high"]
    assert found["p_adjusted"].to_list() == pytest.approx(multipletests(found["p"], method="holm")[1].tolist())


def test_the_correction_can_be_benjamini_hochberg_and_nothing_unknown(records: Records) -> None:
    found = paired_comparison(records, Condition(epsilon=0.02), Condition(step=3), correction="benjamini-hochberg")
    assert found["p_adjusted"].to_list() == pytest.approx(multipletests(found["p"], method="fdr_bh")[1].tolist())
    with pytest.raises(SpecError, match="correction"):
        paired_comparison(records, Condition(), Condition(), correction="none")  # type: ignore[arg-type]


def test_two_stores_are_compared_image_by_image(records: Records, tmp_path: Path) -> None:
    other = open_records(make_store(tmp_path / "o", (replace(ALONE, slope=3.0),), {"A": ARM}, gallery=False))
    found = paired_comparison(records, Condition(epsilon=0.04), Condition(epsilon=0.04), other=other)
    assert found["cohort"].to_list() == ["alone"]
    fell = {}
    for name, store in (("first", records), ("second", other)):
        long = store.outcomes().filter(pl.col("cohort") == "alone", pl.col("epsilon") == 0.04, pl.col("step") == 6)
        fell[name] = long.filter(pl.col("attackable")).collect()["fallen_last"]
    assert found["n"][0] == len(fell["first"]) == len(fell["second"])
    assert [found[f"rate_{name}"][0] for name in fell] == pytest.approx([f.mean() for f in fell.values()])


@given(st.integers(0, 30), st.integers(0, 30))
def test_without_repeated_patients_it_is_the_exact_mcnemar_test(gained: int, lost: int) -> None:
    after = np.r_[np.ones(gained, bool), np.zeros(lost, bool), np.ones(5, bool)]
    before = np.r_[np.zeros(gained, bool), np.ones(lost, bool), np.ones(5, bool)]
    p, name = paired_test(after, before, np.arange(len(after)))
    assert name == MCNEMAR
    assert p == pytest.approx(mcnemar([[5, lost], [gained, 0]], exact=True).pvalue)


def test_where_patients_repeat_the_bootstrap_is_as_often_wrong_as_it_says() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 4)
    ps = []
    for _ in range(300):
        gain = rng.choice([0.1, 0.5], 60)[patients]  # patients differ, the conditions do not
        after, before = rng.random((2, 240)) < gain
        ps.append(paired_test(after, before, patients)[0])
    assert 0.02 <= np.mean(np.array(ps) < 0.05) <= 0.09


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_benjamini_hochberg_is_statsmodels(ps: list[float]) -> None:
    assert benjamini_hochberg(np.array(ps)).tolist() == pytest.approx(multipletests(ps, method="fdr_bh")[1].tolist())


def test_the_sample_for_a_width_gives_that_width_and_one_image_less_does_not() -> None:
    n = needed_for_width(0.1, 0.3).effective_images
    widths = [np.diff(proportion_confint(0.3 * k, k, 0.05, "wilson"))[0] for k in (n - 1, n)]
    assert widths[1] <= 0.1 < widths[0]


def test_the_sample_for_a_difference_is_near_statsmodels_arcsine_sample() -> None:
    from statsmodels.stats.proportion import proportion_effectsize

    expected = NormalIndPower().solve_power(proportion_effectsize(0.5, 0.35), alpha=0.05, power=0.9)
    found = needed_for_difference(0.5, 0.35, power=0.9)
    assert found.effective_images == pytest.approx(expected, rel=0.02)


def test_correlated_images_ask_for_more_patients() -> None:
    alone, together = (needed_for_width(0.1, images_per_patient=10, icc=icc) for icc in (0.0, 0.3))
    assert together.images == pytest.approx(alone.effective_images * design_effect(10, 0.3), rel=0.01)
    assert together.patients == -(-together.effective_images * together.design_effect // 10)
    with pytest.raises(SpecError, match="width"):
        needed_for_width(0.0)


def test_where_every_image_of_every_patient_changes_alike_the_patients_are_counted() -> None:
    patients = np.repeat(np.arange(30), 2)
    after = np.ones(60, bool)
    p, name = paired_test(after, ~after, patients)
    assert (p, name) == (pytest.approx(2 * 0.5**30), "exact sign test over patients")
