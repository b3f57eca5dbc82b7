"""Slides from tiles, realised sizes, plateaus, ε50 by another link and other groups: by hand and statsmodels."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advassay.analysis import (
    epsilon50,
    iteration_plateau,
    perturbation_size,
    success_curve,
    unit_outcomes,
    visibility_curve,
)
from advassay.analysis.aggregated_units import _decided, _votes, flipped
from advassay.errors import SpecError
from advassay.records import Records, open_records
from advassay.spec.attack_spec import Arm
from tests.simulate import COHORTS, Cohort, make_store

TILES = Cohort("tiles", "histology", epsilon50=0.05, patients=20, images_per_patient=7, icc=0.3)
FOUR = replace(COHORTS[2], name="four", patients=15, images_per_patient=6)
ARM = Arm(epsilons=(0.02, 0.05, 0.1), step_sizes=(0.005,), steps=8)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return open_records(make_store(tmp_path_factory.mktemp("u") / "s", (TILES, FOUR), {"A": ARM}, gallery=False))


@given(st.integers(1, 6), st.integers(2, 3), st.integers(0, 10_000), st.sampled_from(["majority", "mean", "max"]))
@settings(deadline=None, max_examples=150)
def test_the_fewest_tiles_that_turn_a_slide_are_found_by_trying_all(
    tiles: int, classes: int, seed: int, rule: str
) -> None:
    classes = 2 if rule == "max" else classes
    rng = np.random.default_rng(seed)
    clean, after = rng.dirichlet(np.ones(classes), (2, tiles))
    label = int(rng.integers(classes))
    a, b = (_votes(x, rule, 0) for x in (clean, after))
    correct, wrong, fewest = flipped(clean, after, label, rule)
    assert correct == (_decided(a, rule, 0) == label)
    assert wrong == (_decided(b, rule, 0) != label)
    if not correct:
        return
    flipping = [
        k
        for k in range(1, tiles + 1)
        for chosen in combinations(range(tiles), k)
        if _decided(np.where(np.isin(np.arange(tiles), chosen)[:, None], b, a), rule, 0) != label
    ]
    assert fewest == (min(flipping) if flipping else None)


def test_slides_turn_where_most_of_their_tiles_do(records: Records) -> None:
    found = unit_outcomes(records)
    assert set(found.filter(pl.col("cohort") == "four")["rule"]) == {"majority", "mean"}
    long = records.outcomes().filter(pl.col("cohort") == "tiles", pl.col("epsilon") == 0.05).collect()
    units = (
        long.filter(pl.col("step").is_in([0, 8]))
        .group_by("patient_id", "label", "step")
        .agg(decided=(pl.col("predicted").mean() > 0.5).cast(pl.Int64))
    )
    wide = units.pivot("step", index=["patient_id", "label"], values="decided")
    right = wide.filter(pl.col("0") == pl.col("label"))
    row = found.row(
        by_predicate=(pl.col("cohort") == "tiles") & (pl.col("epsilon") == 0.05) & (pl.col("rule") == "majority"),
        named=True,
    )
    assert (row["units"], row["events"]) == (len(right), (right["8"] != right["label"]).sum())
    assert row["low"] <= row["rate"] <= row["high"]


def test_sizes_are_what_was_recorded_and_psnr_follows_from_l2(records: Records) -> None:
    found = perturbation_size(records).filter(pl.col("cohort") == "tiles", pl.col("epsilon") == 0.05)
    median = dict(zip(found["quantity"], found["median"], strict=True))
    long = records.outcomes().filter(pl.col("cohort") == "tiles", pl.col("epsilon") == 0.05, pl.col("step") == 8)
    l2 = long.collect()["l2"].median()
    assert median["l2"] == pytest.approx(l2)
    assert median["psnr"] == pytest.approx(10 * np.log10(3 * 64**2 / l2**2))
    assert median["ssim"] == pytest.approx(np.exp(-5 * 0.05), rel=1e-6)
    assert median["epsilon_over_contrast"] == pytest.approx(0.05 / median["clean_contrast"], rel=0.02)


@pytest.mark.parametrize("measure", ["contrast", "psnr", "ssim"])
def test_every_image_counts_once_for_each_amplitude_whatever_measures_visibility(
    records: Records, measure: str
) -> None:
    found = visibility_curve(records, measure).group_by("cohort").agg(pl.col("n").sum(), pl.col("events").sum())
    whole = success_curve(records).frame.group_by("cohort").agg(pl.col("n").sum(), pl.col("events").sum())
    assert found.sort("cohort").equals(whole.sort("cohort"))
    with pytest.raises(SpecError, match="measure"):
        visibility_curve(records, "loudness")  # type: ignore[arg-type]


def test_the_plateau_is_a_row_for_each_cohort_and_reading(records: Records) -> None:
    found = iteration_plateau(records, epsilon=0.1)
    assert found.select("cohort", "success").rows() == [
        (cohort, reading) for cohort in ("tiles", "four") for reading in ("last", "any")
    ]
    assert all((row["step"] is None) == (row["state"] != "reached") for row in found.iter_rows(named=True))


def test_epsilon50_of_the_classes_together_has_the_images_of_the_cohort(records: Records) -> None:
    both = epsilon50(records, by=("cohort", "class"))
    assert len(both) == 2 + 4
    whole = epsilon50(records)
    assert both.group_by("cohort", maintain_order=True).agg(pl.col("n").sum())["n"].to_list() == whole["n"].to_list()


def test_confidence_bins_can_start_at_chance(records: Records) -> None:
    found = success_curve(records, "clean_confidence", from_chance=True).frame.filter(pl.col("cohort") == "four")
    assert (found["bin_low"][0], len(found)) == (0.25, 10)
    half = success_curve(records, "clean_confidence").frame.filter(pl.col("cohort") == "four")
    assert found["n"].sum() == half["n"].sum()
