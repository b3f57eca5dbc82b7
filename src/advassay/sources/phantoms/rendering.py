"""Pixels of any images of a phantom source, in blocks that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from advassay.sources.phantoms.chest.radiograph import radiographs
from advassay.sources.phantoms.histology.tile import tiles
from advassay.specs import PhantomSource

_BLOCK_PIXELS = 4 * 128 * 128


def render(spec: PhantomSource, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Images `indices`: chest (n, size_px, size_px) uint16, histology (n, size_px, size_px, 3) uint8 RGB.

    An image depends on the source's seed and parameters and on its own index only: bit for bit the same
    alone, in any batch, in any order. Raises IndexError for an index outside 0 … images − 1.
    """
    index = np.asarray(indices, np.int64).reshape(-1)
    if len(index) and not 0 <= index.min() <= index.max() < spec.images:
        raise IndexError(f"indices: 0 … {spec.images - 1}, got {index.min()} … {index.max()}")
    chest = spec.phantom == "chest"
    shape = (len(index), spec.size_px, spec.size_px) + (() if chest else (3,))
    images = np.empty(shape, np.uint16 if chest else np.uint8)
    block = max(1, _BLOCK_PIXELS // spec.size_px**2)
    make = radiographs if chest else tiles
    for start in range(0, len(index), block):
        images[start : start + block] = make(spec, index[start : start + block])
    return images
