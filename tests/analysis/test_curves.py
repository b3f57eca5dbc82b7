from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from advassay import success
from advassay.analysis import (
    epsilon50,
    minimal_epsilon,
    performance,
    robust_accuracy_curve,
    success_curve,
    table1,
)
from advassay.analysis.classifier_performance import auroc
from advassay.analysis.success_curves import bin_labels, bin_members
from advassay.errors import SpecError
from advassay.records import Records, open_records
from advassay.spec.attack_spec import Arm
from tests.simulate import ARMS, COHORTS, Cohort, make_store

STEEP = Cohort("steep", "X-ray", epsilon50=0.05, slope=2.0, patients=60, images_per_patient=2, lost_again=0.1)
ARM = Arm(epsilons=(0.02, 0.05, 0.1), step_sizes=(0.0125, "epsilon/4"), steps=8)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    cohorts = (STEEP, replace(COHORTS[3], patients=20))
    return open_records(make_store(tmp_path_factory.mktemp("s") / "store", cohorts, {"A": ARM, "C": ARMS["C"]}))


@pytest.fixture(scope="module")
def long(records: Records) -> pl.DataFrame:
    return records.outcomes().filter(pl.col("cohort") == "steep", pl.col("attackable")).collect()


def brute(long: pl.DataFrame, epsilon: float, step: int, reading: str) -> tuple[int, int]:
    """(events, attackable) of the cohort `steep` under arm A, counted over the long table."""
    frame = long.filter(
        pl.col("arm") == "A", pl.col("epsilon") == epsilon, pl.col("step") == step, pl.col("step_size") == "0.0125"
    )
    return int(frame[f"fallen_{reading}"].sum()), frame.height


@pytest.mark.parametrize("reading", ["last", "any"])
def test_every_point_over_epsilon_is_the_count_over_the_long_table(
    records: Records, long: pl.DataFrame, reading: str
) -> None:
    frame = success_curve(records, success=reading, step=5).frame
    for row in frame.filter(pl.col("cohort") == "steep").iter_rows(named=True):
        assert (row["events"], row["n"]) == brute(long, row["epsilon"], 5, reading)
        assert row["low"] <= row["rate"] <= row["high"]
        assert row["rate"] == row["events"] / row["n"]


def test_the_curve_over_iterations_starts_at_one_and_ends_at_the_last(records: Records, long: pl.DataFrame) -> None:
    frame = success_curve(records, "step", epsilon=0.05).frame.filter(pl.col("cohort") == "steep")
    assert frame["step"].to_list() == list(range(1, 9))
    for row in frame.iter_rows(named=True):
        assert (row["events"], row["n"]) == brute(long, 0.05, row["step"], "last")


def test_any_is_never_below_last_and_never_falls(records: Records) -> None:
    last = success_curve(records, "step", epsilon=0.1).frame.filter(pl.col("cohort") == "steep")["rate"]
    any_ = success_curve(records, "step", epsilon=0.1, success="any").frame.filter(pl.col("cohort") == "steep")["rate"]
    assert (any_ >= last).all()
    assert (any_.diff().drop_nulls() >= 0).all()
    assert (any_ > last).any()


def test_confidence_bins_part_the_attackable_images(records: Records) -> None:
    frame = success_curve(records, "clean_confidence", epsilon=0.05).frame.filter(pl.col("cohort") == "steep")
    assert frame["bin"].to_list() == bin_labels(2)
    whole = success_curve(records).frame.filter(pl.col("cohort") == "steep", pl.col("epsilon") == 0.05)
    assert frame["n"].sum() == whole["n"][0]
    assert frame["events"].sum() == whole["events"][0]
    assert frame.filter(pl.col("n") == 0)["rate"].null_count() == (frame["n"] == 0).sum()


def test_bins_are_half_open_the_last_closed_and_images_below_a_half_are_apart() -> None:
    confidence = np.array([0.3, 0.5, 0.55, 0.65, 0.9499999, 0.95, 1.0])
    inside = bin_members(confidence, 3)
    assert (inside.sum(0) == 1).all()
    names = [bin_labels(3)[k] for k in inside.argmax(0)]
    assert names == [
        "below 0.5", "[0.50, 0.55)", "[0.55, 0.60)", "[0.65, 0.70)", "[0.90, 0.95)", "[0.95, 1.00]", "[0.95, 1.00]",
    ]  # fmt: skip


