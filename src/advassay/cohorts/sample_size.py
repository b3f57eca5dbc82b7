"""Warnings about images that are too few for a part, or too small for the side they are prepared at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

FEW_IMAGES = 10
"""Of a class in training or validation: below it a rate moves in steps of more than 10 %."""
FEW_TUNING = 3
ENLARGED = 1.05
"""Enlargement of the median image beyond which it is said."""

_LEAST = {"training": FEW_IMAGES, "tuning": FEW_TUNING, "validation": FEW_IMAGES}


def few_images_warning(counts: Mapping[str, Mapping[str, int]]) -> str | None:
    """A sentence about the parts with few images of a class. `counts`: role → class → images."""
    few = [
        f"{role} {', '.join(f'{name} {number}' for name, number in of.items() if number < _LEAST[role])}"
        for role, of in counts.items()
        if any(of.values()) and min(of.values()) < _LEAST[role]
    ]
    if not few:
        return None
    return f"Few images: {'; '.join(few)}. A rate over n images moves in steps of 1/n."


def enlarged_warning(heights: Sequence[int], widths: Sequence[int], size_px: int) -> str | None:
    """A sentence where images are enlarged to `size_px`: their median side, or the share of smaller ones."""
    sides = np.sqrt(np.asarray(heights, float) * np.asarray(widths, float))
    if not len(sides):
        return None
    middle, smaller = float(np.median(sides)), float((sides * ENLARGED < size_px).mean())
    if smaller < 0.05:
        return None
    told = "All images" if smaller == 1 else f"{smaller:.0%} of the images"
    return (
        f"{told} are smaller than the {size_px} px they are prepared at (median {middle:.0f} px) and are enlarged: "
        "neighbouring pixels are interpolated, and an attack changes them apart. A smaller image_size_px avoids it."
    )
