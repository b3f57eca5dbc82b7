"""Training, tuning and validation."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advassay.cohorts.selection_counts import SelectionCounts
from advassay.cohorts.split import assign_roles, take
from advassay.errors import CohortError
from advassay.spec.cohort_spec import CohortSpec

TWO = {"ill": {"x": 1}, "well": {"x": 2}}


def spec(**fields: object) -> CohortSpec:
    return CohortSpec.model_validate({"source": "s", "classes": TWO} | fields)


def frame(patients: list[int], labels: list[int], **columns: list[str | None]) -> pl.DataFrame:
    ids, names = [f"{i:05}" for i in range(len(labels))], [list(TWO)[label] for label in labels]
    patient_ids = [f"p{p}" for p in patients]
    return pl.DataFrame({"image_id": ids, "label": labels, "patient_id": patient_ids, "class_name": names, **columns})


def roles(images: pl.DataFrame) -> dict[str, str]:
    return dict(images.select("image_id", "role").iter_rows())


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), max_size=100), st.integers(0, 5))
def test_no_patient_is_on_both_sides_of_a_split(pairs, seed):
    pairs += [(patient, patient % 2) for patient in range(100, 110)]
    images = frame([p for p, _ in pairs], [label for _, label in pairs])
    split = assign_roles(images, spec(), seed, SelectionCounts(len(pairs)))
    assert split.group_by("patient_id").agg(pl.col("role").n_unique())["role"].max() == 1


@pytest.mark.parametrize("seed", range(5))
def test_classes_are_split_in_proportion_even_where_they_are_rare(seed):
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(300), rng.integers(1, 6, 300))
    labels = (patients % 10 == 0).astype(int)
    split = assign_roles(frame(patients.tolist(), labels.tolist()), spec(), seed, SelectionCounts(len(labels)))
    for label in (0, 1):
        part = split.filter(pl.col("label") == label)
        assert (part["role"] == "validation").mean() == pytest.approx(0.2, abs=0.03)
        tuning, training = ((part["role"] == role).sum() for role in ("tuning", "training"))
        assert tuning / (tuning + training) == pytest.approx(0.1, abs=0.04)


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_neither_row_order_nor_the_names_of_patients_matter(random):
    patients = [i // 3 for i in range(60)]
    images = frame(patients, [p % 2 for p in patients])
    renamed = {f"p{p}": str(other) for p, other in enumerate(random.sample(range(1000), 20))}
    other = images.with_columns(pl.col("patient_id").replace(renamed))[random.sample(range(60), 60)]
    expected = roles(assign_roles(images, spec(), 3, SelectionCounts(60)))
    assert roles(assign_roles(other, spec(), 3, SelectionCounts(60))) == expected


def test_another_seed_gives_another_split():
    images = frame(list(range(60)), [i % 2 for i in range(60)])
    one, two = (roles(assign_roles(images, spec(), seed, SelectionCounts(60))) for seed in (0, 1))
    assert one != two


def test_split_image_ignores_patients_and_says_so():
    images = frame([i // 6 for i in range(120)], [i % 2 for i in range(120)])
    flow = SelectionCounts(120)
    split = assign_roles(images, spec(split="image"), 0, flow)
    assert (split["role"] == "validation").sum() == 24
    assert "patients have images in training and in validation" in flow.warnings[0]
    assert "patients have images in tuning and in validation" in flow.warnings[1]
    assert "patients have images in training and in tuning" in flow.warnings[2]


def test_a_declared_split_that_shares_patients_between_training_and_tuning_says_so():
    images = frame([0, 1, 0, 1, 2, 3], [0, 1] * 3, split=["train"] * 2 + ["val"] * 2 + ["test"] * 2)
    flow = SelectionCounts(6)
    assign_roles(images, spec(split="declared"), 0, flow)
    (warning,) = flow.warnings
    assert warning.startswith("2 patients have images in training and in tuning")


def test_declared_values_train_val_test_mean_training_tuning_validation():
    words = ["train", "train", "val", "valid", "Test", "test", "training", "tuning", "else", None]
    images = frame(list(range(10)), [i % 2 for i in range(10)], split=words)
    flow = SelectionCounts(10)
    found = roles(assign_roles(images, spec(split="declared"), 0, flow))
    assert list(found.values()) == ["training"] * 2 + ["tuning"] * 2 + ["validation"] * 2 + ["training", "tuning"]
    assert flow.reasons()[0].count == 2


def test_a_declared_split_with_two_candidates_for_scoring_is_refused():
    images = frame(list(range(6)), [0, 1] * 3, split=["train"] * 2 + ["validation"] * 2 + ["test"] * 2)
    with pytest.raises(CohortError, match="both 'validation' and 'test'"):
        assign_roles(images, spec(split="declared"), 0, SelectionCounts(6))


def test_a_declared_split_without_tuning_takes_it_from_training_patients():
    images = frame([i // 2 for i in range(100)], [i // 2 % 2 for i in range(100)], split=["train"] * 80 + ["test"] * 20)
    split = assign_roles(images, spec(split="declared"), 0, SelectionCounts(100))
    assert split["role"].value_counts(sort=True).rows() == [("training", 72), ("validation", 20), ("tuning", 8)]


def test_split_none_leaves_every_image_for_validation():
    images = frame([0, 1], [0, 1])
    assert assign_roles(images, spec(split="none"), 0, SelectionCounts(2))["role"].to_list() == ["validation"] * 2


def test_split_tuning_leaves_out_whole_patients_to_find_amplitudes_and_trains_on_none():
    images = frame([i // 2 for i in range(100)], [i // 2 % 2 for i in range(100)])
    split = assign_roles(images, spec(split="tuning", tuning_fraction=0.2), 0, SelectionCounts(100))
    assert split["role"].value_counts(sort=True).rows() == [("validation", 80), ("tuning", 20)]
    assert split.group_by("patient_id").agg(pl.col("role").n_unique())["role"].max() == 1
    one_class = frame([0, 1, 2], [0, 0, 0])
    assert "training" not in assign_roles(one_class, spec(split="tuning"), 0, SelectionCounts(3))["role"]


def test_a_class_of_a_single_patient_cannot_be_split():
    images = frame([0] * 5 + list(range(1, 20)), [0] * 5 + [1] * 19)
    with pytest.raises(CohortError, match=r"validation has none of \['ill'\].*\n?"):
        assign_roles(images, spec(), 0, SelectionCounts(24))


def _greedy(counts: np.ndarray, share: float) -> list[bool]:
    """The rule of `take` as it is stated, unit by unit, before classes without a unit are looked after."""
    target = np.where((counts > 0).sum(axis=0) >= 2, np.maximum(share * counts.sum(axis=0), 1.0), 0.0)
    have, taken = np.zeros(counts.shape[1]), []
    for numbers in counts:
        nearer, now = ((((one - target) / np.maximum(target, 1.0)) ** 2).sum() for one in (have + numbers, have))
        taken.append(bool(nearer < now))
        have = have + numbers if taken[-1] else have
    return taken if (have[target > 0] > 0).all() else take(counts, share).tolist()


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=60), st.floats(0.05, 0.5))
def test_units_are_taken_where_that_brings_the_classes_closer_to_their_share(numbers, share):
    counts = np.array(numbers, float)
    assert take(counts, share).tolist() == _greedy(counts, share)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=2, max_size=40), st.floats(0.05, 0.5))
def test_every_class_of_two_units_is_on_both_sides_or_nearly_so(rows, share):
    counts = np.array(rows, dtype=float)
    taken = take(counts, share)
    units = (counts > 0).sum(axis=0)
    assert (counts[taken].sum(axis=0)[units >= 2] > 0).all()


CASE = Path(__file__).parent / "fewpatients" / "table.csv"
THREE = {name: {"label": name} for name in ("necrotic", "none", "viable")}


def case_images() -> pl.DataFrame:
    """60 images of four patients: of two classes each only two patients have images, one of them of both."""
    table = pl.read_csv(CASE).select(image_id="image", class_name="label", patient_id="patient_id")
    return table.with_columns(pl.col("class_name").replace_strict(list(THREE), [0, 1, 2]).alias("label"))


@pytest.mark.parametrize("seed", range(10))
def test_four_patients_are_split_with_every_class_on_both_sides_whatever_the_seed(seed):
    split = assign_roles(case_images(), spec(classes=THREE), seed, flow := SelectionCounts(60))
    for role in ("training", "validation"):
        assert set(split.filter(pl.col("role") == role)["class_name"]) == set(THREE)
    assert split.group_by("patient_id").agg(pl.col("role").n_unique())["role"].max() == 1
    assert any("tuning part has no image" in warning for warning in flow.warnings)


def incidence(images: np.ndarray) -> pl.DataFrame:
    """`images`: (patient, class) numbers of images."""
    rows = [
        (f"{patient}-{label}-{i}", f"p{patient}", label, f"c{label}")
        for patient, of in enumerate(images)
        for label, number in enumerate(of)
        for i in range(number)
    ]
    return pl.DataFrame(rows, schema=["image_id", "patient_id", "label", "class_name"], orient="row")


def exists(images: np.ndarray, sides: int) -> bool:
    """Whether some assignment of patients to `sides` has every class on every side, by trying all."""
    there = images > 0
    return any(
        all(there[np.array(chosen) == side].any(axis=0).all() for side in range(sides))
        for chosen in product(range(sides), repeat=len(images))
    )


@pytest.mark.parametrize("trial", range(40))
def test_a_split_is_found_exactly_where_one_exists(trial):
    rng = np.random.default_rng(trial)
    images = (rng.random((int(rng.integers(3, 8)), 3)) < rng.choice([0.3, 0.6])) * rng.integers(1, 5, (1, 3))
    images = images[images.sum(axis=1) > 0]
    if len(images) < 2 or (images.sum(axis=0) == 0).any():
        images = np.eye(3, dtype=int).repeat(2, axis=0)
    classes = {f"c{label}": {"x": label} for label in range(3)}
    flow = SelectionCounts(1)
    try:
        split = assign_roles(incidence(images), spec(classes=classes), trial, flow)
    except CohortError:
        assert not exists(images, 2)
        return
    assert exists(images, 2)
    tuned = set(split.filter(pl.col("role") == "tuning")["class_name"])
    assert (tuned == set(classes)) or not exists(images, 3)


def test_rare_classes_among_many_patients_are_brought_to_every_side():
    rng = np.random.default_rng(1)
    for _ in range(10):
        images = np.zeros((150, 6), int)
        images[:, 0] = rng.integers(1, 4, 150)
        for label in range(1, 6):
            images[rng.choice(12, 3, replace=False), label] = 2
        classes = {f"c{label}": {"x": label} for label in range(6)}
        split = assign_roles(incidence(images), spec(classes=classes), 0, SelectionCounts(1))
        for role in ("training", "validation"):
            assert set(split.filter(pl.col("role") == role)["class_name"]) == set(classes)


def test_a_first_draw_that_has_every_class_everywhere_is_kept():
    images = frame([i // 3 for i in range(300)], [i // 3 % 2 for i in range(300)])
    drawn = take(np.array([[3, 0], [0, 3]] * 50, float), 0.2)
    split = assign_roles(images, spec(), 0, SelectionCounts(300))
    assert (split["role"] == "validation").sum() == 3 * drawn.sum()


def test_what_helps_a_class_of_one_patient_is_said_with_numbers():
    images = frame([0] * 5 + list(range(1, 20)), [0] * 5 + [1] * 19)
    with pytest.raises(CohortError, match=r"ill has fewer than 2 patients \(ill 1, well 19\)"):
        assign_roles(images, spec(), 0, SelectionCounts(24))


def test_where_no_patient_is_known_no_error_speaks_of_patients():
    images = frame(list(range(20)), [0] + [1] * 19).with_columns(has_patient=pl.lit(False))
    with pytest.raises(CohortError, match=r"ill has fewer than 2 images") as raised:
        assign_roles(images, spec(), 0, SelectionCounts(20))
    assert "patient" not in str(raised.value)


def test_folders_called_training_and_testing_are_a_declared_split():
    images = frame(list(range(8)), [0, 1] * 4, split=["Training"] * 4 + ["Testing"] * 2 + ["dev"] * 2)
    found = roles(assign_roles(images, spec(split="declared"), 0, SelectionCounts(8)))
    assert list(found.values()) == ["training"] * 4 + ["validation"] * 2 + ["tuning"] * 2
