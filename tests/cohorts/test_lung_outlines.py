"""The outlines of the lungs cover the pixels that scikit-image fills."""

from __future__ import annotations

import numpy as np
import pytest

from advassay.cohorts.regions import thorax_finder

skimage_draw = pytest.importorskip("skimage.draw", reason="needs scikit-image (extra dev)")


def test_the_lungs_outline_covers_the_pixels_that_another_library_fills() -> None:
    side = 192
    for outline in (thorax_finder.RIGHT_LUNG, thorax_finder.LEFT_LUNG):
        x = (outline[:, 0] + thorax_finder.SIDES) / (1 + 2 * thorax_finder.SIDES)
        y = (outline[:, 1] + thorax_finder.ABOVE) / (1 + thorax_finder.ABOVE + thorax_finder.BELOW)
        filled = skimage_draw.polygon2mask((side, side), np.stack([y, x], axis=1) * side)
        assert np.array_equal(thorax_finder._inside(np.stack([x, y], axis=1) * side, side), filled)
