"""The interval of an AUROC: it holds what it says, and is never empty."""

from __future__ import annotations

import numpy as np
import pytest

from advassay.analysis.classifier_performance import auroc, auroc_interval


def test_it_holds_the_true_area_about_as_often_as_its_level_says() -> None:
    rng, held, repeats = np.random.default_rng(0), 0, 400
    labels = np.repeat([0, 1], [25, 40])
    truth = 0.8413447  # of two normal distributions that are √2 standard deviations apart
    for _ in range(repeats):
        score = rng.standard_normal(65) + np.sqrt(2) * (labels == 0)
        low, high = auroc_interval(auroc(np.stack([score, -score], axis=1), labels), (25, 40))
        held += low <= truth <= high
    assert 0.92 <= held / repeats <= 0.98


@pytest.mark.parametrize("area", [0.0, 0.5, 1.0])
def test_it_holds_the_area_and_has_a_width(area: float) -> None:
    low, high = auroc_interval(area, (12, 12))
    assert 0 <= low <= area <= high <= 1
    assert high - low > 0.1


def test_a_perfect_area_of_few_images_says_little() -> None:
    assert auroc_interval(1.0, (5, 5))[0] < auroc_interval(1.0, (500, 500))[0]


def test_a_class_without_images_tells_nothing() -> None:
    assert auroc_interval(0.7, (10, 0)) == (0.0, 1.0)


def test_an_area_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="area"):
        auroc_interval(1.2, (10, 10))
