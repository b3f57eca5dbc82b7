"""Otsu's threshold is what scikit-image makes of it, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from advassay.sources.slides.tile_quality import otsu_threshold

skimage_filters = pytest.importorskip("skimage.filters", reason="needs scikit-image (extra dev)")


@pytest.mark.parametrize("seed", range(40))
def test_the_threshold_is_that_of_another_library(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sizes, apart = draw.integers(2, 3000, 2), draw.uniform(0, 5)
    values = np.concatenate([draw.normal(0, 1, sizes[0]), draw.normal(apart, 1, sizes[1])])
    values = np.round(values * 20) / 20 if seed % 3 == 0 else values
    values = values.astype(np.float32) if seed % 2 else values
    assert otsu_threshold(values) == float(skimage_filters.threshold_otsu(values))
