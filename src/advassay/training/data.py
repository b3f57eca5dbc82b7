"""Images and labels of a cohort as training reads them: cached in stored depth, drawn in a seeded order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
import polars as pl
import torch
from torch import Tensor

from advassay.documents import Preparation
from advassay.errors import TrainingError
from advassay.identity import draw

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

    def __len__(self) -> int:
        return len(self.image_ids)

    def images(self, positions: np.ndarray) -> Tensor:
        """float32 (image, channel, height, width) in [0, 1] of these positions, in that order."""
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
