"""Who is easier to fool: groups with a known difference, and with none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from simulate import Cohort, image_rows, make_store, population

import advassay as aa
from advassay.analysis.conclusions.effect_sizes import overall
from advassay.analysis.conclusions.evidence import evidence_of
from advassay.analysis.outcome_arrays import OutcomeArrays
from advassay.analysis.subgroups import group_shift, in_common_bands
from advassay.errors import StoreError
from advassay.records import RunWriter, open_records, read_header
from advassay.spec.attack_spec import Arm
from advassay.store_layout import IMAGES, Store

GRID = tuple(float(f"{0.004 * 1.6**i:.4g}") for i in range(9))
ARM = {"A": Arm(epsilons=GRID, step_sizes=("epsilon/4",), steps=6)}
NAMES = ("X-A", "X-B", "X-C", "X-D")


def cohorts(shift: float = 0.0) -> tuple[Cohort, ...]:
    """Thresholds of ln ε with slope 1: a `confidence_shift` of s divides the dose, which multiplies ε50 by e^s."""
    return tuple(
        Cohort(name, "X-ray", epsilon50=0.02, slope=1.5, patients=150, images_per_patient=2, confidence_shift=shift)
        for name in NAMES
    )


def write_groups(root: Path, made: tuple[Cohort, ...], group: dict[str, np.ndarray], name: str = "sex") -> None:
    """Give the images of every run their groups, as the study's stage does."""
    for cohort in made:
        images = image_rows(cohort, population(cohort)).with_columns(
            pl.Series(f"subgroup_{name}", group[cohort.name].tolist(), dtype=pl.String)
        )
        for folder in Store(root).records.iterdir():
            header = read_header(folder)
            if header.cohort == cohort.name:
                RunWriter(folder, header).add_images(images)


def confident(cohort: Cohort) -> np.ndarray:
    """The images that `confidence_shift` makes harder to fool."""
    logits = population(cohort).clean_logits
    return np.exp(logits).max(1) / np.exp(logits).sum(1) > 0.95