def test_training_sizes_are_one_row_a_network(records: Records) -> None:
    frame = success_curve(records, "train_size").frame.filter(pl.col("cohort") == "H-BR")
    assert sorted(zip(frame["train_size"], frame["seed"], strict=True)) == [
        *((size, seed) for size in (40, 80, 160) for seed in (0, 1, 2)), (320, 0),
    ]  # fmt: skip
    assert frame["epsilon"].unique().to_list() == [0.02]


def test_classes_part_the_cohort(records: Records) -> None:
    apart = success_curve(records, by=("cohort", "class")).frame
    whole = success_curve(records).frame
    keys = ["cohort", "epsilon"]
    summed = apart.group_by(keys).agg(pl.col("n", "events").sum()).sort(keys)
    assert summed.equals(whole.select(*keys, "n", "events").sort(keys))


def test_an_image_type_pools_its_cohorts(records: Records) -> None:
    pooled = success_curve(records, by="image_type").frame
    assert pooled["image_type"].unique(maintain_order=True).to_list() == ["X-ray", "histology"]
    assert "cohort" in pooled.columns
    assert pooled["n"].to_list() == success_curve(records).frame["n"].to_list()


def test_step_sizes_are_kept_apart_and_any_is_their_union(records: Records) -> None:
    apart = success_curve(records, by=("cohort", "step_size")).frame.filter(pl.col("cohort") == "steep")
    assert apart["step_size"].unique(maintain_order=True).to_list() == ["0.0125", "epsilon/4"]
    union = success_curve(records, step_size="any").frame.filter(pl.col("cohort") == "steep")
    best = apart.group_by("epsilon", maintain_order=True).agg(pl.col("events").max())["events"]
    assert (union["events"] >= best).all()


def test_robust_accuracy_is_over_all_images_and_starts_at_the_clean_accuracy(records: Records) -> None:
    frame = robust_accuracy_curve(records, "step", epsilon=0.05).frame.filter(pl.col("cohort") == "steep")
    run = next(r for r in records.runs if r.header.cohort == "steep")
    rows = run.rows().take(run.index.points()["0.0125", 0.05])
    expected = success.robust_accuracy(np.swapaxes(rows.logits, 0, 1), rows.label)
    assert frame["rate"].to_numpy() == pytest.approx(expected)
    assert frame["n"].unique().to_list() == [120]
    assert frame["step"][0] == 0


def test_wrong_arguments_say_what_would_be_right(records: Records) -> None:
    with pytest.raises(SpecError, match=r"epsilon: one of 0\.02, 0.05, 0.1 .*steep.*got 0.03"):
        success_curve(records, "step", epsilon=0.03)
    with pytest.raises(SpecError, match="step: 0 to 8"):
        success_curve(records, step=9)
    with pytest.raises(SpecError, match="arm: one of A, C"):
        success_curve(records, arm="Z")
    with pytest.raises(SpecError, match="by: one or more of"):
        success_curve(records, by="patient")
    with pytest.raises(SpecError, match='"last" or "any"'):
        success_curve(records, success="best")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match='step_size: performance needs one recorded step size, got "any"'):
        performance(records, step_size="any")


def test_scores_under_attack_are_scikit_learns(records: Records) -> None:
    frame = performance(records).filter(pl.col("cohort") == "steep")
    run = next(r for r in records.runs if r.header.cohort == "steep")
    rows = run.rows().take(run.index.points()["0.0125", 0.1])
    row = frame.row(by_predicate=pl.col("epsilon") == 0.1, named=True)
    score = success.probabilities(rows.logits[:, -1])[:, 0]
    assert row["auroc"] == pytest.approx(roc_auc_score(rows.label == 0, score))
    predicted = rows.logits[:, -1].argmax(1)
    assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(rows.label, predicted))
    assert row["sensitivity"] == pytest.approx((predicted == 0)[rows.label == 0].mean())
    assert frame["epsilon"].to_list() == [0.0, 0.02, 0.05, 0.1]


