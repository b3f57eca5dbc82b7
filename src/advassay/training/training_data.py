"""Images and labels of a cohort as training reads them: cached in stored depth, seeded order, light augmentation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from threading import Lock
from typing import Protocol

import numpy as np
import polars as pl
import torch
from torch import Tensor

from advassay.errors import TrainingError
from advassay.identity import draw
from advassay.store_documents import Preparation

MOST_CACHED_BYTES = 4 * 2**30


class TrainingCohort(Protocol):
    """What training needs of a prepared cohort (advassay.cohorts.PreparedCohort has it)."""

    @property
    def preparation(self) -> Preparation: ...

    @property
    def manifest(self) -> pl.DataFrame:
        """At least image_id, label (class index) and role (training | tuning | validation)."""

    def ids(self, role: str) -> list[str]: ...

    def images(self, image_ids: Sequence[str]) -> np.ndarray:
        """float32 (image, channel, height, width) in [0, 1], in that order."""


def labels_of(cohort: TrainingCohort, image_ids: Sequence[str]) -> np.ndarray:
    """Class indices int64 (image,) in the order of `image_ids`. Raises TrainingError for an id the cohort lacks."""
    known = dict(zip(cohort.manifest["image_id"], cohort.manifest["label"], strict=True))
    unknown = [image_id for image_id in image_ids if image_id not in known]
    if unknown:
        raise TrainingError(
            f"image_ids: {len(unknown)} are not in cohort {cohort.preparation.cohort}, first {unknown[0]!r}.",
            "Take them from the cohort's ids(role).",
        )
    return np.array([known[image_id] for image_id in image_ids], dtype=np.int64)


class ImageCache:
    """Some images of a cohort by position, kept after their first reading in the depth they are stored in.

    A prepared image holds whole grey levels of 8 or 16 bits, so the cache is lossless and takes 1 or 2 bytes a value.
    Where it would exceed `most_bytes` (default: 4 GiB, at most a quarter of the machine's memory) nothing is kept and
    images are read anew each time.
    """

    def __init__(self, cohort: TrainingCohort, image_ids: Sequence[str], *, most_bytes: int | None = None) -> None:
        self.image_ids = list(image_ids)
        self.labels = torch.from_numpy(labels_of(cohort, image_ids))
        self._cohort = cohort
        what = cohort.preparation
        self._levels = np.float32(2**what.bits - 1)
        shape = (len(self.image_ids), what.channels, what.image_size_px, what.image_size_px)
        dtype = np.dtype(np.uint8 if what.bits == 8 else np.uint16)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._kept = (
            np.empty(shape, dtype) if size <= (_affordable_bytes() if most_bytes is None else most_bytes) else None
        )
        self._known = np.zeros(len(self.image_ids), dtype=bool)
        self._lock = Lock()  # batches are read ahead in a thread of their own

    def __len__(self) -> int:
        return len(self.image_ids)

    def images(self, positions: np.ndarray) -> Tensor:
        """float32 (image, channel, height, width) in [0, 1] of these positions, in that order."""
        with self._lock:
            return self._images(positions)

    def _images(self, positions: np.ndarray) -> Tensor:
        if self._kept is None:
            return torch.from_numpy(self._cohort.images([self.image_ids[k] for k in positions]))
        new = np.unique(positions[~self._known[positions]])
        if len(new):
            read = self._cohort.images([self.image_ids[k] for k in new])
            self._kept[new] = np.rint(read * self._levels).astype(self._kept.dtype)
            self._known[new] = True
        return torch.from_numpy(self._kept[positions].astype(np.float32) / self._levels)

    def in_parts(self, positions: np.ndarray, part: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, labels) in nearly equal parts of at most `part` images."""
        for chunk in np.array_split(positions, -(-len(positions) // part)):
            yield self.images(chunk), self.labels[chunk]


class UpdateBatches:
    """One batch per optimiser update, every one of exactly `batch_size` images: (images, labels, update number).

    Passes over the images follow each other without a seam, each in an order of its own keyed by (seed, pass); a set
    smaller than a batch is repeated within it. So every training size gets the same number of equal updates. `first`:
    the update to begin with, where those before it are done.
    """

    def __init__(self, cache: ImageCache, *, batch_size: int, updates: int, seed: int, first: int = 0) -> None:
        self._cache, self._updates, self._batch_size, self._seed = cache, updates, batch_size, seed
        self._first = first

    def __len__(self) -> int:
        return self._updates - self._first

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, int]]:
        order = islice(_endless_order(len(self._cache), self._seed), self._first * self._batch_size, None)
        for update in range(self._first, self._updates):
            positions = np.fromiter(order, dtype=np.int64, count=self._batch_size)
            yield self._cache.images(positions), self._cache.labels[positions], update


def _endless_order(images: int, seed: int) -> Iterator[int]:
    number = 0
    while True:
        yield from np.random.default_rng(draw(seed, "order", number)).permutation(images)
        number += 1


def _affordable_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(MOST_CACHED_BYTES, memory // 4)


SHIFT_SHARE = 0.05
BRIGHTNESS = 0.1
CONTRAST = 0.1


def augment_lightly(images: Tensor, *, turns: bool, generator: torch.Generator) -> Tensor:
    """Randomly changed copies, each image on its own.

    images: float32 (image, channel, height, width) in [0, 1]; the result likewise. Horizontal flip (p = 0.5), shift by
    up to 5 % of the side in whole pixels (the border is repeated), contrast about the image's mean by a factor within
    1 ± 0.1, brightness by a factor within 1 ± 0.1. `turns`: also a quarter turn of 0–3 (with the flip: all eight
    symmetries of the square), for tissue, which has no up and down; needs square images.

    Draws come from `generator` (on the processor), so that they do not depend on the device.
    """
    images = _where(_draw(images, generator) < 0.5, images.flip(3), images)
    if turns:
        images = _quarter_turns(images, generator)
    images = _shift(images, generator)
    contrast = 1 + CONTRAST * (2 * _draw(images, generator) - 1)
    brightness = 1 + BRIGHTNESS * (2 * _draw(images, generator) - 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((mean + (images - mean) * contrast) * brightness).clamp(0, 1)


def _draw(images: Tensor, generator: torch.Generator) -> Tensor:
    """One uniform number in [0, 1) per image, shape (image, 1, 1, 1)."""
    return torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device)


def _where(chosen: Tensor, changed: Tensor, images: Tensor) -> Tensor:
    return torch.where(chosen, changed, images)


def _quarter_turns(images: Tensor, generator: torch.Generator) -> Tensor:
    """0–3 quarter turns as a half turn and a transposition with a flip, each by a coin: uniform over the four."""
    half, quarter = _draw(images, generator) < 0.5, _draw(images, generator) < 0.5
    images = _where(half, images.flip(2, 3), images)
    return _where(quarter, images.transpose(2, 3).flip(2), images)


def _shift(images: Tensor, generator: torch.Generator) -> Tensor:
    for axis in (2, 3):
        side = images.shape[axis]
        most = int(SHIFT_SHARE * side)
        offset = ((2 * most + 1) * _draw(images, generator)).long() - most
        shape = [1, 1, 1, 1]
        shape[axis] = side
        source = (torch.arange(side, device=images.device).view(shape) + offset).clamp(0, side - 1)
        images = images.gather(axis, source.expand_as(images))
    return images
