"""The small parts: data order, cache, augmentation, batch norm, schedule, scores."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cohort import ROLES, MemoryCohort
from torch import nn

from advassay.errors import TrainingError
from advassay.training.evaluation import cross_entropy, recompute_statistics, scores
from advassay.training.training_data import ImageCache, UpdateBatches, augment_lightly
from advassay.training.training_loop import evaluation_updates, learning_rate_factor


@pytest.mark.parametrize(("bits", "channels"), [(8, 3), (16, 1)])
def test_the_cache_is_lossless_and_reads_each_image_once(bits: int, channels: int) -> None:
    cohort = MemoryCohort(roles=ROLES, bits=bits, channels=channels)
    ids = cohort.ids("training")
    expected = torch.from_numpy(cohort.images(ids))
    cohort.read.clear()
    cache = ImageCache(cohort, ids)
    positions = np.array([5, 5, 0, 39])
    assert torch.equal(cache.images(positions), expected[positions])
    assert torch.equal(cache.images(np.arange(40)), expected)
    assert sorted(cohort.read) == sorted(ids)
    assert torch.equal(ImageCache(cohort, ids, most_bytes=0).images(positions), expected[positions])


@given(images=st.integers(1, 40), batch=st.integers(2, 9), updates=st.integers(1, 12), seed=st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_batches_are_full_and_every_image_is_seen_once_a_pass(images: int, batch: int, updates: int, seed: int) -> None:
    cohort = MemoryCohort(roles={"training": images})
    cache = ImageCache(cohort, cohort.ids("training"))
    cache.labels = torch.arange(images)  # so that a batch says which images it holds
    batches = list(UpdateBatches(cache, batch_size=batch, updates=updates, seed=seed))
    assert [len(labels) for _, labels, _ in batches] == [batch] * updates
    seen = torch.cat([labels for _, labels, _ in batches])
    for start in range(0, len(seen) - images + 1, images):
        assert sorted(seen[start : start + images].tolist()) == list(range(images))


def test_augmentation_is_seeded_stays_in_range_and_treats_each_image_on_its_own() -> None:
    images = torch.rand(64, 1, 20, 20)
    first, again, other = (
        augment_lightly(images, turns=True, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert 0 <= first.min() <= first.max() <= 1
    same = augment_lightly(images[:1].expand(64, -1, -1, -1), turns=False, generator=torch.Generator().manual_seed(1))
    assert len({image.numpy().tobytes() for image in same}) > 60


def test_quarter_turns_reach_all_eight_orientations_equally_and_only_where_asked() -> None:
    ramp = torch.zeros(1, 1, 21, 21)
    ramp[0, 0, 3:18, 3:18] = torch.linspace(0.3, 0.6, 225).view(15, 15) ** torch.tensor(1.5)
    many = ramp.expand(800, -1, -1, -1)

    def orientations(turns: bool) -> np.ndarray:
        turned = augment_lightly(many, turns=turns, generator=torch.Generator().manual_seed(0))
        corners = torch.stack([turned[..., 5, 5], turned[..., 5, -6], turned[..., -6, 5], turned[..., -6, -6]], -1)
        return np.unique(corners.squeeze(1).argsort(-1).numpy(), axis=0, return_counts=True)[1]

    counts = orientations(turns=True)
    assert len(counts) == 8
    assert counts.min() > 60  # 100 expected
    assert len(orientations(turns=False)) == 2


def test_recomputed_statistics_are_the_mean_and_variance_of_the_images() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.9))
    network.train()
    network[0].running_mean.fill_(50)
    images = torch.rand(12, 3, 4, 4) * torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1)
    assert recompute_statistics(network, images.split(6)) == 1
    torch.testing.assert_close(network[0].running_mean, images.mean(dim=(0, 2, 3)))
    halves = [half.transpose(0, 1).flatten(1).var(dim=1) for half in images.split(6)]
    torch.testing.assert_close(network[0].running_var, torch.stack(halves).mean(0))
    assert network[0].momentum == 0.1
    assert network.training
    assert network[1].training


@given(updates=st.integers(1, 500), evaluations=st.integers(1, 12))
def test_evaluations_end_with_the_last_update(updates: int, evaluations: int) -> None:
    planned = evaluation_updates(updates, evaluations)
    assert planned[-1] == updates
    assert len(planned) == min(updates, evaluations) == len(set(planned))


@given(updates=st.integers(1, 400))
def test_the_learning_rate_rises_once_then_falls_and_never_reaches_zero(updates: int) -> None:
    factors = [learning_rate_factor(k, updates) for k in range(updates)]
    top = int(np.argmax(factors))
    assert factors[top] == 1
    assert all(np.diff(factors[: top + 1]) > 0)
    assert all(np.diff(factors[top:]) <= 0)
    assert min(factors) > 0


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_equal_those_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 200)
    logits = (rng.normal(size=(200, classes)) + 1.2 * np.eye(classes)[labels]).astype(np.float32)
    seen = scores(logits, labels, positive=1)
    predicted = logits.argmax(1)
    assert seen.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    if classes == 2:
        assert seen.auroc == pytest.approx(sklearn.metrics.roc_auc_score(labels, probabilities[:, 1]))
        assert seen.sensitivity == pytest.approx(sklearn.metrics.recall_score(labels, predicted))
        assert seen.specificity == pytest.approx(sklearn.metrics.recall_score(labels, predicted, pos_label=0))
    else:
        expected = sklearn.metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
        assert seen.auroc == pytest.approx(expected)
        assert seen.sensitivity == pytest.approx(sklearn.metrics.recall_score(labels, predicted, average="macro"))
    weights = np.array([1.0, 3.0, 0.5])[:classes]
    expected_loss = nn.functional.cross_entropy(
        torch.from_numpy(logits).double(), torch.from_numpy(labels), weight=torch.from_numpy(weights)
    )
    assert cross_entropy(logits, labels, weights) == pytest.approx(float(expected_loss))


def test_scores_that_are_undefined_are_null_and_broken_logits_are_refused() -> None:
    seen = scores(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1, 1]), positive=1)
    assert (seen.accuracy, seen.auroc, seen.sensitivity, seen.specificity) == (0.5, None, 0.5, None)
    with pytest.raises(TrainingError, match="finite"):
        scores(np.array([[np.nan, 1.0]]), np.array([1]), positive=1)
    with pytest.raises(TrainingError, match="at least one image"):
        scores(np.zeros((0, 2)), np.zeros(0, int), positive=1)