@pytest.fixture(scope="module")
def different(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Group "f" needs e^(1.2/1.5) = 2.23 times the amplitude of group "m"."""
    made = cohorts(1.2)
    root = make_store(tmp_path_factory.mktemp("d") / "store", made, ARM, gallery=False)
    write_groups(root, made, {c.name: np.where(confident(c), "f", "m") for c in made})
    return aa.subgroup_effects(open_records(root))


def test_a_difference_between_groups_is_found_with_its_size(different: pl.DataFrame) -> None:
    [row] = different.filter(row="difference").to_dicts()
    assert (row["subgroup"], row["group"], row["reference"], row["cohorts"]) == ("sex", "f", "m", 4)
    assert row["low"] > 1.3
    assert row["low"] < np.exp(1.2 / 1.5) < row["high"]
    assert row["p"] == row["p_holm"] < 0.05


def test_every_group_has_its_epsilon50_and_robust_accuracy(different: pl.DataFrame) -> None:
    groups = different.filter(row="group")
    assert groups.select("cohort", "group").n_unique() == len(groups) == 8
    wide = groups.pivot("group", index="cohort", values="robust_accuracy")
    assert (wide["f"] > wide["m"]).sum() >= 3
    assert (groups["robust_accuracy_low"] <= groups["robust_accuracy"]).all()
    assert (groups["patients"] <= groups["n"]).all()


def test_groups_without_a_difference_are_not_told_apart(tmp_path: Path) -> None:
    made = cohorts()
    root = make_store(tmp_path / "store", made, ARM, gallery=False)
    rng = np.random.default_rng(5)
    write_groups(root, made, {c.name: rng.choice(["north", "south", "west"], 300) for c in made}, "site")
    found = aa.subgroup_effects(open_records(root)).filter(row="difference")
    assert len(found) == 2
    assert (found["p_holm"] > 0.05).all()
    assert ((found["low"] < 1) & (found["high"] > 1)).all()
    assert (found["p_holm"] >= found["p"]).all()


def test_a_store_without_groups_has_no_rows(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store", cohorts()[:1], ARM, gallery=False)
    assert aa.subgroup_effects(open_records(root)).is_empty()


def test_images_without_a_group_and_tiny_groups_decide_nothing(tmp_path: Path) -> None:
    made = tuple(replace(c, patients=20) for c in cohorts()[:1])
    root = make_store(tmp_path / "store", made, ARM, gallery=False)
    group = np.array(["a"] * 20 + [None] * 18 + ["b"] * 2, dtype=object)
    write_groups(root, made, {made[0].name: group})
    found = aa.subgroup_effects(open_records(root))
    assert found["row"].to_list() == ["group", "group"]
    assert found["n"].sum() <= 22


def test_a_writer_takes_no_group_of_many_values(tmp_path: Path) -> None:
    made = tuple(replace(c, patients=20) for c in cohorts()[:1])
    root = make_store(tmp_path / "store", made, ARM, gallery=False)
    with pytest.raises(StoreError, match="subgroup_sex must hold at most 20 different texts, got 40"):
        write_groups(root, made, {made[0].name: np.array([f"p{i}" for i in range(40)])})


def test_groups_added_to_a_finished_run_leave_its_other_columns_alone(tmp_path: Path) -> None:
    made = tuple(replace(c, patients=20) for c in cohorts()[:1])
    root = make_store(tmp_path / "store", made, ARM, gallery=False)
    [path] = root.glob(f"records/*/{IMAGES}")
    before = pl.read_parquet(path)
    write_groups(root, made, {made[0].name: np.array(["f", "m"] * 20)})
    after = pl.read_parquet(path)
    assert after.drop("subgroup_sex").equals(before)
    assert after["subgroup_sex"].to_list() == ["f", "m"] * 20


def test_bands_of_other_widths_are_pooled_in_the_narrowest_that_both_divide() -> None:
    texts = {1: ["0 to < 2", "2 to < 4", None], 2: ["0 to < 5", "5 to < 10", "15 to < 20"], 3: ["3", "12", "3"]}
    groups = {key: np.array(of, dtype=object) for key, of in texts.items()}
    found = {key: of.tolist() for key, of in in_common_bands(groups).items()}
    low, high = "0 to < 10", "10 to < 20"
    assert found == {1: [low, low, None], 2: [low, low, high], 3: [low, high, low]}
    same = {1: np.array(["20 to < 40", "40 to < 60"], dtype=object), 2: np.array(["0 to < 20", None], dtype=object)}
    assert in_common_bands(same) is same
    sites = {1: np.array(["north", "5 to < 6"], dtype=object)}
    assert in_common_bands(sites) is sites
    assert in_common_bands({1: np.array(["1", "2"], dtype=object)})[1].tolist() == ["1", "2"]


def test_a_group_that_half_never_falls_is_not_said_to_be_alike(tmp_path: Path) -> None:
    """45% of one group never fall: its ε50 is e^(Φ⁻¹(0.5 / 0.55) / 1.5) = 2.4 times, but no curve shifts."""
    made = cohorts()
    root = make_store(tmp_path / "store", made, ARM, gallery=False)
    rng = np.random.default_rng(9)
    groups = {c.name: rng.choice(["f", "m"], 300) for c in made}
    write_groups(root, made, groups)
    records = open_records(root)
    evidence = evidence_of(records, None)
    packs = tuple(_never(pack, groups[pack.header.cohort] == "f", rng) for (pack, *_) in evidence.main)
    values = [group_shift(pack, evidence.plan, {id(pack): groups[pack.header.cohort]}, "f", "m") for pack in packs]
    effect = overall([v for v in values if v is not None], 0.95)
    assert 0 < effect.low < 1.34 / 1.5 < effect.high


def _never(pack: OutcomeArrays, images: np.ndarray, rng: np.random.Generator) -> OutcomeArrays:
    never = images & (rng.random(len(images)) < 0.45)
    return replace(pack, last=pack.last & ~never, any=pack.any & ~never)