def test_the_area_of_several_classes_is_the_mean_of_one_against_the_rest() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    expected = roc_auc_score(labels, success.probabilities(logits), multi_class="ovr", average="macro")
    assert auroc(logits, labels) == pytest.approx(expected)
    assert auroc(logits, np.zeros(60, int)) is None


def test_minimal_epsilon_brackets_every_attackable_image(records: Records) -> None:
    frame = minimal_epsilon(records).filter(pl.col("cohort") == "steep")
    curve = success_curve(records).frame.filter(pl.col("cohort") == "steep")
    assert frame.height == curve["n"][0]
    assert (frame["above"] == 0).sum() == curve["events"][0]  # fallen at the smallest ε: left-censored
    assert set(frame["upto"].drop_nulls()) <= {0.02, 0.05, 0.1}


def test_epsilon50_holds_the_truth_and_is_bounded_outside_the_grid(tmp_path: Path) -> None:
    inside = replace(STEEP, name="inside", lost_again=0.0)
    easy, hard = replace(inside, name="easy", epsilon50=0.002), replace(inside, name="hard", epsilon50=2.0)
    store = make_store(tmp_path / "s", (inside, easy, hard), {"A": ARM}, gallery=False)
    found = {row["cohort"]: row for row in epsilon50(open_records(store)).iter_rows(named=True)}
    assert found["inside"]["low"] < 0.05 < found["inside"]["high"]
    assert found["easy"]["text"] == "< 0.02"
    assert found["hard"]["text"] == "> 0.1"
    assert found["easy"]["estimate"] is None


def test_table1_has_a_row_a_class_with_the_published_value_beside(records: Records) -> None:
    table = table1(records)
    assert table["class"].to_list() == ["norm", "disease", "tumour", "norm"]
    breast = table.filter(pl.col("cohort") == "H-BR")
    assert breast["published_score"].unique().to_list() == [0.97]
    assert breast["train_size"].unique().to_list() == [320]
    assert breast["total"][0] == breast["training"].sum() + breast["tuning"].sum() + breast["validation"].sum()


def test_the_control_at_amplitude_zero_is_no_point_of_a_curve(tmp_path: Path) -> None:
    from advassay.records import RunWriter
    from advassay.store_layout import Store
    from tests.simulate import population, trajectories, write_run

    store, images = Store(tmp_path), population(STEEP)
    head = write_run(store, STEEP, images, "A", ARM)
    control = trajectories(STEEP, images, ARM)
    rows = control.take(control.epsilon == 0.02)
    RunWriter(store.run(head.run_id), head).append(replace(rows, epsilon=np.zeros(len(rows))))
    frame = success_curve(open_records(tmp_path)).frame
    assert frame["epsilon"].to_list() == [0.02, 0.05, 0.1]


def test_images_with_nan_logits_on_their_path_leave_both_denominators(tmp_path: Path) -> None:
    from advassay.records import RunWriter
    from advassay.store_layout import Store
    from tests.simulate import image_rows, population, run_header, trajectories

    images, arm = population(STEEP), ARM.model_copy(update={"step_sizes": (0.005,)})
    rows = trajectories(STEEP, images, arm)
    logits = rows.logits.copy()
    ill = np.flatnonzero((rows.epsilon == 0.05) & np.isin(rows.image_id, np.unique(rows.image_id)[:10]))
    logits[ill, 5:] = np.nan
    header = run_header(STEEP, "A", arm)
    writer = RunWriter(Store(tmp_path).run(header.run_id), header)
    writer.add_images(image_rows(STEEP, images))
    writer.append(replace(rows, logits=logits))
    kept = np.setdiff1d(np.flatnonzero(rows.epsilon == 0.05), ill)
    block, labels = logits[kept].swapaxes(0, 1), rows.label[kept]
    for curve, rate, n in (
        (success_curve, success.attack_success_rate, int(success.correct_on_clean(block, labels).sum())),
        (robust_accuracy_curve, success.robust_accuracy, len(kept)),
    ):
        frame = curve(open_records(tmp_path)).frame.filter(pl.col("epsilon") == 0.05)
        assert frame["n"].to_list() == [n]
        assert frame["rate"][0] == pytest.approx(rate(block, labels)[-1])
