"""Reading a prepared cohort: random access, streams, nested subsets."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advassay.cohorts import PreparedCohort, open_cohort
from advassay.cohorts.image_shards import Shards, write_shards
from advassay.cohorts.prepared_cohort import order_by_draw
from advassay.errors import CohortError, StoreError
from tests.cohorts.conftest import rows


@pytest.fixture
def cohort(write_source, prepared, tmp_path) -> PreparedCohort:
    prepared(write_source(rows(40, 3)))
    return open_cohort(tmp_path / "cohort")


def test_images_come_in_the_order_asked_for_and_streams_agree(cohort):
    chosen = cohort.manifest["image_id"].to_list()[::-7]
    batch = cohort.images(chosen)
    assert batch.dtype == np.float32
    assert batch.shape == (len(chosen), 1, 16, 16)
    streamed = list(cohort.stream(chosen))
    assert [image for image, _, _ in streamed] == chosen
    assert np.array_equal(np.stack([pixels for _, pixels, _ in streamed]), batch)
    assert [label for _, _, label in streamed] == cohort.labels(chosen).tolist()


def test_an_unknown_image_is_refused(cohort):
    with pytest.raises(StoreError, match="got 'nobody'"):
        cohort.images(["nobody"])


def test_a_cohort_travels_to_a_worker_process(cohort):
    chosen = cohort.ids("validation")
    cohort.images(chosen)
    assert np.array_equal(pickle.loads(pickle.dumps(cohort)).images(chosen), cohort.images(chosen))


@pytest.mark.parametrize("seed", range(3))
def test_training_subsets_are_nested_and_keep_the_class_proportions(cohort, seed):
    sizes = [10, 24, 0.5, 1.0]
    subsets = [cohort.training_subset(size, seed) for size in sizes]
    for small, large in pairwise(subsets):
        assert set(small) < set(large)
    for subset in subsets:
        counts = Counter(cohort.labels(subset).tolist())
        assert abs(counts[0] - counts[1]) <= 2
    assert set(subsets[-1]) == set(cohort.ids("training"))


def test_a_small_training_subset_holds_few_patients(cohort):
    patient = dict(cohort.manifest.select("image_id", "patient_id").iter_rows())
    assert len({patient[image] for image in cohort.training_subset(24, 0)}) <= 10


def test_another_seed_draws_another_subset(cohort):
    assert set(cohort.training_subset(20, 0)) != set(cohort.training_subset(20, 1))


@pytest.mark.parametrize("size", [0, 10_000, 1, 1.5])
def test_an_impossible_training_size_is_refused(cohort, size):
    with pytest.raises(CohortError, match="train_sizes"):
        cohort.training_subset(size, 0)


def test_attack_samples_are_nested_validation_images_with_classes_in_proportion(cohort):
    everything = cohort.attack_sample(None)
    assert set(everything) == set(cohort.manifest.filter(pl.col("role") == "validation")["image_id"])
    small, large = cohort.attack_sample(8), cohort.attack_sample(14)
    assert large[:8] == small
    assert sorted(Counter(cohort.labels(small).tolist()).values()) == [4, 4]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 60))
def test_every_prefix_of_the_order_has_the_classes_in_proportion(labels, stop):
    ids = [str(i) for i in range(len(labels))]
    ordered = order_by_draw(ids, labels, seed=0)
    assert sorted(ordered) == sorted(ids)
    taken = Counter(labels[int(image)] for image in ordered[:stop])
    for label, total in Counter(labels).items():
        assert abs(taken[label] - min(stop, len(labels)) * total / len(labels)) <= 1 + len(set(labels)) / 2


def test_shards_are_bounded_and_the_cache_forgets(tmp_path):
    manifest = pl.DataFrame({"image_id": [f"{i:03}" for i in range(200)], "label": [0] * 200})
    pngs = [bytes([i]) * 100 for i in range(200)]
    assert write_shards(tmp_path, manifest, pngs, ["one"], most_bytes=6000) == 4
    shards = Shards(tmp_path, cached_bytes=5000)
    for i in (199, 0, 64, 63, 150, 199):
        assert shards.png(f"{i:03}") == pngs[i]
    assert shards._cached <= 5000
