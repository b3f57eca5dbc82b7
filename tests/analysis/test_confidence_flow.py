"""Transitions, confidence flow, reliability, flags and survival, each counted again over the long table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve

from advassay.analysis import (
    calibration_error,
    confidence_flow,
    flags_summary,
    iteration_survival,
    reliability,
    success_curve,
    transitions,
)
from advassay.errors import SpecError
from advassay.records import Records, open_records
from advassay.spec.attack_spec import Arm
from tests.simulate import COHORTS, Cohort, make_store

ARM = Arm(epsilons=(0.02, 0.05, 0.1), step_sizes=(0.005,), steps=8)
FOUR = replace(COHORTS[2], name="four", patients=30, images_per_patient=3, lost_again=0.1)
TWO = Cohort("two", "X-ray", patients=30, images_per_patient=2)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return open_records(make_store(tmp_path_factory.mktemp("flow") / "s", (FOUR, TWO), {"A": ARM}, gallery=False))


@pytest.fixture(scope="module")
def long(records: Records) -> pl.DataFrame:
    return records.outcomes().filter(pl.col("cohort") == "four").collect()


def test_transitions_are_the_confusion_matrix_of_the_long_table(records: Records, long: pl.DataFrame) -> None:
    found = transitions(records).filter(pl.col("cohort") == "four")
    assert found["share"].sum() == pytest.approx(4 * (1 + len(ARM.epsilons)))
    for row in found.filter(pl.col("epsilon") == 0.05).iter_rows(named=True):
        label, predicted = (FOUR.classes.index(row[name]) for name in ("label", "predicted"))
        at = long.filter(pl.col("epsilon") == 0.05, pl.col("step") == 8, pl.col("label") == label)
        assert row["n"] == (at["predicted"] == predicted).sum()


@pytest.mark.parametrize("reading", ["last", "any"])
def test_directions_of_a_label_add_up_to_its_success(records: Records, reading: str) -> None:
    by = ("cohort", "direction")
    split = (
        success_curve(records, by=by, success=reading)
        .frame.group_by("cohort", "class", "epsilon")
        .agg(pl.col("events").sum(), pl.col("n").first())
    )
    whole = success_curve(records, by=("cohort", "class"), success=reading).frame
    joined = whole.join(split, on=["cohort", "class", "epsilon"])
    assert len(joined) == len(whole)
    assert (joined["events"] == joined["events_right"]).all()
    assert (joined["n"] == joined["n_right"]).all()


def test_with_any_the_direction_is_the_class_of_the_first_fall(records: Records, long: pl.DataFrame) -> None:
    frame = success_curve(records, by=("cohort", "direction"), success="any").frame
    fell = long.filter(pl.col("epsilon") == 0.1, pl.col("fallen_last")).sort("step").unique("image_id", keep="first")
    for row in frame.filter(pl.col("epsilon") == 0.1, pl.col("cohort") == "four").iter_rows(named=True):
        a, b = (FOUR.classes.index(name) for name in row["direction"].split(" → "))
        assert row["events"] == len(fell.filter(pl.col("label") == a, pl.col("predicted") == b))


def test_confidence_flow_counts_every_attackable_image_once(records: Records, long: pl.DataFrame) -> None:
    found = confidence_flow(records, epsilon=0.05).filter(pl.col("cohort") == "four")
    at = long.filter(pl.col("epsilon") == 0.05, pl.col("step") == 8, pl.col("attackable"))
    assert found["n"].sum() == len(at)
    assert found.filter(pl.col("fallen"))["n"].sum() == at["fallen_last"].sum()
    top = found.filter(pl.col("clean_low") >= 0.9)["n"].sum()
    assert top == (at["clean_confidence"] >= 0.9).sum()


def test_reliability_is_scikit_learns_calibration_curve(records: Records, long: pl.DataFrame) -> None:
    for epsilon, step in ((0.0, 0), (0.05, 8)):
        found = reliability(records, bins=10).filter(pl.col("cohort") == "four", pl.col("epsilon") == epsilon)
        at = long.filter(pl.col("epsilon") == (epsilon or 0.02), pl.col("step") == step)
        correct = (at["predicted"] == at["label"]).to_numpy()
        shares, means = calibration_curve(correct, at["adversarial_confidence"].to_numpy(), n_bins=10)
        assert found["accuracy"].to_numpy() == pytest.approx(shares)
        assert found["confidence"].to_numpy() == pytest.approx(means)
        assert found["ece"][0] == pytest.approx(float((found["n"] * abs(shares - means)).sum() / len(at)))
        assert ((found["low"] <= found["accuracy"]) & (found["accuracy"] <= found["high"])).all()


def test_a_perfectly_calibrated_network_has_no_calibration_error() -> None:
    confidence = np.repeat([0.6, 0.8], 10)
    correct = np.r_[np.arange(10) < 6, np.arange(10) < 8]
    assert calibration_error(confidence, correct) == pytest.approx(0)
    assert np.isnan(calibration_error(confidence[:0], correct[:0]))


def test_flags_are_counted_at_every_amplitude_and_zeros_are_shown(records: Records, long: pl.DataFrame) -> None:
    found = flags_summary(records).filter(pl.col("cohort") == "four")
    assert len(found) == 2 * len(ARM.epsilons)
    row = found.row(by_predicate=(pl.col("flag") == "saturated") & (pl.col("epsilon") == 0.1), named=True)
    at = long.filter(pl.col("epsilon") == 0.1, pl.col("step") == 8)
    flagged = at.filter(pl.col("flags").list.contains("saturated"))
    assert (row["n"], row["flagged"]) == (len(at), len(flagged))
    standing = flagged.filter(pl.col("attackable") & ~pl.col("fallen_last"))
    assert row["flagged_standing"] == len(standing)


def test_survival_is_kaplan_and_meiers_estimate(records: Records, long: pl.DataFrame) -> None:
    found = iteration_survival(records, epsilon=0.05).filter(pl.col("cohort") == "four")
    at = long.filter(pl.col("epsilon") == 0.05, pl.col("attackable"))
    first = at.filter(pl.col("fallen_last")).group_by("image_id").agg(pl.col("step").min())["step"].to_list()
    whole = at["image_id"].n_unique()
    data = stats.CensoredData.right_censored(
        first + [8] * (whole - len(first)), [False] * len(first) + [True] * (whole - len(first))
    )
    expected = stats.ecdf(data).sf.evaluate(np.arange(9))
    assert found["surviving"].to_numpy() == pytest.approx(expected)
    assert found["n"].to_list() == [whole] * 9
    half = np.flatnonzero(expected <= 0.5)
    assert found["median"][0] == (str(half[0]) if half.size else "> 8")
    assert ((found["low"] <= found["surviving"]) & (found["surviving"] <= found["high"])).all()


def test_the_worst_of_several_step_sizes_has_no_class_to_fall_to(records: Records) -> None:
    with pytest.raises(SpecError, match="step_size"):
        transitions(records, step_size="any")
    with pytest.raises(SpecError, match="direction"):
        success_curve(records, by="direction", step_size="any")
